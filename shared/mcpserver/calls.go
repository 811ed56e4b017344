package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/tools"
)

// decision is what was decided about the one call that a request makes.
type decision struct {
	id      any // of the request
	tool    string
	allowed bool
}

// decide judges a call before mcp-go looks at it, on the name in the body that mcp-go read (never on a header or on a
// reading of our own), and records the decision.
func (s *Server) decide(ctx context.Context, id any, request *mcp.CallToolRequest) {
	x := exchangeOf(ctx)
	if x == nil {
		return
	}
	name := request.Params.Name
	x.call = decision{id: id, tool: name}
	event := audit.Event{
		Action: audit.ToolDenied, Decision: "deny",
		Issuer: x.access.Identity.Issuer, Subject: x.access.Identity.Subject, Email: x.access.Identity.Email,
		ClientID: x.access.ClientID, GrantID: x.access.GrantID, Tool: name[:min(len(name), 128)],
	}
	needed := s.config.Policy.RequiredScope(name)
	switch {
	case s.mcp.GetTool(name) == nil:
		event.Reason = "unknown tool"
	case !s.config.Policy.Allows(x.access.Identity, name, s.tools[name]):
		event.Reason = "policy"
	case needed != "" && !hasScope(x.access, needed):
		// A scope can be asked for, so this refusal is told: 403 and a challenge (RFC 6750 section 3.1).
		event.Reason = "scope"
		x.refuseWith(func(w http.ResponseWriter) { x.site.challengeScope(w, x.path, x.access, needed) })
	default:
		x.call.allowed = true
		event.Action, event.Decision = audit.ToolCalled, "allow"
	}
	s.config.Audit.Record(ctx, event)
}

// visible keeps the tools that the person may know of. mcp-go applies it to the list, and to the one tool that is
// called; there a tool that was denied answers exactly as one that does not exist.
func (s *Server) visible(ctx context.Context, list []mcp.Tool) []mcp.Tool {
	x := exchangeOf(ctx)
	if x == nil {
		return nil
	}
	kept := list[:0]
	for _, tool := range list {
		if x.call.tool == tool.Name {
			if x.call.allowed {
				kept = append(kept, tool)
			}
		} else if s.config.Policy.Allows(x.access.Identity, tool.Name, s.tools[tool.Name]) {
			kept = append(kept, tool)
		}
	}
	return kept
}

// register adds a tool to the MCP server.
func (s *Server) register(tool tools.Tool) error {
	declared := mcp.Tool{
		Name: tool.Name, Title: tool.Title, Description: tool.Description,
		Annotations: mcp.ToolAnnotation{
			Title: tool.Title, ReadOnlyHint: &tool.Hints.ReadOnly, DestructiveHint: &tool.Hints.Destructive,
			IdempotentHint: &tool.Hints.Idempotent, OpenWorldHint: &tool.Hints.OpenWorld,
		},
	}
	var input, output *jsonschema.Schema
	var err error
	if declared.RawInputSchema, input, err = compileInput(tool.Input); err != nil {
		return fmt.Errorf("input schema: %w", err)
	}
	if tool.Output != "" {
		if declared.RawOutputSchema, output, err = compileSchema(tool.Output); err != nil {
			return fmt.Errorf("output schema: %w", err)
		}
	}
	s.tools[tool.Name] = tool.Access
	s.mcp.AddTool(declared, func(ctx context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		x := exchangeOf(ctx)
		if err := checkArguments(input, &request.Params); err != nil {
			return s.toolError(ctx, tool.Name, err), nil
		}
		call := &tools.Call{
			Identity: x.access.Identity, ClientID: x.access.ClientID,
			Arguments: request.Params.RawArguments, Progress: noProgress,
		}
		if meta := request.Params.Meta; meta != nil && meta.ProgressToken != nil {
			r := &reporter{x: x, token: meta.ProgressToken}
			defer r.end()
			call.Progress = r.report
		}
		if s.config.State != nil {
			call.State = s.config.State.For(x.access.Identity.User())
		}
		result, err := tool.Call(ctx, call)
		if err == nil {
			err = checkResult(output, result)
		}
		if err != nil {
			return s.toolError(ctx, tool.Name, err), nil
		}
		return result, nil
	})
	return nil
}

// toolError tells a failure as a tool error, which the model reads (MCP, Tools, Error Handling). What is not meant for
// the caller goes to the log alone.
func (s *Server) toolError(ctx context.Context, name string, err error) *mcp.CallToolResult {
	if told, ok := errors.AsType[*tools.Error](err); ok {
		return mcp.NewToolResultError(told.Message)
	}
	audit.Fault(ctx, fmt.Errorf("calling %s: %w", name, err))
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return mcp.NewToolResultError(name + " was stopped before it finished")
	case errors.Is(err, table.ErrUnavailable):
		return mcp.NewToolResultError("the server's storage does not answer now; try again shortly")
	}
	return mcp.NewToolResultError(name + " failed inside the server; its log has the cause")
}

// translateErrors stands around every handler. A panic becomes a tool error, its cause logged; and mcp-go's missing
// capability error gets the code and status that 2026-07-28 asks for, where mcp-go says internal error.
func (s *Server) translateErrors(next server.ToolHandlerFunc) server.ToolHandlerFunc {
	return func(ctx context.Context, request mcp.CallToolRequest) (result *mcp.CallToolResult, err error) {
		defer func() {
			if fault := recover(); fault != nil {
				result, err = s.toolError(ctx, request.Params.Name, fmt.Errorf("panic: %v", fault)), nil
			}
		}()
		result, err = next(ctx, request)
		if missing, ok := errors.AsType[mcp.MissingRequiredClientCapabilityError](err); ok {
			if x := exchangeOf(ctx); x != nil {
				x.refuseWith(missingCapability(x.call.id, missing))
			}
		}
		return result, err
	}
}

func missingCapability(id any, missing mcp.MissingRequiredClientCapabilityError) func(http.ResponseWriter) {
	details := mcp.NewJSONRPCErrorDetails(mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, missing.Error(),
		map[string]any{"requiredCapabilities": map[string]any{missing.Capability: map[string]any{}}})
	return func(w http.ResponseWriter) {
		writeRPC(w, http.StatusBadRequest, mcp.JSONRPCError{JSONRPC: mcp.JSONRPC_VERSION, ID: mcp.NewRequestId(id), Error: details})
	}
}
