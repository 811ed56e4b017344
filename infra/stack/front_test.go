package main

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// TestEvent: what a function is handed, by its own account.
func TestEvent(t *testing.T) {
	p := newTestPool(t, "raw", 1, 60)
	api, url := apiOf(t, p, patience), urlOf(t, p)
	seen := func(r *http.Request) (e events.APIGatewayV2HTTPRequest) {
		t.Helper()
		got := do(r)
		if err := json.Unmarshal([]byte(got.body), &e); err != nil || got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %v %s, %v", got.status, got.header, got.body, err)
		}
		return e
	}

	e := seen(newRequest(t, http.MethodPost, api+"/a%2Fb%20c?x=1&y=%2F&x=2", "a=1&b=2",
		"Content-Type", "application/x-www-form-urlencoded", "Cookie", "one=1; two=2", "Cookie", "three=3", "X-Twice", "a", "X-Twice", "b"))
	host := strings.TrimPrefix(api, "http://")
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"version", e.Version, "2.0"},
		{"routeKey", e.RouteKey, "$default"},
		{"rawPath", e.RawPath, "/a/b c"},
		{"rawQueryString", e.RawQueryString, "x=1&y=%2F&x=2"},
		{"queryStringParameters", e.QueryStringParameters, map[string]string{"x": "1,2", "y": "/"}},
		{"cookies", e.Cookies, []string{"one=1", "two=2", "three=3"}},
		{"header cookie", e.Headers["cookie"], ""},
		{"header x-twice", e.Headers["x-twice"], "a,b"},
		{"header content-type", e.Headers["content-type"], "application/x-www-form-urlencoded"},
		{"header host", e.Headers["host"], host},
		{"header x-forwarded-for", e.Headers["x-forwarded-for"], "127.0.0.1"},
		{"body", e.Body, "YT0xJmI9Mg=="},
		{"isBase64Encoded", e.IsBase64Encoded, true},
		{"method", e.RequestContext.HTTP.Method, "POST"},
		{"sourceIp", e.RequestContext.HTTP.SourceIP, "127.0.0.1"},
		{"domainName", e.RequestContext.DomainName, host},
		{"stage", e.RequestContext.Stage, "$default"},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s is %#v, want %#v", check.what, check.got, check.want)
		}
	}
	if e := seen(newRequest(t, http.MethodPost, api, `{"a":1}`, "Content-Type", "application/json; charset=utf-8")); e.Body != `{"a":1}` || e.IsBase64Encoded {
		t.Errorf("JSON arrives as %q, base64 %v", e.Body, e.IsBase64Encoded)
	}
	if e := seen(newRequest(t, http.MethodGet, url+"/a%2Fb%20c", "")); e.RawPath != "/a%2Fb%20c" || e.Body != "" || e.IsBase64Encoded {
		t.Errorf("at the function URL, rawPath is %q and the body %q", e.RawPath, e.Body)
	}
}

// TestAnswer: what becomes of a function's answer.
func TestAnswer(t *testing.T) {
	for _, kind := range []string{"api", "stream"} {
		p := newTestPool(t, kind, 1, 60)
		front := urlOf(t, p)
		if kind == "api" {
			front = apiOf(t, p, patience)
		}
		got := get(t, front+"/head")
		if got.status != http.StatusUnauthorized || got.body != "no\n" || !slices.Equal(got.header.Values("Set-Cookie"), []string{"one=1", "two=2"}) {
			t.Errorf("%s: %d %q, cookies %q", kind, got.status, got.body, got.header.Values("Set-Cookie"))
		}
		if got.header.Get("WWW-Authenticate") != "" || got.header.Get("x-amzn-remapped-www-authenticate") != `Bearer error="invalid_token"` {
			t.Errorf("%s: the challenge did not change its name: %v", kind, got.header)
		}
		if got.header.Get("Vary") != "Origin, Accept" {
			t.Errorf("%s: Vary is %q", kind, got.header.Get("Vary"))
		}
	}

	p := newTestPool(t, "raw", 1, 60)
	api := apiOf(t, p, patience)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/base64":        {202, "\x00\x01\x02"},
		"/broken-base64": {500, `{"message":"Internal Server Error"}` + "\n"},
		"/text":          {200, `"only a text"`},
		"/large":         {500, `{"message":"Internal Server Error"}` + "\n"},
	} {
		if got := get(t, api+path); got.status != want.status || got.body != want.body {
			t.Errorf("%s: %d %.100q", path, got.status, got.body)
		}
	}
}

// TestRoutes: a route is a path to the letter; all else is $default's.
func TestRoutes(t *testing.T) {
	token, discovery := newTestPool(t, "raw", 1, 60), newTestPool(t, "raw", 1, 60)
	api := serveTest(t, httpAPI(map[string]*pool{"ANY /token": token, "$default": discovery}, patience))
	for path, route := range map[string]string{
		"/token": "ANY /token", "/token?x": "ANY /token", "/": "$default", "/token/": "$default", "//token": "$default", "/%74oken": "$default",
	} {
		got := get(t, api+path)
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal([]byte(got.body), &e); err != nil || e.RouteKey != route || e.RequestContext.RouteKey != route {
			t.Errorf("%s: %d, route %q, want %q; %v", path, got.status, e.RouteKey, route, err)
		}
	}
}

// TestLimits: the request line and the values of the headers at an HTTP API, and the event everywhere.
func TestLimits(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, "raw", 1, 60)
	api, url := apiOf(t, p, patience), urlOf(t, p)
	padded := func(front string, size int) *http.Request {
		r := newRequest(t, http.MethodGet, front+"/", "", "User-Agent", "", "Accept-Encoding", "identity") // an empty User-Agent is not sent
		r.Header.Set("X-Padding", strings.Repeat("x", size-len("GET / HTTP/1.1")-len(r.Host)-len("identity")))
		return r
	}
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"10,240 bytes of headers", padded(api, 10_240), 200},
		{"10,241 bytes of headers", padded(api, 10_241), 431},
		{"10,241 bytes of headers at the function URL", padded(url, 10_241), 200},
		{"5 MB of JSON", newRequest(t, http.MethodPost, api+"/text", strings.Repeat("1", 5<<20), "Content-Type", "application/json"), 200},
		{"5 MB of a form, which is sent as base64", newRequest(t, http.MethodPost, api+"/text", strings.Repeat("1", 5<<20), "Content-Type", "application/x-www-form-urlencoded"), 413},
		{"over 6 MB", newRequest(t, http.MethodPost, api+"/text", strings.Repeat("1", 6<<20+1), "Content-Type", "application/json"), 413},
		{"over 6 MB at the function URL", newRequest(t, http.MethodPost, url+"/text", strings.Repeat("1", 6<<20+1), "Content-Type", "application/json"), 413},
	} {
		if got := do(c.r); got.status != c.status || got.err != nil {
			t.Errorf("%s: %d, want %d; %v", c.name, got.status, c.status, got.err)
		}
	}
}
