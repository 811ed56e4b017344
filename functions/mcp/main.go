// Function mcp is the MCP endpoint behind a streaming function URL.
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
	"mcp-access-oauth/shared/tools/bedrock"
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
	painter, err := bedrock.FromEnv(env)
	if err != nil {
		return nil, err
	}
	granted := &grants.Store{Table: table, Now: time.Now, Audit: audit.New(log)}
	return mcpserver.New(mcpserver.Config{
		Issuer: server.Issuer, Resource: server.Resource, AllowedOrigins: server.AllowedOrigins, Policy: server.Policy,
		// The adapter takes it from requestContext.domainName, which is AWS's word and not the client's.
		Host:         func(r *http.Request) string { return r.Host },
		Authenticate: granted.Authenticate, Tools: tools.All(tools.Deps{Painter: painter, Now: time.Now}),
		State: &state.Store{Table: table, Now: time.Now}, Audit: audit.New(log), Now: time.Now,
	})
}
