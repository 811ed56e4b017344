// Function callback takes people back from the identity provider, and creates the grant.
package main

import (
	"log/slog"
	"net/http"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/seal/kms"
	"mcp-access-oauth/shared/signin"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/upstream"
	"mcp-access-oauth/shared/upstream/awssecret"
)

func main() { awshttp.Run(build, awshttp.StartAPI) }

func build(env func(string) string, log *slog.Logger) (http.Handler, error) {
	server, err := config.LoadServer(env)
	if err != nil {
		return nil, err
	}
	access, err := config.RequireAccessSecret(env)
	if err != nil {
		return nil, err
	}
	provider, err := upstream.FromSettings(access, server.Issuer+oauth.PathCallback, awssecret.FromARN(env, access.ClientSecretARN))
	if err != nil {
		return nil, err
	}
	table, err := dynamo.FromEnv(env, time.Now)
	if err != nil {
		return nil, err
	}
	keys, err := kms.FromEnv(env, table, time.Now)
	if err != nil {
		return nil, err
	}
	known, _, err := clients.FromEnv(env, table, server.NativeSchemes, time.Now)
	if err != nil {
		return nil, err
	}
	return (&signin.Handler{
		Issuer: server.Issuer, Resource: server.Resource, NativeSchemes: server.NativeSchemes,
		Clients: known, Sealer: seal.New(keys, time.Now), Upstream: provider,
		Grants: &grants.Store{Table: table, Now: time.Now, Audit: audit.New(log)}, Audit: audit.New(log), Now: time.Now,
	}).Callback(), nil
}
