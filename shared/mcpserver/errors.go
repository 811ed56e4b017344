package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// clarify puts errors of ours in the place of two of mcp-go's. For an unknown resource ours adds which one was asked
// for, as MCP's Resources, Error Handling, recommends. For params of a wrong form ours says invalid params (JSON-RPC 2.0
// section 5.1) where mcp-go says invalid request and tells the names of Go's types.
func clarify(ctx context.Context, _ any, _ mcp.MCPMethod, message any, err error) {
	x := exchangeOf(ctx)
	told, ok := err.(interface{ ToJSONRPCError() mcp.JSONRPCError })
	if x == nil || !ok {
		return
	}
	answer := told.ToJSONRPCError()
	if _, ok := errors.AsType[*server.UnparsableMessageError](err); ok {
		answer.Error = mcp.NewJSONRPCErrorDetails(mcp.INVALID_PARAMS, wrongForm(err), nil)
	} else if request, ok := message.(*mcp.ReadResourceRequest); ok && errors.Is(err, server.ErrResourceNotFound) {
		answer.Error.Data = map[string]any{"uri": request.Params.URI}
	} else {
		return
	}
	status := http.StatusOK
	if mcp.IsModernProtocol(server.RequestProtocolVersion(ctx)) {
		status = http.StatusBadRequest // MCP 2026-07-28, Streamable HTTP: errors of a request have a status
	}
	x.refuseWith(func(w http.ResponseWriter) { writeRPC(w, status, answer) })
}

// wrongForm says which part of a message has a wrong form.
func wrongForm(err error) string {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return "the params do not have the form that MCP gives them"
	}
	_, below, _ := strings.Cut("."+wrong.Field, ".params") // above it stand names of Go's types
	return "params" + below + ": " + clip(wrong.Value) + " does not fit"
}
