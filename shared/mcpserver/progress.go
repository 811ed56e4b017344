package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/audit"
)

// noProgress is for a client that sent no progress token, and so wants no reports (MCP, Progress).
func noProgress(context.Context, float64, float64, string) {}

// reporter sends the progress of one call: values that grow, and none once the tool has returned (MCP, Progress,
// Behavior Requirements), whatever goroutines the tool has left behind.
type reporter struct {
	x     *exchange
	token mcp.ProgressToken

	mu    sync.Mutex
	begun bool
	last  float64
	ended bool
}

func (r *reporter) report(ctx context.Context, progress, total float64, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.begun && progress <= r.last {
		return
	}
	r.begun, r.last = true, progress
	params := map[string]any{"progressToken": r.token, "progress": progress}
	if total > 0 {
		params["total"] = total
	}
	if message != "" {
		params["message"] = message
	}
	notification, err := json.Marshal(map[string]any{"jsonrpc": mcp.JSONRPC_VERSION, "method": mcp.MethodNotificationProgress, "params": params})
	if err != nil {
		audit.Fault(ctx, fmt.Errorf("encoding progress: %w", err))
		return
	}
	_ = r.x.notify(notification) // fails when the client has gone; the tool learns of that from its context
}

// end returns when the last report is on its way.
func (r *reporter) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}
