// Package mcpfunction is the function mcp for tests that deploy it to the stack on this machine with more tools than the
// product has. All else is wired as in functions/mcp.
package mcpfunction

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
)

// Run serves the function after add has added to it. It does not return.
func Run(add func(*mcpserver.Config)) {
	awshttp.Run(func(env func(string) string, log *slog.Logger) (http.Handler, error) {
		server, err := config.LoadMCP(env)
		if err != nil {
			return nil, err
		}
		table, err := dynamo.FromEnv(env, time.Now)
		if err != nil {
			return nil, err
		}
		granted := &grants.Store{Table: table, Now: time.Now, Audit: audit.New(log)}
		c := mcpserver.Config{
			Issuer: server.Issuer, Resource: server.Resource, AllowedOrigins: server.AllowedOrigins, Policy: server.Policy,
			Host:         func(r *http.Request) string { return r.Host },
			Authenticate: granted.Authenticate, Tools: tools.All(tools.Deps{Now: time.Now}),
			State: &state.Store{Table: table, Now: time.Now}, Audit: audit.New(log), Now: time.Now,
		}
		add(&c)
		return mcpserver.New(c)
	}, awshttp.StartStream)
}
