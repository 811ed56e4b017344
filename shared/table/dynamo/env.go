package dynamo

import (
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mcp-access-oauth/shared/awsconfig"
)

// FromEnv is the table that TABLE_NAME names, with Lambda's own region and credentials, or at an emulator that
// AWS_ENDPOINT_URL_DYNAMODB names. It makes no call.
func FromEnv(env func(string) string, now func() time.Time) (*Table, error) {
	name := env("TABLE_NAME")
	if name == "" {
		return nil, errors.New("TABLE_NAME is empty; it names the DynamoDB table")
	}
	cfg, err := awsconfig.Load(env, "dynamodb")
	if err != nil {
		return nil, err
	}
	t := New(dynamodb.NewFromConfig(cfg), name, now)
	if cfg.BaseEndpoint != nil {
		t.ForEmulator()
	}
	return t, nil
}
