package deployment

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/test/dynalite"
)

// stackTable is the name that infra/stack gives its table.
const stackTable = "mcp-access-oauth"

// WhileStopped stops the server, lets change work on its table, and starts it again: for what only time would bring about,
// since no one can turn the clock of another process.
func (d *Deployment) WhileStopped(t testing.TB, change func(table.Table)) {
	t.Helper()
	d.Stop(t)
	store, end := d.openTable(t)
	change(store)
	end()
	d.Restart(t)
}

func (d *Deployment) openTable(t testing.TB) (store table.Table, end func()) {
	t.Helper()
	if !chosen(t).functions {
		store, err := bolt.Open(filepath.Join(d.Dir, "store.db"), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return store, func() { store.Close() }
	}
	server, err := dynalite.Start(t.Context(), dynalite.Options{Data: filepath.Join(d.Dir, "dynalite")})
	if err != nil {
		t.Fatal(err)
	}
	client := dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: &server.Endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	})
	return dynamo.New(client, stackTable, time.Now).ForEmulator(), func() { server.Close() }
}
