// Function janitor rotates the keyset that seals cookies. A schedule starts it once a day.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/seal/kms"
	"mcp-access-oauth/shared/table/dynamo"
)

func main() {
	log := audit.New(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	table, err := dynamo.FromEnv(os.Getenv, time.Now)
	if err != nil {
		awshttp.Fail(err)
	}
	keys, err := kms.FromEnv(os.Getenv, table, time.Now)
	if err != nil {
		awshttp.Fail(err)
	}
	lambda.Start(func(ctx context.Context) error {
		done, err := keys.Rotate(ctx)
		if err != nil {
			return err // Lambda tries again, and the alarm on errors rings
		}
		if done.Changed() {
			log.Record(ctx, audit.Event{Action: audit.KeyRotated, Decision: "allow", Reason: fmt.Sprintf("added %q, removed %q", done.Added, done.Removed)})
		}
		return nil
	})
}
