package mcpserver

import (
	"net/http"
	"strings"
	"testing"

	"mcp-access-oauth/shared/oauth"
)

const appOrigin = "https://app.example.com" // of ALLOWED_ORIGINS

func from(origins ...string) http.Header { return http.Header{"Origin": origins} }

func TestG07_Origin(t *testing.T) {
	f := newFixture(t, nil)
	for _, origin := range []string{
		testOrigin, appOrigin, "http://localhost", "http://localhost:6274", "https://localhost:6274", "http://127.0.0.1:6274", "http://127.1.2.3", "http://[::1]:6274",
	} {
		for _, path := range []string{"/mcp", "/sse"} {
			request{path: path, token: employee, header: from(origin), body: callAdd("1", "2"), want: []string{`"text":"3"`}, headers: map[string]string{
				"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "-", "Vary": "Origin", "Access-Control-Expose-Headers": "WWW-Authenticate"}}.run(t, f)
		}
	}
	for _, origin := range []string{
		"null", "", "*", "https://evil.example", "http://mcp.example.com", "https://mcp.example.com:8443", "https://mcp.example.com/", "https://MCP.example.com",
		"https://mcp.example.com.evil.example", "https://evil-mcp.example.com", "https://x.app.example.com", "http://app.example.com", "https://app.example.com.",
		"http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://evil.example#localhost", "http://evil@localhost", "http://localhost@evil.example",
		"http://localhost/", "http://localhost?x", "http://localhost#x", "HTTP://localhost", "ftp://localhost", "file://", "localhost", "http://", "http://0.0.0.0", "http://[::]",
		"http://2130706433", "http://0x7f000001", "chrome-extension://abcdefghijklmnop", "https://mcp.example.com https://evil.example", " https://mcp.example.com", "http://localhost:\x00",
	} {
		for _, path := range []string{"/mcp", "/sse", "/messages"} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE"} {
				for _, token := range []string{employee, ""} {
					request{method: method, path: path, token: token, header: from(origin), status: 403, want: []string{`"jsonrpc":"2.0"`, "ALLOWED_ORIGINS"}, headers: map[string]string{
						"Access-Control-Allow-Origin": "-", "Access-Control-Allow-Methods": "-", "WWW-Authenticate": "-", "Vary": "Origin"}}.run(t, f)
				}
			}
		}
	}
	for _, two := range [][]string{{testOrigin, testOrigin}, {testOrigin, "https://evil.example"}, {"https://evil.example", testOrigin}} {
		request{token: employee, header: from(two...), body: callAdd("1", "2"), status: 403, headers: map[string]string{"Access-Control-Allow-Origin": "-"}}.run(t, f)
	}
	// A client that is no browser page sends no Origin.
	request{token: employee, body: callAdd("1", "2"), headers: map[string]string{"Access-Control-Allow-Origin": "-", "Vary": "Origin"}}.run(t, f)
	if strings.Contains(f.log.String(), `"tool_denied"`) {
		t.Errorf("a foreign page's call was judged:\n%s", f.log)
	}
}

// A page can read what it must act on: the challenge, the method that is missing, and that there is nothing here.
func TestG07_CORSOnErrors(t *testing.T) {
	f := newFixture(t, nil)
	readable := func(q request) {
		t.Helper()
		q.header = from(appOrigin)
		q.headers = map[string]string{"Access-Control-Allow-Origin": appOrigin, "Access-Control-Allow-Credentials": "-"}
		for name := range map[string]bool{"WWW-Authenticate": true, "Retry-After": true, "Allow": true, "MCP-Protocol-Version": true} {
			response := q.run(t, f)
			if exposed := response.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, name) {
				t.Errorf("%s %s: %s is not exposed: %q", q.method, q.path, name, exposed)
			}
		}
	}
	readable(request{body: callAdd("1", "2"), status: 401})
	readable(request{token: "at_unknown", body: callAdd("1", "2"), status: 401})
	readable(request{token: narrow, body: callAdd("1", "2"), status: 403})
	readable(request{token: employee, method: "GET", status: 405})
	readable(request{token: employee, body: "{", status: 400})
	readable(request{token: employee, path: "/messages", body: callAdd("1", "2"), status: 404})
	readable(request{token: tableIsDown, body: callAdd("1", "2"), status: 503})
	// What is not the endpoint's own is open to every page.
	request{method: "GET", path: "/nowhere", header: from("https://evil.example"), status: 404, want: []string{"not_found"},
		headers: map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "-"}}.run(t, f)
}

func TestG07_Preflight(t *testing.T) {
	f := newFixture(t, nil)
	for path, methods := range map[string]string{"/mcp": "GET, POST, DELETE, OPTIONS", "/sse": "GET, POST, DELETE, OPTIONS", "/messages": "POST, OPTIONS"} {
		header := from(appOrigin)
		header.Set("Access-Control-Request-Method", "POST")
		header.Set("Access-Control-Request-Headers", "authorization,content-type, mcp-protocol-version,mcp-param-region , x-secret,mcp-,mcp-\x01,mcp-"+strings.Repeat("x", 130))
		response := request{method: "OPTIONS", path: path, header: header, status: 204, headers: map[string]string{
			"Access-Control-Allow-Origin": appOrigin, "Access-Control-Allow-Credentials": "-", "Access-Control-Allow-Methods": methods, "Access-Control-Max-Age": "7200",
			"WWW-Authenticate": "-", "Allow": methods}}.run(t, f)
		if vary := response.Header.Get("Vary"); vary != "Origin, Access-Control-Request-Headers" {
			t.Errorf("%s: Vary is %q", path, vary)
		}
		allowed := strings.Split(response.Header.Get("Access-Control-Allow-Headers"), ", ")
		want := "Authorization Content-Type Accept MCP-Protocol-Version Mcp-Session-Id Mcp-Method Mcp-Name Last-Event-ID mcp-protocol-version mcp-param-region"
		if got := strings.Join(allowed, " "); got != want {
			t.Errorf("%s: allows\n got %s\nwant %s", path, got, want)
		}
		if body := readAll(t, response.Body); body != "" {
			t.Errorf("%s: a preflight has the body %q", path, body)
		}
	}
	header := from(appOrigin)
	header.Set("Access-Control-Request-Headers", strings.Repeat("mcp-param-x,", 1000))
	response := request{method: "OPTIONS", header: header, status: 204}.run(t, f)
	if n := strings.Count(response.Header.Get("Access-Control-Allow-Headers"), ","); n >= 64 {
		t.Errorf("%d headers are allowed", n)
	}
	// No Origin, and so no browser: the question is answered, and nothing is allowed.
	request{method: "OPTIONS", status: 204, headers: map[string]string{"Access-Control-Allow-Origin": "-"}}.run(t, f)
	for _, path := range []string{oauth.PathResourceMetadata, oauth.PathResourceMetadata + "/mcp", oauth.PathServerMetadata} {
		request{method: "OPTIONS", path: path, header: from("https://any.example"), status: 204,
			headers: map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "MCP-Protocol-Version"}}.run(t, f)
	}
}
