// Command speaking is function mcp with a tool that reports progress and says when it did: what BenchmarkProgress has
// the stack run in that function's place.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/tools"
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
		Issuer: server.Issuer, Resource: server.Resource, Policy: server.Policy,
		Authenticate: granted.Authenticate, Tools: append(tools.All(tools.Deps{Now: time.Now}), speak), Audit: audit.New(log),
	})
}

// pause lies between two reports, so that none waits for the one before.
const pause = 10 * time.Millisecond

var speak = tools.Tool{
	Name:   "speak",
	Input:  `{"type": "object", "properties": {"times": {"type": "integer"}}, "required": ["times"]}`,
	Access: policy.Everyone,
	Call: func(ctx context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
		var arguments struct{ Times int }
		if err := c.Bind(&arguments); err != nil {
			return nil, err
		}
		for i := range arguments.Times {
			time.Sleep(pause)
			c.Progress(ctx, float64(i+1), 0, strconv.FormatInt(time.Now().UnixMicro(), 10))
		}
		return tools.Text("said"), nil
	},
}
