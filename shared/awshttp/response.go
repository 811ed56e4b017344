package awshttp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// streamBuffer is how much of a body is held before it goes out without a flush.
	streamBuffer = 32 << 10
	// maxPayload is what a Lambda invocation may return, the JSON around the body included.
	maxPayload = MaxBodyBytes
)

var (
	errGone     = errors.New("awshttp: the client is gone")
	errDeadline = errors.New("awshttp: the deadline of the invocation has come")
	errPanic    = errors.New("awshttp: the handler failed in the middle of its response")
	errEnded    = errors.New("awshttp: write after the response has ended")
	errTooLarge = fmt.Errorf("awshttp: response over %d bytes", maxPayload)
)

// response is the http.ResponseWriter of both adapters. It gathers the body in a buffer; with a pipe (StartStream) a
// flush, or a full buffer, begins the stream. It is safe for concurrent use.
type response struct {
	begun chan struct{} // closed when the first bytes go into the pipe

	mu       sync.Mutex
	header   http.Header
	status   int         // 0 until the head is written
	sent     http.Header // the header as it was then
	bodyless bool        // of a HEAD request, or a status that has no body
	body     bytes.Buffer
	pipe     *io.PipeWriter // nil: no streaming
	started  bool
	ended    bool
	overflow bool
}

// http.ResponseController finds FlushError; mcp-go and others look for http.Flusher.
var (
	_ http.Flusher                    = (*response)(nil)
	_ interface{ FlushError() error } = (*response)(nil)
)

func newResponse(ev *event, pipe *io.PipeWriter) *response {
	return &response{
		begun: make(chan struct{}), header: make(http.Header), pipe: pipe,
		bodyless: ev.RequestContext.HTTP.Method == http.MethodHead,
	}
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader fixes status and headers. Informational statuses, which Lambda cannot send, are passed over.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("awshttp: invalid status %d", status)) // as net/http does
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.head(status)
}

func (w *response) head(status int) {
	if w.status != 0 || w.ended || status < 200 {
		return
	}
	w.status, w.sent = status, w.header.Clone()
	// RFC 9110 sections 15.3.5 and 15.4.5: no content
	w.bodyless = w.bodyless || status == http.StatusNoContent || status == http.StatusNotModified
}

func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return 0, errEnded
	}
	first := w.status == 0 || w.body.Len() == 0 && !w.started
	w.head(http.StatusOK)
	if w.bodyless {
		if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
			return 0, http.ErrBodyNotAllowed
		}
		return len(p), nil
	}
	if _, set := w.sent["Content-Type"]; first && !set && len(p) > 0 && w.sent.Get("Content-Encoding") == "" {
		w.sent.Set("Content-Type", http.DetectContentType(p)) // as net/http does
	}
	if w.pipe == nil && w.body.Len()+len(p) > maxPayload {
		w.overflow = true
		return 0, errTooLarge
	}
	w.body.Write(p)
	if w.pipe != nil && w.body.Len() >= streamBuffer {
		if err := w.send(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush is FlushError for http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError sends what has been written, headers first. Behind an HTTP API it fixes the headers and no more.
func (w *response) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return errEnded
	}
	w.head(http.StatusOK)
	if w.pipe == nil {
		return nil
	}
	return w.send()
}

// send empties the buffer into the pipe, which blocks until aws-lambda-go has read it.
func (w *response) send() error {
	out := w.body.Bytes()
	if !w.started {
		prelude, err := w.prelude()
		if err != nil {
			return err
		}
		out = append(prelude, out...)
		w.started = true
		close(w.begun)
	}
	if len(out) == 0 {
		return nil
	}
	_, err := w.pipe.Write(out)
	w.body.Reset()
	return err
}

// finish ends the response once the handler has returned, or panicked with fault.
func (w *response) finish(fault any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended: // expired meanwhile
	case w.started && fault != nil:
		// The status is out. aws-lambda-go turns the error into trailers, and the client's connection breaks.
		_ = w.pipe.CloseWithError(errPanic)
	case w.started:
		_ = w.send() // fails only when nobody reads any more
		_ = w.pipe.Close()
	case fault != nil:
		w.replace(&refusal{http.StatusInternalServerError, "internal error"})
	default:
		w.head(http.StatusOK)
	}
	w.ended = true
}

// expire answers for a handler that has not begun to answer when the deadline comes.
func (w *response) expire(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.started {
		return
	}
	slog.LogAttrs(ctx, slog.LevelError, "deadline passed without an answer", slog.String("request_id", requestID(ctx)))
	w.replace(&refusal{http.StatusServiceUnavailable, "the request took too long; try again shortly"})
	w.ended = true
}

// abandon breaks a stream at the deadline. It takes no lock, for a blocked write holds it.
func (w *response) abandon() {
	if w.pipe != nil {
		_ = w.pipe.CloseWithError(errDeadline)
	}
}

// refuse answers a request that no handler sees.
func (w *response) refuse(refused *refusal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replace(refused)
}

// replace puts an error of ours in place of whatever has been gathered. It has the form of RFC 6749 section 5.2, which
// every endpoint behind these adapters speaks.
func (w *response) replace(refused *refusal) {
	code := "invalid_request"
	switch {
	case refused.status == http.StatusServiceUnavailable:
		code = "temporarily_unavailable"
	case refused.status >= 500:
		code = "server_error"
	}
	w.status = refused.status
	w.sent = http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
	if refused.status == http.StatusServiceUnavailable {
		w.sent.Set("Retry-After", "2")
	}
	w.body.Reset()
	if !w.bodyless {
		_ = json.NewEncoder(&w.body).Encode(map[string]string{"error": code, "error_description": refused.reason})
	}
}

// wireHead is the part of a response that both adapters write as JSON.
type wireHead struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers,omitempty"`
	Cookies    []string          `json:"cookies,omitempty"`
}

// perConnection are the headers that belong to a connection (RFC 9110 section 7.6.1), and Content-Length: the
// connection is AWS's, which frames the body itself.
var perConnection = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Transfer-Encoding": true, "Te": true,
	"Trailer": true, "Upgrade": true, "Content-Length": true,
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

func (w *response) wireHead() wireHead {
	out := wireHead{StatusCode: w.status, Headers: make(map[string]string, len(w.sent))}
	for name, values := range w.sent {
		switch {
		case name == "Set-Cookie": // must not be joined: RFC 9110 section 5.3
			for _, value := range values {
				out.Cookies = append(out.Cookies, newlines.Replace(value))
			}
		case len(values) > 0 && validToken(name) && !perConnection[name]:
			out.Headers[name] = newlines.Replace(strings.Join(values, ", "))
		}
	}
	return out
}

// prelude is the head of a streamed response: JSON, then eight NUL bytes.
func (w *response) prelude() ([]byte, error) {
	head, err := marshal(w.wireHead())
	if err != nil {
		return nil, fmt.Errorf("encoding response: %w", err)
	}
	return append(head, 0, 0, 0, 0, 0, 0, 0, 0), nil
}

// whole is a streamed response that ended before it began to stream.
func (w *response) whole() (io.Reader, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	prelude, err := w.prelude()
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(append(prelude, w.body.Bytes()...)), nil
}

// encode is the response that an HTTP API takes. One that AWS would refuse becomes an error that says so in the log.
func (w *response) encode() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	type wire struct {
		wireHead
		Body            string `json:"body"`
		IsBase64Encoded bool   `json:"isBase64Encoded"`
	}
	encode := func() ([]byte, error) {
		out := wire{wireHead: w.wireHead()}
		if body := w.body.Bytes(); utf8.Valid(body) {
			out.Body = string(body)
		} else {
			out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
		}
		return marshal(out)
	}
	size := 0
	for name, values := range w.sent {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	data, err := encode()
	if err == nil && (w.overflow || len(data) > maxPayload || size > MaxHeaderBytes) {
		slog.Error("response over the limits of AWS", slog.Int("bytes", len(data)), slog.Int("header_bytes", size))
		w.replace(&refusal{http.StatusInternalServerError, "the response exceeds what AWS carries"})
		data, err = encode()
	}
	return data, err
}

// marshal is json.Marshal without the escaping of <, > and &, which would blow up HTML.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
