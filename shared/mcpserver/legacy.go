package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/state"
)

// The legacy HTTP+SSE transport (MCP 2024-11-05): GET /sse opens a stream, whose first event names the address for the
// client's posts, and answers come back on the stream. On Lambda the post lands on another instance than the stream, so
// every answer travels through the table (docs/decisions/0015).

// pace is how a stream spends its life.
type pace struct {
	life      time.Duration // at most; it also ends with its token and with its request
	busy      time.Duration // between looks while messages arrive
	idle      time.Duration // what the time between looks rises to
	keepAlive time.Duration
	// apart keeps an answer from reaching the client in one piece with the notification before it: the TypeScript SDK would
	// then handle the answer first, and drop the progress. A client that is busy reads late, so this is long for a network.
	apart time.Duration
}

var legacyPace = pace{
	life: maxListen, busy: 250 * time.Millisecond, idle: 2 * time.Second, keepAlive: 15 * time.Second, apart: 100 * time.Millisecond,
}

// stream answers GET /sse.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, access *grants.Access) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		oauth.MethodNotAllowed(w, "POST, OPTIONS")
		return
	}
	life := min(s.pace.life, s.untilExpiry(access))
	if deadline, ok := r.Context().Deadline(); ok {
		life = min(life, time.Until(deadline)-2*time.Second) // time to say goodbye
	}
	ctx, cancel := context.WithTimeout(r.Context(), life)
	defer cancel()
	stream, err := s.mailbox.OpenStream(ctx, access.Identity.User(), access.ClientID, max(life, time.Second))
	if err != nil {
		audit.Fault(r.Context(), err)
		oauth.WriteError(w, oauth.Unavailable(err))
		return
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*time.Second)
		defer cancel()
		audit.Fault(closing, stream.Close(closing))
	}()

	h := w.Header()
	h["Content-Type"] = eventStream
	h["X-Accel-Buffering"] = noBuffers
	send := func(event []byte) bool {
		_, err := w.Write(event)
		flusher.Flush()
		return err == nil
	}
	if send([]byte("event: endpoint\ndata: " + oauth.PathMessages + "?sessionId=" + stream.ID + "\n\n")) {
		s.deliver(ctx, stream, send)
	}
}

// deliver moves messages from the mailbox to the client until the stream ends.
func (s *Server) deliver(ctx context.Context, stream *state.Stream, send func([]byte) bool) {
	keepAlive := time.NewTicker(s.pace.keepAlive)
	defer keepAlive.Stop()
	interval := s.pace.busy
	look := time.NewTimer(interval)
	defer look.Stop()
	var notified time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-keepAlive.C:
			if !send([]byte(": keep-alive\n\n")) {
				return
			}
			continue
		case <-stream.Woken:
		case <-look.C:
		}
		messages, err := stream.Fetch(ctx)
		for _, message := range messages {
			notification := isNotification(message)
			if !notification {
				time.Sleep(time.Until(notified.Add(s.pace.apart)))
			}
			if !send(append(append([]byte("event: message\ndata: "), message...), "\n\n"...)) {
				return
			}
			if notification {
				notified = time.Now()
			}
		}
		switch {
		case errors.Is(err, state.ErrStreamEnded):
			return
		case err != nil:
			audit.Fault(ctx, err) // a fault that passes: the messages wait
			interval = s.pace.idle
		case len(messages) > 0:
			interval = s.pace.busy
		default:
			interval = min(interval*3/2, s.pace.idle)
		}
		look.Reset(interval)
	}
}

// isNotification tells a notification from an answer, whose result may be megabytes, by the first member that differs.
func isNotification(message []byte) bool {
	members := json.NewDecoder(bytes.NewReader(message))
	_, _ = members.Token() // the brace; a message of ours is an object
	for members.More() {
		switch name, _ := members.Token(); name {
		case "method":
			return true
		case "result", "error":
			return false
		}
		if members.Decode(new(json.RawMessage)) != nil {
			break
		}
	}
	return false
}

// postMessage answers POST /messages: 202 at once, and the answer itself on the stream.
func (s *Server) postMessage(w http.ResponseWriter, r *http.Request, site *site, access *grants.Access) {
	if s.mailbox == nil {
		oauth.WriteError(w, &oauth.Error{Code: "not_found", Description: "this server does not offer the HTTP+SSE transport", Status: http.StatusNotFound})
		return
	}
	body, ok := readMessage(w, r)
	if !ok {
		return
	}
	outbox, err := s.mailbox.Open(r.Context(), access.Identity.User(), access.ClientID, r.URL.Query().Get("sessionId"))
	switch {
	case errors.Is(err, state.ErrNoStream):
		// To anyone but the person and client that opened it, a stream does not exist.
		rpcError(w, http.StatusNotFound, mcp.INVALID_REQUEST, "there is no such stream; open one with GET "+oauth.PathSSE)
		return
	case err != nil:
		audit.Fault(r.Context(), err)
		oauth.WriteError(w, oauth.Unavailable(err))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write([]byte("Accepted\n")) // fails only when the client has gone; it may still be reading its stream
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}

	// Clients drop the connection once they have seen 202. The call goes on, within the request's own limits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.pace.life)
	defer cancel()
	if deadline, ok := r.Context().Deadline(); ok {
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	answer := &recorder{header: http.Header{}}
	x := &exchange{site: site, path: r.URL.Path, access: access, writer: answer,
		deliver: func(message []byte) error { return outbox.Send(ctx, message) }}
	s.exchange(ctx, x, r, body)
	if message := answer.message(x.call.id); len(message) > 0 {
		audit.Fault(ctx, outbox.Send(ctx, message))
	}
}

// recorder keeps an answer for the mailbox.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header         { return a.header }
func (a *recorder) WriteHeader(status int)      { a.status = status }
func (a *recorder) Write(p []byte) (int, error) { return a.body.Write(p) }

// message is the answer as a JSON-RPC message of one line, nil where there is none. A refused scope, which is a status
// and a challenge in other transports, becomes an error that holds the challenge's facts.
func (a *recorder) message(id any) []byte {
	body := bytes.TrimSpace(a.body.Bytes())
	if a.status != http.StatusForbidden || len(body) == 0 {
		return body
	}
	refusal, err := json.Marshal(mcp.JSONRPCError{
		JSONRPC: mcp.JSONRPC_VERSION, ID: mcp.NewRequestId(id),
		Error: mcp.NewJSONRPCErrorDetails(mcp.INVALID_REQUEST, "the access token lacks a scope that this tool needs", json.RawMessage(body)),
	})
	if err != nil {
		return body
	}
	return refusal
}
