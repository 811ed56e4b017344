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
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// answer is a response as either adapter's front end would read it.
type answer struct {
	StatusCode      int
	Headers         map[string]string
	Cookies         []string
	Body            string
	IsBase64Encoded bool
}

func callAPI(t *testing.T, ctx context.Context, handler http.Handler, ev *event) answer {
	t.Helper()
	out, err := API(handler).Invoke(ctx, ev.payload())
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if a.IsBase64Encoded {
		body, err := base64.StdEncoding.DecodeString(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		a.Body = string(body)
	}
	return a
}

func callStream(t *testing.T, ctx context.Context, handler http.Handler, ev *event) (answer, error) {
	t.Helper()
	stream, err := Stream(handler)(ctx, ev.payload())
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(stream)
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(text), "\x00\x00\x00\x00\x00\x00\x00\x00")
	var a answer
	if jsonErr := json.Unmarshal([]byte(head), &a); !ok || jsonErr != nil {
		t.Fatalf("no prelude in %q", text)
	}
	a.Body = body
	return a, err
}

// both runs a test on the two adapters.
func both(t *testing.T, handler http.Handler, ev *event, check func(t *testing.T, a answer)) {
	t.Helper()
	t.Run("api", func(t *testing.T) { check(t, callAPI(t, t.Context(), handler, ev)) })
	t.Run("stream", func(t *testing.T) {
		a, err := callStream(t, t.Context(), handler, ev)
		if err != nil {
			t.Error(err)
		}
		check(t, a)
	})
}

func TestResponses(t *testing.T) {
	captureLogs(t)
	tests := []struct {
		name    string
		method  string
		handler http.HandlerFunc
		status  int
		headers map[string]string
		cookies []string
		body    string
	}{
		{"nothing at all", "GET", func(http.ResponseWriter, *http.Request) {}, 200, map[string]string{}, nil, ""},
		{"status alone", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 404, map[string]string{}, nil, ""},
		{"body alone is sniffed", "GET", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html>é") },
			200, map[string]string{"Content-Type": "text/html; charset=utf-8"}, nil, "<!DOCTYPE html>é"},
		{"sniffing can be turned off", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "x") },
			200, map[string]string{}, nil, "x"},
		{"several values", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Vary", "Origin")
			w.Header().Add("Vary", "Authorization")
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", Path: "/", Secure: true})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2", Expires: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)})
			w.WriteHeader(302)
		}, 302, map[string]string{"Vary": "Origin, Authorization"}, []string{"a=1; Path=/; Secure", "b=2; Expires=Tue, 24 Nov 2026 00:00:00 GMT"}, ""},
		{"binary", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte{0x89, 'P', 0, 0xff})
		}, 200, map[string]string{"Content-Type": "image/png"}, nil, "\x89P\x00\xff"},
		{"the second status is ignored, and headers after the first", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			w.Header().Set("Late", "1")
		}, 201, map[string]string{}, nil, ""},
		{"informational", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(202) }, 202, map[string]string{}, nil, ""},
		{"headers of the connection are AWS's", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "keep-alive")
			w.Header().Set("Content-Length", "1")
			w.Header().Set("X", "1")
			w.WriteHeader(200)
		}, 200, map[string]string{"X": "1"}, nil, ""},
		{"H04 line breaks in headers", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", "a\r\nSet-Cookie: evil=1")
			w.Header().Set("Bad Name", "x")
			w.WriteHeader(200)
		}, 200, map[string]string{"X": "a  Set-Cookie: evil=1"}, nil, ""},
		{"HEAD has no body", "HEAD", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			fmt.Fprint(w, "body")
		},
			200, map[string]string{"Content-Type": "a/b"}, nil, ""},
		{"no content", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			if _, err := fmt.Fprint(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				panic(err)
			}
		}, 204, map[string]string{}, nil, ""},
		{"panic", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Secret", "x")
			fmt.Fprint(w, "half a page")
			panic("boom")
		}, 500, map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}, nil, `{"error":"server_error","error_description":"internal error"}` + "\n"},
		{"panic for an invalid status", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(7) },
			500, map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}, nil, `{"error":"server_error","error_description":"internal error"}` + "\n"},
		{"abort", "HEAD", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			500, map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, tt.handler, newEvent(tt.method, "/"), func(t *testing.T, a answer) {
				if a.StatusCode != tt.status || a.Body != tt.body || fmt.Sprint(a.Headers) != fmt.Sprint(tt.headers) || fmt.Sprintf("%q", a.Cookies) != fmt.Sprintf("%q", tt.cookies) {
					t.Errorf("got %+v", a)
				}
			})
		})
	}
}

func TestRefusalsAreOAuthJSON(t *testing.T) {
	captureLogs(t)
	called := false
	ev := newEvent("POST", "/token")
	ev.Body = strings.Repeat("x", MaxBodyBytes+1)
	both(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }), ev, func(t *testing.T, a answer) {
		if a.StatusCode != 413 || a.Headers["Content-Type"] != "application/json" || !strings.Contains(a.Body, `"error":"invalid_request"`) || called {
			t.Errorf("got %+v, handler called: %v", a, called)
		}
	})
}

func TestResponseOverTheLimits(t *testing.T) {
	logs := captureLogs(t)
	for name, handler := range map[string]http.HandlerFunc{
		"body": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxBodyBytes+1)) },
		"body once encoded": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte{0xff}, MaxBodyBytes-100))
		},
		"headers": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", MaxHeaderBytes)) },
		"cookies": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 4 {
				http.SetCookie(w, &http.Cookie{Name: fmt.Sprint("c", i), Value: strings.Repeat("x", 3000)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := callAPI(t, t.Context(), handler, newEvent("GET", "/"))
			if a.StatusCode != 500 || !strings.Contains(a.Body, "server_error") || len(a.Cookies) != 0 {
				t.Errorf("got %d %v %s", a.StatusCode, a.Cookies, a.Body)
			}
		})
	}
	if !strings.Contains(logs.String(), "over the limits") {
		t.Errorf("the log does not say so: %s", logs)
	}
	// A stream carries more.
	a, err := callStream(t, t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 8 {
			_, _ = w.Write(make([]byte, 1<<20))
		}
	}), newEvent("GET", "/"))
	if err != nil || len(a.Body) != 8<<20 {
		t.Errorf("%d bytes, %v", len(a.Body), err)
	}
}

func captureLogs(t testing.TB) *bytes.Buffer {
	t.Helper()
	var logs bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&logs, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &logs
}

func TestRequestIDReachesHandlerAndLog(t *testing.T) {
	logs := captureLogs(t)
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "id-1"})
	var seen string
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = RequestID(r)
		panic("boom")
	})
	callAPI(t, ctx, handler, newEvent("GET", "/"))
	if seen != "id-1" {
		t.Errorf("RequestID = %q", seen)
	}
	if !strings.Contains(logs.String(), `"request_id":"id-1"`) || !strings.Contains(logs.String(), "response_test.go") {
		t.Errorf("the panic's log line has no request id or stack: %s", logs)
	}
	r, _ := http.NewRequest("GET", "/", nil)
	if RequestID(r) != "" {
		t.Error("a request id outside of Lambda")
	}
}

func TestStreamGoesOutAtEachFlush(t *testing.T) {
	step := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush() // as mcp-go does
		<-step
		fmt.Fprint(w, "one")
		fmt.Fprint(w, ", two")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-step
		fmt.Fprint(w, "last")
	})
	stream, err := Stream(handler)(t.Context(), newEvent("GET", "/").payload())
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	read := func() string {
		n, err := stream.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	if got, want := read(), `{"statusCode":200,"headers":{"Content-Type":"text/event-stream"}}`+"\x00\x00\x00\x00\x00\x00\x00\x00"; got != want {
		t.Errorf("first chunk %q, want %q", got, want)
	}
	step <- struct{}{}
	if got := read(); got != "one, two" {
		t.Errorf("second chunk %q: what is written between two flushes is one chunk", got)
	}
	step <- struct{}{}
	if got := read(); got != "last" {
		t.Errorf("last chunk %q", got)
	}
	if _, err := stream.Read(buf); err != io.EOF {
		t.Errorf("end: %v", err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

func TestPanicInTheMiddleOfAStream(t *testing.T) {
	captureLogs(t)
	a, err := callStream(t, t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic("boom")
	}), newEvent("GET", "/"))
	if !errors.Is(err, errPanic) || a.StatusCode != 200 || a.Body != "half" {
		t.Errorf("got %+v, %v; want the stream cut with an error", a, err)
	}
}

func TestWriteAfterTheClientHasGone(t *testing.T) {
	result := make(chan error, 1)
	gone := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-gone
		var err error
		for err == nil { // a pipe that nobody reads would block here for ever
			_, err = w.Write(make([]byte, streamBuffer))
		}
		result <- err
		<-r.Context().Done()
	})
	stream, err := Stream(handler)(t.Context(), newEvent("GET", "/").payload())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	close(gone)
	if err := stream.Close(); err != nil { // returns once the handler has
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, errGone) {
		t.Errorf("Write = %v, want %v", err, errGone)
	}
}

func TestWriteAfterTheHandlerReturned(t *testing.T) {
	var kept http.ResponseWriter
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { kept = w; fmt.Fprint(w, "x") })
	callAPI(t, t.Context(), handler, newEvent("GET", "/"))
	if _, err := kept.Write([]byte("late")); !errors.Is(err, errEnded) {
		t.Errorf("Write = %v", err)
	}
	if err := http.NewResponseController(kept).Flush(); !errors.Is(err, errEnded) {
		t.Errorf("Flush = %v", err)
	}
}

func TestDeadline(t *testing.T) {
	captureLogs(t)
	obeys := func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		w.WriteHeader(504)
		fmt.Fprint(w, "in time")
	}
	for _, adapter := range []string{"api", "stream"} {
		run := func(t *testing.T, ctx context.Context, handler http.HandlerFunc) (answer, error) {
			if adapter == "api" {
				return callAPI(t, ctx, handler, newEvent("GET", "/")), nil
			}
			return callStream(t, ctx, handler, newEvent("GET", "/"))
		}
		within := func(t *testing.T, name string, body func(t *testing.T, ctx context.Context)) {
			t.Run(adapter+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
					defer cancel()
					began := time.Now()
					body(t, ctx)
					if d := time.Since(began); d < 28*time.Second || d >= 29*time.Second {
						t.Errorf("answered after %v of 29 s", d)
					}
				})
			})
		}
		within(t, "is the request's", func(t *testing.T, ctx context.Context) {
			if a, err := run(t, ctx, obeys); err != nil || a.StatusCode != 504 || a.Body != "in time" {
				t.Errorf("got %+v, %v", a, err)
			}
		})
		within(t, "cuts off a handler that ignores it", func(t *testing.T, ctx context.Context) {
			release := make(chan struct{})
			defer close(release)
			a, err := run(t, ctx, func(http.ResponseWriter, *http.Request) { <-release })
			if err != nil || a.StatusCode != 503 || a.Headers["Retry-After"] == "" || !strings.Contains(a.Body, "temporarily_unavailable") {
				t.Errorf("got %+v, %v", a, err)
			}
		})
	}
	t.Run("breaks a stream that nobody reads", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
			defer cancel()
			failed := make(chan error, 1)
			stream, err := Stream(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				var err error
				for err == nil {
					_, err = w.Write(make([]byte, streamBuffer))
				}
				failed <- err
			}))(ctx, newEvent("GET", "/").payload())
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			<-failed // a write that nobody reads would hang here
			if d := time.Since(began); d < 28*time.Second || d >= 29*time.Second {
				t.Errorf("broken after %v of 29 s", d)
			}
			if _, err := io.ReadAll(stream); !errors.Is(err, errDeadline) {
				t.Errorf("Read = %v, want %v", err, errDeadline)
			}
			if err := stream.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.Copy(w, r.Body)
}

func benchEvent(b *testing.B) []byte {
	ev := newEvent("POST", "/mcp?a=b")
	ev.Headers = map[string]string{"accept": "application/json, text/event-stream", "authorization": "Bearer " + strings.Repeat("x", 100),
		"content-type": "application/json", "user-agent": "bench", "x-amzn-trace-id": "Root=1", "x-forwarded-for": "203.0.113.7"}
	ev.Cookies = []string{"a=1", "b=2"}
	ev.Body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}`
	b.ReportAllocs()
	return ev.payload()
}

func BenchmarkAPI(b *testing.B) {
	payload, handler := benchEvent(b), API(http.HandlerFunc(echo))
	for b.Loop() {
		if _, err := handler.Invoke(b.Context(), payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	payload, handler := benchEvent(b), Stream(http.HandlerFunc(echo))
	for b.Loop() {
		stream, err := handler(b.Context(), payload)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, stream); err != nil {
			b.Fatal(err)
		}
		_ = stream.Close()
	}
}
