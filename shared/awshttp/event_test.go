package awshttp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// formOf tells from a test event's name which adapter it is for.
func formOf(name string) pathForm {
	if strings.HasPrefix(filepath.Base(name), "api-") {
		return decodedPath
	}
	return encodedPath
}

// TestGolden shows, for events in the shapes that AWS sends, the request that a handler sees.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no events", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ev, err := parseEvent(payload)
			if err != nil {
				t.Fatal(err)
			}
			r, refused := newRequest(t.Context(), ev, formOf(name))
			if refused != nil {
				t.Fatal(refused)
			}
			got := dump(t, r)
			if *update {
				if err := os.WriteFile(name+".golden", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func dump(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\nHost: %s\nRemoteAddr: %s\nArrived: %s\nContentLength: %d\n", r.Method, r.RequestURI, r.Proto, r.Host, r.RemoteAddr,
		Arrived(r).UTC().Format(time.RFC3339Nano), r.ContentLength)
	fmt.Fprintf(&b, "Path: %s\nEscapedPath: %s\nQuery: %q\n\n", r.URL.Path, r.URL.EscapedPath(), r.URL.Query())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %q\n", name, r.Header[name])
	}
	var cookies []string
	for _, c := range r.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	fmt.Fprintf(&b, "cookies: %q\n\n%s\n", cookies, body)
	return b.String()
}

// newEvent is an event for METHOD /path?query, to be changed by tests.
func newEvent(method, target string) *event {
	ev := &event{Version: "2.0"}
	ev.RawPath, ev.RawQueryString, _ = strings.Cut(target, "?")
	ev.RequestContext.DomainName = "id.lambda-url.us-east-1.on.aws"
	ev.RequestContext.Stage = "$default"
	ev.RequestContext.HTTP.Method, ev.RequestContext.HTTP.SourceIP = method, "203.0.113.7"
	return ev
}

func (ev *event) payload() []byte {
	data, err := json.Marshal(ev)
	if err != nil {
		panic(err)
	}
	return data
}

func TestRefusals(t *testing.T) {
	headers := func(h map[string]string) func(*event) { return func(ev *event) { ev.Headers = h } }
	tests := []struct {
		name   string
		change func(*event)
		status int // 0: accepted
	}{
		{"headers at the limit", headers(map[string]string{"x": strings.Repeat("v", MaxHeaderBytes-len("GET/"))}), 0},
		{"headers over the limit", headers(map[string]string{"x": strings.Repeat("v", MaxHeaderBytes-len("GET/")+1)}), 431},
		{"AWS's own headers do not count", headers(map[string]string{"x": strings.Repeat("v", MaxHeaderBytes-10), "x-amzn-trace-id": "Root=1-6744a1c0", "x-forwarded-for": "203.0.113.7"}), 0},
		{"cookies over the limit", func(ev *event) { ev.Cookies = []string{strings.Repeat("v", 6000), strings.Repeat("v", 6000)} }, 431},
		{"cookies told twice count once", func(ev *event) {
			ev.Cookies = []string{strings.Repeat("v", 6000)}
			ev.Headers = map[string]string{"cookie": strings.Repeat("v", 6000)}
		}, 0},
		{"query over the limit", func(ev *event) { ev.RawQueryString = strings.Repeat("q", MaxHeaderBytes) }, 431},
		{"body at the limit", func(ev *event) { ev.Body = strings.Repeat("b", MaxBodyBytes) }, 0},
		{"body over the limit", func(ev *event) { ev.Body = strings.Repeat("b", MaxBodyBytes+1) }, 413},
		{"base64 body over the limit", func(ev *event) {
			ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString(make([]byte, MaxBodyBytes+1)), true
		}, 413},
		{"base64 body far over the limit", func(ev *event) { ev.Body, ev.IsBase64Encoded = strings.Repeat("A", 2*MaxBodyBytes), true }, 413},
		{"no base64", func(ev *event) { ev.Body, ev.IsBase64Encoded = "%%%", true }, 400},
		{"method with a space", func(ev *event) { ev.RequestContext.HTTP.Method = "GET /x" }, 400},
		{"path without slash", func(ev *event) { ev.RawPath = "token" }, 400},
		{"asterisk", func(ev *event) { ev.RawPath = "*" }, 400},
		{"empty path is the root", func(ev *event) { ev.RawPath = "" }, 0},
		{"bad escape in the path", func(ev *event) { ev.RawPath = "/%zz" }, 400},
		{"control character in the path", func(ev *event) { ev.RawPath = "/a\r\nb" }, 400},
		{"control character in the query", func(ev *event) { ev.RawQueryString = "a=\n" }, 400},
		{"H04 line break in a header", headers(map[string]string{"x": "a\r\nSet-Cookie: b"}), 400},
		{"H04 line break in a cookie", func(ev *event) { ev.Cookies = []string{"a=b\r\nx: y"} }, 400},
		{"bad header name", headers(map[string]string{"x y": "a"}), 400},
		{"empty header name", headers(map[string]string{"": "a"}), 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := newEvent("GET", "/")
			tt.change(ev)
			_, refused := newRequest(t.Context(), ev, encodedPath)
			switch {
			case tt.status == 0 && refused != nil:
				t.Errorf("refused: %v", refused)
			case tt.status != 0 && (refused == nil || refused.status != tt.status):
				t.Errorf("got %v, want status %d", refused, tt.status)
			}
		})
	}
}

func TestOtherEventsAreErrors(t *testing.T) {
	for _, payload := range []string{
		``, `null`, `{}`, `[]`, `"text"`, `{"version":"2.0"}`, `{"version":"2.0","headers":{"a":1}}`,
		`{"version":"1.0","resource":"/","path":"/","httpMethod":"GET","requestContext":{"http":{"method":"GET"}}}`,
		`{"source":"aws.events","detail-type":"Scheduled Event","version":"0"}`,
	} {
		if out, err := API(http.NotFoundHandler()).Invoke(t.Context(), []byte(payload)); err == nil {
			t.Errorf("API accepts %s: %s", payload, out)
		}
		if _, err := Stream(http.NotFoundHandler())(t.Context(), json.RawMessage(payload)); err == nil {
			t.Errorf("Stream accepts %s", payload)
		}
	}
}

func TestH01_HostComesFromAWS(t *testing.T) {
	ev := newEvent("GET", "/mcp")
	ev.Headers = map[string]string{"host": "evil.example", "x-forwarded-host": "evil.example", "Host": "evil.example"}
	r, refused := newRequest(t.Context(), ev, encodedPath)
	if refused != nil {
		t.Fatal(refused)
	}
	if r.Host != "id.lambda-url.us-east-1.on.aws" || r.Header.Get("Host") != "" || r.URL.Host != "" {
		t.Errorf("Host %q, header %q, URL %v", r.Host, r.Header.Get("Host"), r.URL)
	}
}

// Paths reach the handler as they came: what is canonical is for routing to say.
func TestH03_PathsAreNotNormalised(t *testing.T) {
	tests := []struct {
		form          pathForm
		stage, raw    string
		path, escaped string
	}{
		{encodedPath, "$default", "//token", "//token", "//token"},
		{encodedPath, "$default", "/token/", "/token/", "/token/"},
		{encodedPath, "$default", "/%74oken", "/token", "/%74oken"},
		{encodedPath, "$default", "/%2574oken", "/%74oken", "/%2574oken"},
		{encodedPath, "$default", "/a/../token", "/a/../token", "/a/../token"},
		{encodedPath, "$default", "/%2e%2e/token", "/../token", "/%2e%2e/token"},
		{encodedPath, "$default", "/a%2Ftoken", "/a/token", "/a%2Ftoken"},
		{encodedPath, "$default", "/token;x", "/token;x", "/token;x"},
		{encodedPath, "$default", "/token%3Fa=b", "/token?a=b", "/token%3Fa=b"},
		{decodedPath, "$default", "/%74oken", "/%74oken", "/%2574oken"},
		{decodedPath, "$default", "/token?a=b#c", "/token?a=b#c", "/token%3Fa=b%23c"},
		{decodedPath, "$default", "/a b", "/a b", "/a%20b"},
		{decodedPath, "prod", "/prod/token", "/token", "/token"},
		{decodedPath, "prod", "/prod", "/", "/"},
		{decodedPath, "prod", "/prod/prod/token", "/prod/token", "/prod/token"},
		{decodedPath, "prod", "/production/token", "/production/token", "/production/token"},
		{decodedPath, "prod", "/token", "/token", "/token"},
	}
	for _, tt := range tests {
		t.Run(tt.raw, func(t *testing.T) {
			ev := newEvent("GET", "/")
			ev.RawPath, ev.RequestContext.Stage = tt.raw, tt.stage
			r, refused := newRequest(t.Context(), ev, tt.form)
			if refused != nil {
				t.Fatal(refused)
			}
			if r.URL.Path != tt.path || r.URL.EscapedPath() != tt.escaped || r.RequestURI != tt.escaped {
				t.Errorf("Path %q, EscapedPath %q, RequestURI %q; want %q and %q", r.URL.Path, r.URL.EscapedPath(), r.RequestURI, tt.path, tt.escaped)
			}
		})
	}
}

func TestHeadersOfTwoSpellings(t *testing.T) {
	ev := newEvent("GET", "/")
	ev.Headers = map[string]string{"authorization": "Bearer a", "Authorization": "Bearer b"}
	r, refused := newRequest(t.Context(), ev, encodedPath)
	if refused != nil || len(r.Header.Values("Authorization")) != 2 {
		t.Errorf("G02: both values must reach the handler, which refuses them: %v, %v", r.Header, refused)
	}
}

// FuzzEvent: whatever the event, the adapters answer with a response or an error, and a request that they pass on is one
// that net/http could have read.
func FuzzEvent(f *testing.F) {
	captureLogs(f)
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Add([]byte(`{"version":"2.0","rawPath":"/%","requestContext":{"http":{"method":"A"}},"isBase64Encoded":true,"body":"="}`))
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); fmt.Fprint(w, r.Form) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		_, _ = io.Copy(w, r.Body)
	})
	f.Fuzz(func(t *testing.T, payload []byte) {
		ev, err := parseEvent(payload)
		if err != nil {
			return
		}
		for _, form := range []pathForm{encodedPath, decodedPath} {
			r, refused := newRequest(context.Background(), ev, form)
			if refused != nil {
				if refused.status < 400 || refused.status > 499 {
					t.Errorf("refused with %d", refused.status)
				}
				continue
			}
			if path, err := url.PathUnescape(r.URL.EscapedPath()); err != nil || path != r.URL.Path || r.URL.Path[0] != '/' {
				t.Errorf("EscapedPath %q of Path %q: %v", r.URL.EscapedPath(), r.URL.Path, err)
			}
			if strings.ContainsAny(r.RequestURI, "\r\n\x00") {
				t.Errorf("RequestURI %q", r.RequestURI)
			}
			for name, values := range r.Header {
				if name != http.CanonicalHeaderKey(name) || strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
					t.Errorf("header %q: %q", name, values)
				}
			}
			if _, _, err := net.SplitHostPort(r.RemoteAddr); err != nil && !strings.ContainsAny(ev.RequestContext.HTTP.SourceIP, ":[]%") {
				t.Errorf("RemoteAddr %q: %v", r.RemoteAddr, err)
			}
		}
		out, err := API(mux).Invoke(context.Background(), payload)
		if err != nil || !json.Valid(out) {
			t.Errorf("API: %s, %v", out, err)
		}
		stream, err := Stream(mux)(context.Background(), payload)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(stream)
		head, _, ok := strings.Cut(string(text), "\x00\x00\x00\x00\x00\x00\x00\x00")
		if err != nil || !ok || !json.Valid([]byte(head)) {
			t.Errorf("Stream: %q, %v", text, err)
		}
		_ = stream.Close()
	})
}
