package mcpserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// A tool gets the person and never the token, which it could pass on (MCP, Authorization: no token passthrough).
func TestG01_ToolsNeverSeeTheToken(t *testing.T) {
	var seen http.Header
	f := newFixture(t, func(c *Config) {
		c.Extra = func(s *server.MCPServer) {
			s.AddTool(mcp.NewTool("mirror"), func(_ context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				seen = request.Header
				return mcp.NewToolResultText("seen"), nil
			})
		}
	})
	request{token: employee, body: rpc("tools/call", `{"name":"mirror"}`), want: []string{"seen"},
		header: http.Header{"Cookie": {"session=" + employee}, "X-Seen": {"yes"}}}.run(t, f)
	if seen.Get("X-Seen") != "yes" {
		t.Fatalf("the tool saw no headers, so that this proves nothing: %v", seen)
	}
	if strings.Contains(fmt.Sprint(seen), employee) {
		t.Errorf("the tool saw %v", seen)
	}
}
