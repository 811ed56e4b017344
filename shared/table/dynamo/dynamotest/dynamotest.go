// Package dynamotest gives tests a DynamoDB table to work on: in the endpoint that AWS_ENDPOINT_URL_DYNAMODB names
// (moto, DynamoDB Local, AWS), else in a dynalite that all tests of a process share.
package dynamotest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/test/dynalite"
)

// shared is the dynalite of this process. It ends with the process, as its standard input does.
var shared = sync.OnceValues(func() (*dynalite.Server, error) {
	return dynalite.Start(context.Background(), dynalite.Options{})
})

// Endpoint returns the URL of a DynamoDB. Without one the test is skipped, loudly; under CI=true it fails.
func Endpoint(tb testing.TB) string {
	tb.Helper()
	if endpoint := os.Getenv("AWS_ENDPOINT_URL_DYNAMODB"); endpoint != "" {
		return endpoint
	}
	server, err := shared()
	switch {
	case errors.Is(err, dynalite.ErrNotInstalled) && os.Getenv("CI") != "true":
		tb.Skipf("NOT RUN, DynamoDB is untested: %v", err)
	case err != nil:
		tb.Fatal(err)
	}
	return server.Endpoint
}

// Client returns a client of that DynamoDB. Without credentials in the environment it bears made-up ones, which every
// emulator takes.
func Client(tb testing.TB, options ...func(*dynamodb.Options)) *dynamodb.Client {
	tb.Helper()
	endpoint := Endpoint(tb)
	local := []func(*config.LoadOptions) error{config.WithDefaultRegion("us-east-1")}
	if os.Getenv("AWS_ACCESS_KEY_ID") == "" && os.Getenv("AWS_PROFILE") == "" {
		local = append(local, config.WithCredentialsProvider(aws.CredentialsProviderFunc(
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
			})))
	}
	cfg, err := config.LoadDefaultConfig(tb.Context(), local...)
	if err != nil {
		tb.Fatalf("loading the AWS configuration: %v", err)
	}
	return dynamodb.NewFromConfig(cfg, append([]func(*dynamodb.Options){
		func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint },
	}, options...)...)
}

// Create makes a new, empty table, which ends with the test, and returns its name.
func Create(tb testing.TB) string {
	tb.Helper()
	client := Client(tb)
	name := "test-" + table.NewVersion()
	if err := dynamo.CreateTable(tb.Context(), client, name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
			tb.Logf("deleting table %s: %v", name, err)
		}
	})
	return name
}

// Open makes a new table and returns it; options go to the client that it uses.
func Open(tb testing.TB, now func() time.Time, options ...func(*dynamodb.Options)) *dynamo.Table {
	tb.Helper()
	return dynamo.New(Client(tb, options...), Create(tb), now).ForEmulator()
}
