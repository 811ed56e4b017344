package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/tools"
)

// HistoryURI is the resource that lists a person's generated images, newest first.
const HistoryURI = "history://images"

func (s *Server) registerHistory() {
	resource := mcp.NewResource(HistoryURI, "images",
		mcp.WithResourceDescription(fmt.Sprintf("The last %d images that you generated, newest first: prompt, steps, model and time.", tools.HistoryLength)),
		mcp.WithMIMEType("application/json"))
	s.mcp.AddResource(resource, func(ctx context.Context, _ mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		x := exchangeOf(ctx)
		entries, err := s.config.State.For(x.access.Identity.User()).List(ctx, tools.HistoryList, tools.HistoryLength)
		if err != nil {
			return nil, s.readError(ctx, err)
		}
		images := make([]json.RawMessage, len(entries))
		for i, entry := range entries {
			images[i] = entry.Data
		}
		text, err := json.Marshal(map[string]any{"images": images})
		if err != nil {
			return nil, s.readError(ctx, err)
		}
		return []mcp.ResourceContents{mcp.TextResourceContents{URI: HistoryURI, MIMEType: "application/json", Text: string(text)}}, nil
	})
}

// readError is what a client is told of a failed read; the cause goes to the log.
func (s *Server) readError(ctx context.Context, err error) error {
	audit.Fault(ctx, fmt.Errorf("reading history: %w", err))
	return errors.New("the history cannot be read now; try again shortly")
}
