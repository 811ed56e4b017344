// Package audit writes what happened: one structured line per request, and one event per security decision. It never
// writes a secret: callers hand it ids, names and decisions, never tokens, codes, cookies or bodies.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"mcp-access-oauth/shared/oauth"
)

// Actions of audit events. The dashboard and its alarms search for these words, so they are stable.
const (
	SignIn            = "sign_in"
	ConsentApproved   = "consent_approved"
	ConsentDenied     = "consent_denied"
	CodeRedeemed      = "code_redeemed"
	CodeReplayed      = "code_replayed" // the grant was revoked for it
	TokenRefreshed    = "token_refreshed"
	RefreshReused     = "refresh_reused" // the grant was revoked for it
	GrantRevoked      = "grant_revoked"
	GrantEnded        = "grant_ended" // the identity provider ended the session
	ClientRegistered  = "client_registered"
	ClientCredentials = "client_credentials"
	ToolCalled        = "tool_called"
	ToolDenied        = "tool_denied"
	KeyRotated        = "key_rotated"
)

// Event is one security decision: who, through which client, on which grant, with which tool, and what was decided.
type Event struct {
	Action   string
	Decision string // "allow" or "deny"
	Issuer   string
	Subject  string
	Email    string
	ClientID string
	GrantID  string
	Tool     string
	Reason   string
}

// Log writes audit events. A nil Log writes nothing.
type Log struct{ logger *slog.Logger }

// New returns a Log on logger.
func New(logger *slog.Logger) *Log { return &Log{logger} }

// Record writes one event, with the request id of ctx where there is one.
func (l *Log) Record(ctx context.Context, e Event) {
	if l == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, redact(value)))
		}
	}
	add("action", e.Action)
	add("decision", e.Decision)
	add("iss", e.Issuer)
	add("sub", e.Subject)
	add("email", e.Email)
	add("client_id", e.ClientID)
	add("grant_id", e.GrantID)
	add("tool", e.Tool)
	add("reason", e.Reason)
	add("request_id", RequestID(ctx))
	l.logger.LogAttrs(ctx, slog.LevelInfo, "audit", attrs...)
}

type requestKey struct{}

// request collects what handlers say of the request in flight.
type request struct {
	mu    sync.Mutex
	id    string
	attrs []slog.Attr
}

// Add puts attributes on the request's log line. Without a request in ctx it does nothing.
func Add(ctx context.Context, attrs ...slog.Attr) {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		r.mu.Lock()
		r.attrs = append(r.attrs, attrs...)
		r.mu.Unlock()
	}
}

// Fault puts the internal cause of a failed request on its log line.
func Fault(ctx context.Context, err error) {
	if err != nil {
		Add(ctx, slog.String("fault", err.Error()))
	}
}

// Refusal puts on the request's log line why it was refused: the error code that was answered, and the reason in words
// that hold no secret. A stranger's part in them is cut.
func Refusal(ctx context.Context, code, reason string) {
	Add(ctx, slog.String("error", code), slog.String("reason", cut(reason, 300)))
}

// Refused is Refusal for the error that a client is answered, whose internal cause is the fault.
func Refused(ctx context.Context, e *oauth.Error) {
	Refusal(ctx, e.Code, e.Description)
	Fault(ctx, e.Cause)
}

// RequestID is the id of the request in ctx, or "".
func RequestID(ctx context.Context) string {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r.id
	}
	return ""
}

// ownBytes is what our own methods and paths need. One that is longer is none of ours, and a stranger could fill the log
// with it.
const ownBytes = 48

// cut bounds what a stranger may have written, once no secret is in it: half of one would not be known for what it is.
func cut(s string, most int) string {
	if s = redact(s); len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// Requests writes one line per request once it has been answered: method, path, status, duration in milliseconds, and
// what handlers added. The query is left out, for codes and states travel in it. requestID gives each request's id.
func Requests(logger *slog.Logger, now func() time.Time, requestID func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := now()
		info := &request{id: requestID(r)}
		recorder := &statusRecorder{ResponseWriter: w}
		defer func() {
			fault := recover()
			status := recorder.status
			if status == 0 {
				status = http.StatusOK
				if fault != nil {
					status = http.StatusInternalServerError
				}
			}
			level := slog.LevelInfo
			if status >= 500 || fault != nil {
				level = slog.LevelError
			}
			info.mu.Lock()
			attrs := make([]slog.Attr, 0, 6+len(info.attrs))
			attrs = append(attrs,
				slog.String("method", cut(r.Method, ownBytes)),
				slog.String("path", cut(r.URL.Path, ownBytes)),
				slog.Int("status", status),
				slog.Float64("ms", float64(now().Sub(start).Microseconds())/1000),
				slog.String("request_id", info.id))
			attrs = append(attrs, info.attrs...)
			info.mu.Unlock()
			if fault != nil && fault != http.ErrAbortHandler {
				attrs = append(attrs, slog.String("panic", fmt.Sprint(fault)))
			}
			for i, attr := range attrs {
				if attr.Value.Kind() == slog.KindString {
					attrs[i].Value = slog.StringValue(redact(attr.Value.String()))
				}
			}
			logger.LogAttrs(r.Context(), level, "request", attrs...)
			if fault != nil {
				panic(fault) // the server, or the Lambda adapter, answers it
			}
		}()
		next.ServeHTTP(recorder, r.WithContext(context.WithValue(r.Context(), requestKey{}, info)))
	})
}

// statusRecorder remembers the status and passes everything else on, flushing included.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(p)
}

// Flush lets streams through: mcp-go looks for http.Flusher itself.
func (s *statusRecorder) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }
