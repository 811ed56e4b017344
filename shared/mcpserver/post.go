package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"mcp-access-oauth/shared/grants"
)

// maxBody bounds a message. A function URL takes 6 MB.
const maxBody = 4 << 20

// maxListen bounds a stream of subscriptions/listen, as the legacy stream is bounded.
const maxListen = 5 * time.Minute

// post answers one message at /mcp or /sse.
func (s *Server) post(w http.ResponseWriter, r *http.Request, site *site, access *grants.Access) {
	body, ok := readMessage(w, r)
	if !ok {
		return
	}
	flusher, _ := w.(http.Flusher)
	x := &exchange{site: site, path: r.URL.Path, access: access, writer: w, flusher: flusher}
	s.exchange(r.Context(), x, r, body)
}

// exchange has mcp-go answer a message.
func (s *Server) exchange(ctx context.Context, x *exchange, r *http.Request, body []byte) {
	defer x.end()
	header := maps.Clone(r.Header)
	delete(header, "Authorization") // tools see the headers, and have no business with the token
	delete(header, "Cookie")
	// A client's session id is never an authority. Answers to requests of ours find their way by the grant instead.
	header["Mcp-Session-Id"] = []string{x.access.GrantID}
	if r.Header.Get(mcp.HeaderMethod) == string(mcp.MethodSubscriptionsListen) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, min(maxListen, s.untilExpiry(x.access)))
		defer cancel()
	}
	s.transport.Handle(x, &server.HTTPRequest{
		Method: http.MethodPost, URL: r.URL, Header: header, Body: body,
		Context: context.WithValue(ctx, exchangeKey{}, x),
	})
}

// readMessage reads the body, and answers what mcp-go would not, or not as JSON.
func readMessage(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if contentType := r.Header.Get("Content-Type"); contentType != "application/json" {
		if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
			return nil, rpcError(w, http.StatusUnsupportedMediaType, mcp.INVALID_REQUEST, "Content-Type must be application/json")
		}
	}
	version := r.Header.Get(mcp.HeaderProtocolVersion)
	if version != "" && !mcp.IsModernProtocol(version) && !mcp.IsValidProtocolVersion(version) {
		refusal := mcp.UnsupportedProtocolVersionError{Version: version, Supported: mcp.ValidProtocolVersions}.JSONRPCError()
		return nil, writeRPC(w, http.StatusBadRequest, refusal)
	}
	body, err := readBody(r)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, rpcError(w, http.StatusRequestEntityTooLarge, mcp.INVALID_REQUEST, fmt.Sprintf("the message is larger than %d bytes", maxBody))
	case err != nil:
		return nil, rpcError(w, http.StatusBadRequest, mcp.PARSE_ERROR, "the message could not be read")
	}
	switch start := bytes.TrimLeft(body, " \t\r\n"); {
	case len(start) == 0:
		return nil, rpcError(w, http.StatusBadRequest, mcp.PARSE_ERROR, "the message is empty")
	case start[0] == '[': // MCP 2025-06-18 removed batches; no client of the one version that had them sends any
		return nil, rpcError(w, http.StatusBadRequest, mcp.INVALID_REQUEST, "batches are not supported; send each message by itself")
	case start[0] != '{':
		return nil, rpcError(w, http.StatusBadRequest, mcp.PARSE_ERROR, "the message is not a JSON object")
	}
	return body, true
}

var errTooLarge = errors.New("mcpserver: message too large")

func readBody(r *http.Request) ([]byte, error) {
	switch {
	case r.ContentLength > maxBody:
		return nil, errTooLarge
	case r.ContentLength > 0 && r.ContentLength <= 64<<10:
		body := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errTooLarge
	}
	return body, err
}

// rpcError answers with a JSON-RPC error. It returns false, for the caller to return.
func rpcError(w http.ResponseWriter, status, code int, message string) bool {
	return writeRPC(w, status, mcp.JSONRPCError{
		JSONRPC: mcp.JSONRPC_VERSION,
		Error:   mcp.NewJSONRPCErrorDetails(code, message, nil),
	})
}

func writeRPC(w http.ResponseWriter, status int, answer mcp.JSONRPCError) bool {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // our own struct always encodes; a write fails when the client has gone
	return false
}
