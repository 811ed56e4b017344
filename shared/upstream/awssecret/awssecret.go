// Package awssecret reads the identity provider's client secret from AWS Secrets Manager.
package awssecret

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"mcp-access-oauth/shared/awsconfig"
)

// FromARN is an upstream.Config.Secret. The client is built on first use, so that a cold start that needs no secret
// pays for none. The secret's plain text is the client secret.
func FromARN(env func(string) string, arn string) func(context.Context) (string, error) {
	client := sync.OnceValues(func() (*secretsmanager.Client, error) {
		cfg, err := awsconfig.Load(env, "secrets_manager")
		if err != nil {
			return nil, fmt.Errorf("building Secrets Manager client: %w", err)
		}
		return secretsmanager.NewFromConfig(cfg), nil
	})
	return func(ctx context.Context) (string, error) {
		c, err := client()
		if err != nil {
			return "", err
		}
		out, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
		if err != nil {
			return "", fmt.Errorf("reading client secret: %w", err)
		}
		if out.SecretString == nil || *out.SecretString == "" {
			return "", errors.New("reading client secret: ACCESS_CLIENT_SECRET_ARN names a secret without plain text")
		}
		return *out.SecretString, nil
	}
}
