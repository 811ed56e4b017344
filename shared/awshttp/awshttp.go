// Package awshttp serves an http.Handler from AWS Lambda: StartAPI behind an API Gateway HTTP API (payload format 2.0),
// StartStream behind a function URL in RESPONSE_STREAM mode. Handlers see what net/http's own server would show them and
// know nothing of Lambda.
//
// It owns the translation of event and response, the limits of AWS, the deadline, and what becomes of a panic. It hands
// off the Runtime API to aws-lambda-go, and routing, CORS and logging to the handler it is given.
package awshttp

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// The limits of AWS, in bytes. API Gateway counts the request line and the values of the headers; a Lambda invocation
// carries 6 MB each way.
const (
	MaxHeaderBytes = 10240
	MaxBodyBytes   = 6 << 20
)

// StartAPI serves handler behind an HTTP API. It does not return.
func StartAPI(handler http.Handler) { lambda.Start(API(handler)) }

// StartStream serves handler behind a streaming function URL. It does not return.
func StartStream(handler http.Handler) { lambda.Start(Stream(handler)) }

// RequestID is the id that Lambda gave the invocation, as CloudWatch shows it, or "" outside of Lambda.
func RequestID(r *http.Request) string { return requestID(r.Context()) }

func requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

type arrivedKey struct{}

// Arrived is when the request reached AWS, by AWS's own clock and to the millisecond: a cold start lies between that and
// the handler. It is zero outside of Lambda.
func Arrived(r *http.Request) time.Time {
	t, _ := r.Context().Value(arrivedKey{}).(time.Time)
	return t
}

// API is the Lambda handler that StartAPI runs. It answers each event with a whole payload 2.0 response; what the
// handler flushes is held until it returns.
func API(handler http.Handler) lambda.Handler { return apiHandler{handler} }

type apiHandler struct{ handler http.Handler }

// Invoke takes an event and returns a response, both as JSON. It fails only for an event of another kind.
func (a apiHandler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	ev, err := parseEvent(payload)
	if err != nil {
		return nil, err
	}
	w := newResponse(ev, nil)
	// API Gateway hands the path over decoded; see newRequest.
	in := start(ctx, a.handler, w, ev, decodedPath)
	defer in.end()
	select {
	case <-in.done:
	case <-in.cut.Done():
		w.expire(ctx)
	}
	return w.encode()
}

// Stream is the Lambda handler that StartStream runs. The reader it returns is the prelude and body that the Runtime
// API takes under the content type application/vnd.awslambda.http-integration-response.
func Stream(handler http.Handler) func(context.Context, json.RawMessage) (io.ReadCloser, error) {
	return func(ctx context.Context, payload json.RawMessage) (io.ReadCloser, error) {
		ev, err := parseEvent(payload)
		if err != nil {
			return nil, err
		}
		reader, writer := io.Pipe()
		w := newResponse(ev, writer)
		in := start(ctx, handler, w, ev, encodedPath)
		select {
		case <-w.begun:
		case <-in.done:
		case <-in.cut.Done():
			w.expire(ctx)
		}
		select {
		case <-w.begun:
			return &stream{body: reader, pipe: reader, invocation: in}, nil
		default: // the handler has returned without a flush, or never will: one piece is cheaper than a pipe
			whole, err := w.whole()
			return &stream{body: whole, pipe: reader, invocation: in}, err
		}
	}
}

// invocation is one event on its way through the handler.
type invocation struct {
	done          chan struct{}   // closed when the handler has returned
	cut           context.Context // ends shortly before Lambda stops the process
	cancelRequest context.CancelFunc
	cancelCut     context.CancelFunc
}

// start runs the handler. The request's context ends a little before cut does, so that a handler which obeys it can
// still say so to the client.
func start(ctx context.Context, handler http.Handler, w *response, ev *event, form pathForm) *invocation {
	in := &invocation{done: make(chan struct{})}
	var requestCtx context.Context
	if deadline, ok := ctx.Deadline(); ok {
		margin := min(time.Second, time.Until(deadline)/10)
		in.cut, in.cancelCut = context.WithDeadline(ctx, deadline.Add(-margin/2))
		requestCtx, in.cancelRequest = context.WithDeadline(in.cut, deadline.Add(-margin))
	} else {
		in.cut, in.cancelCut = context.WithCancel(ctx)
		requestCtx, in.cancelRequest = context.WithCancel(in.cut)
	}
	// A reader that has stopped reading must not hold a handler past the deadline.
	stop := context.AfterFunc(in.cut, w.abandon)
	go func() {
		defer close(in.done)
		defer stop()
		r, refused := newRequest(requestCtx, ev, form)
		if refused != nil {
			slog.LogAttrs(ctx, slog.LevelWarn, "request", slog.String("method", ev.RequestContext.HTTP.Method),
				slog.Int("status", refused.status), slog.String("reason", refused.reason), slog.String("request_id", requestID(ctx)))
			w.refuse(refused)
			w.finish(nil)
			return
		}
		defer func() {
			fault := recover()
			if fault != nil && fault != http.ErrAbortHandler {
				slog.LogAttrs(ctx, slog.LevelError, "panic", slog.Any("panic", fault),
					slog.String("stack", string(debug.Stack())), slog.String("request_id", requestID(ctx)))
			}
			w.finish(fault)
		}()
		handler.ServeHTTP(w, r)
	}()
	return in
}

// end ends the request's context and waits for the handler, since Lambda freezes the process between two events; but not
// beyond the deadline, for a handler that does not obey its context.
func (in *invocation) end() {
	in.cancelRequest()
	select {
	case <-in.done:
	case <-in.cut.Done():
	}
	in.cancelCut()
}

// stream is a response as aws-lambda-go reads it. It has no exported field, so that it does not encode as JSON and is
// read instead.
type stream struct {
	body io.Reader
	pipe *io.PipeReader
	*invocation
}

func (s *stream) Read(p []byte) (int, error) { return s.body.Read(p) }

// ContentType tells the Runtime API that a prelude comes first.
func (s *stream) ContentType() string { return "application/vnd.awslambda.http-integration-response" }

// Close is called when the response has been read, or nobody reads it any more: the handler's writes fail from now on.
func (s *stream) Close() error {
	_ = s.pipe.CloseWithError(errGone)
	s.end()
	return nil
}
