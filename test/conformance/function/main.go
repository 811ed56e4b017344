// Command function is the function mcp with the fixtures of the conformance suite: what the test deploys in its place, to
// the stack on this machine and nowhere else. All but the fixtures is as in functions/mcp.
package main

import (
	"log/slog"
	"net/http"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/shared/state"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/test/conformance/fixtures"
)

func main() { awshttp.Run(build, awshttp.StartStream) }

func build(env func(string) string, log *slog.Logger) (http.Handler, error) {
	server, err := config.LoadMCP(env)
	if err != nil {
		return nil, err
	}
	table, err := dynamo.FromEnv(env, time.Now)
	if err != nil {
		return nil, err
	}
	granted := &grants.Store{Table: table, Now: time.Now, Audit: audit.New(log)}
	return mcpserver.New(mcpserver.Config{
		Issuer: server.Issuer, Resource: server.Resource, AllowedOrigins: server.AllowedOrigins, Policy: server.Policy,
		Host:         func(r *http.Request) string { return r.Host },
		Authenticate: granted.Authenticate, Tools: tools.All(tools.Deps{Now: time.Now}),
		State: &state.Store{Table: table, Now: time.Now}, Audit: audit.New(log), Now: time.Now,
		Options: fixtures.Options(), Extra: fixtures.Register,
	})
}
