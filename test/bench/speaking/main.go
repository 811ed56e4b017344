// Command speaking is function mcp with a tool that reports progress and says when it did: what BenchmarkProgress has
// the stack run in that function's place.
package main

import (
	"context"
	"strconv"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/test/mcpfunction"
)

func main() {
	mcpfunction.Run(func(c *mcpserver.Config) { c.Tools = append(c.Tools, speak) })
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
