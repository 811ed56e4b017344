// Function authorize shows the consent page and sends people on to the identity provider.
package main

import (
	"log/slog"
	"net/http"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/seal/kms"
	"mcp-access-oauth/shared/signin"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/upstream"
)

func main() { awshttp.Run(build, awshttp.StartAPI) }

func build(env func(string) string, log *slog.Logger) (http.Handler, error) {
	server, err := config.LoadServer(env)
	if err != nil {
		return nil, err
	}
	access, err := config.RequireAccess(env)
	if err != nil {
		return nil, err
	}
	// The way to the provider needs no secret; only the way back does.
	provider, err := upstream.FromSettings(access, server.Issuer+oauth.PathCallback, nil)
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
		Issuer: server.Issuer, Resource: server.Resource, NativeSchemes: server.NativeSchemes, Policy: server.Policy,
		Operator: server.Operator, ProviderHost: access.Host(), Clients: known, Sealer: seal.New(keys, time.Now), Upstream: provider,
		Audit: audit.New(log), Now: time.Now,
	}).Authorize(), nil
}
