package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/server"

	"mcp-access-oauth/shared/grants"
)

// exchange is one JSON-RPC message and its answer: the writer that mcp-go answers into, and the only place where
// anything is written to the client. It becomes an event stream with the first notification, and stays one.
type exchange struct {
	site   *site
	path   string
	access *grants.Access

	writer  http.ResponseWriter
	flusher http.Flusher // nil where the answer cannot stream; notifications then have nowhere to go
	// deliver takes notifications where they do not travel with the answer: the legacy transport.
	deliver func(message []byte) error

	header  http.Header // what mcp-go sets; it reaches the client with the status
	session session
	call    decision

	mu        sync.Mutex
	started   bool // the status is on its way
	streaming bool
	ended     bool
	plain     bool // mcp-go is writing an error as text, which the client gets as JSON
	discard   bool // a refusal took the answer's place
	refuse    func(w http.ResponseWriter)
}

var _ server.HTTPResponseWriter = (*exchange)(nil)

// errEnded is told to a notification that comes after the answer.
var errEnded = errors.New("mcpserver: the request has been answered")

func (x *exchange) Header() http.Header {
	if x.header == nil {
		x.header = make(http.Header, 2)
	}
	return x.header
}

// CanStream tells mcp-go whether notifications can be sent with the answer.
func (x *exchange) CanStream() bool { return x.flusher != nil }

// WriteHeader is mcp-go's first word of an answer. Notifications that tools have sent go first.
func (x *exchange) WriteHeader(status int) {
	x.session.settle()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.started || x.plain {
		return
	}
	if x.refuse != nil {
		x.started, x.discard = true, true
		x.refuse(x.writer)
		return
	}
	contentType := x.header["Content-Type"]
	if status >= 400 && len(contentType) == 1 && strings.HasPrefix(contentType[0], "text/plain") {
		x.plain = true
		x.writeError(status)
		return
	}
	h := x.writer.Header()
	if allow := x.header["Allow"]; allow != nil {
		h["Allow"] = allow
	}
	if contentType != nil {
		h["Content-Type"] = contentType
	}
	if x.started = true; len(contentType) == 1 && contentType[0] == eventStream[0] {
		x.startStream(h)
	}
	x.writer.WriteHeader(status)
}

// writeError answers an error that mcp-go tells in plain text as JSON-RPC, so that every error has one form.
func (x *exchange) writeError(status int) {
	x.started = true
	x.header.Set("Status", http.StatusText(status))
	x.writer.Header().Set("Content-Type", "application/json")
	x.writer.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	x.session.settle()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.discard:
		return len(p), nil
	case x.plain:
		message, _ := json.Marshal(string(bytes.TrimSpace(p))) // a string always encodes
		_, err := x.writer.Write(append(append([]byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":`), message...), "}}\n"...))
		return len(p), err
	}
	x.started = true
	return x.writer.Write(p)
}

// Flush is called by mcp-go after each event.
func (x *exchange) Flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flusher != nil && x.started {
		x.flusher.Flush()
	}
}

var (
	eventStream = []string{"text/event-stream"}
	jsonType    = []string{"application/json"}
)

func (x *exchange) startStream(h http.Header) {
	x.streaming = true
	h["Content-Type"] = eventStream
	h["X-Accel-Buffering"] = noBuffers // proxies of the nginx family would hold events back
}

// notify sends one JSON-RPC notification to the client. When it returns, the notification is on its way: later ones and
// the answer come after it.
func (x *exchange) notify(message []byte) error {
	if x.deliver != nil {
		return x.deliver(message)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.ended || x.discard || x.started && !x.streaming:
		return errEnded
	case x.flusher == nil:
		return nil
	case !x.started:
		x.started = true
		x.startStream(x.writer.Header())
		x.writer.WriteHeader(http.StatusOK)
	}
	x.session.upgrade() // so that mcp-go writes the answer as an event too
	event := make([]byte, 0, len(message)+24)
	event = append(event, "event: message\ndata: "...)
	event = append(event, message...)
	event = append(event, "\n\n"...)
	if _, err := x.writer.Write(event); err != nil {
		return err
	}
	x.flusher.Flush()
	return nil
}

// refuseWith puts another answer in the place of mcp-go's. It has no effect on a stream that has begun.
func (x *exchange) refuseWith(answer func(w http.ResponseWriter)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.refuse = answer
}

// end is called when the request has been answered: nothing is written to the client afterwards.
func (x *exchange) end() {
	x.session.stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
}
