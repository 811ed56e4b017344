// Package awsconfig configures AWS clients inside Lambda: region and credentials from the environment that Lambda sets,
// and an endpoint of one's own for emulators. The SDK's config module also knows profiles, SSO, web identities and
// instance metadata, none of which exist in a function, and costs every cold start several milliseconds and megabytes.
package awsconfig

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Load reads AWS_REGION and the credentials for one service, and its endpoint from AWS_ENDPOINT_URL_<service> where that
// is set, such as AWS_ENDPOINT_URL_DYNAMODB. Credentials are read on first use and kept: Lambda gives a process one set for
// its life.
func Load(env func(string) string, service string) (aws.Config, error) {
	region := env("AWS_REGION")
	if region == "" {
		return aws.Config{}, errors.New("AWS_REGION is empty; Lambda sets it, elsewhere name a region such as us-east-1")
	}
	cfg := aws.Config{
		Region: region,
		Credentials: aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			c := aws.Credentials{
				AccessKeyID:     env("AWS_ACCESS_KEY_ID"),
				SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"),
				SessionToken:    env("AWS_SESSION_TOKEN"),
				Source:          "environment",
			}
			if !c.HasKeys() {
				return aws.Credentials{}, errors.New("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is empty")
			}
			return c, nil
		})),
	}
	if endpoint := env("AWS_ENDPOINT_URL_" + strings.ToUpper(service)); endpoint != "" {
		cfg.BaseEndpoint = &endpoint
	}
	return cfg, nil
}
