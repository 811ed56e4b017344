package mcpserver

import (
	"context"
	"errors"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/tools"
)

func mustPolicy(t *testing.T, emails, rules string) policy.Policy {
	t.Helper()
	p, err := policy.New(emails, rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// noisy reports each of n steps twice, by Progress and by mcp-go's own way, and returns right after the last.
var noisy = tools.Tool{
	Name: "noisy", Input: `{"type":"object","properties":{"n":{"type":"integer"}}}`, Access: policy.Everyone,
	Call: func(ctx context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
		var arguments struct{ N int }
		if err := c.Bind(&arguments); err != nil {
			return nil, err
		}
		for n := 1; n <= arguments.N; n++ {
			c.Progress(ctx, float64(n), float64(arguments.N), "working")
			if err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/message", map[string]any{"level": "info", "data": n}); err != nil {
				return nil, err
			}
		}
		return tools.Text("done"), nil
	},
}

// broken fails in every way a tool can.
var broken = tools.Tool{
	Name: "broken", Input: `{"type":"object","properties":{"how":{"type":"string"}}}`, Access: policy.Everyone,
	Call: func(_ context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
		var arguments struct{ How string }
		if err := c.Bind(&arguments); err != nil {
			return nil, err
		}
		switch arguments.How {
		case "told":
			return nil, tools.Errorf("the moon is not full")
		case "panic":
			panic("secret of the panic")
		}
		return nil, errors.New("secret of the error")
	},
}

// withListChanges makes mcp-go keep streams of subscriptions open. The product's own list changes with the person alone.
var withListChanges = server.WithToolCapabilities(true)
