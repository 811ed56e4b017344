package kms

import (
	"crypto/rand"
	"errors"
	"time"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"mcp-access-oauth/shared/awsconfig"
	"mcp-access-oauth/shared/table"
)

// FromEnv is the keyset in t, wrapped by the key that KMS_KEY_ID names for the stack that STACK_NAME names. It makes no
// call, and builds the KMS client only when there is something to unwrap.
func FromEnv(env func(string) string, t table.Table, now func() time.Time) (*Source, error) {
	key, stack := env("KMS_KEY_ID"), env("STACK_NAME")
	if key == "" {
		return nil, errors.New("KMS_KEY_ID is empty; it names the KMS key that wraps the keyset")
	}
	if stack == "" {
		return nil, errors.New("STACK_NAME is empty; it stands in the encryption context of the keyset")
	}
	cfg, err := awsconfig.Load(env, "kms")
	if err != nil {
		return nil, err
	}
	return New(Config{
		Table: t, KeyID: key, Stack: stack, Now: now, Rand: rand.Reader,
		Client: func() *awskms.Client { return awskms.NewFromConfig(cfg) },
	}), nil
}
