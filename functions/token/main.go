// Function token is the back channel: token, revocation and introspection.
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
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/tokens"
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
	known, keySets, err := clients.FromEnv(env, table, server.NativeSchemes, time.Now)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	(&tokens.Handler{
		Grants:  &grants.Store{Table: table, Now: time.Now, Audit: audit.New(log)},
		Clients: known, Upstream: provider.Refresh, Issuer: server.Issuer, Resource: server.Resource,
		Authenticator: &clients.Authenticator{Table: table, Issuer: server.Issuer, KeySets: keySets, Now: time.Now},
		ToolScopes:    server.Policy.Scopes(), Limiter: tokens.NewLimiter(), Now: time.Now, Arrived: awshttp.Arrived,
	}).Mount(mux)
	return mux, nil
}
