package attacks

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// TestRandomRequests puts requests together out of everything that means something here, well and badly formed. Whatever
// comes of it is the sender's fault: no answer is a 5xx, no handler panics, and no answer carries a code or a token that was
// not asked for. RANDOM_REQUESTS sends more of them, with RANDOM_SEED other ones.
func TestRandomRequests(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	number := func(variable string, otherwise uint64) uint64 {
		n, err := strconv.ParseUint(os.Getenv(variable), 10, 64)
		if err != nil {
			return otherwise
		}
		return n
	}
	seed := number("RANDOM_SEED", 1)
	random := rand.New(rand.NewPCG(seed, 2))
	c := newClient(t, d, loopback)
	code := c.code(t, deployment.Guest)
	tokens := c.signIn(t, deployment.Guest)
	b := robot.New("")
	form := sealed(t, consent(t, b, c.authorize()))
	cookie := b.Cookies(d.Issuer)[0]

	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	text := func() string {
		s := pick("", "x", c.id, c.redirect, web, code, tokens.access, tokens.refresh, form, cookie.Value, d.MCPURL, "mcp", "S256", "code", "none", "authorization_code", "refresh_token",
			"client_credentials", "approve", "cancel", "https://127.0.0.1/c", "https://client.example/c", "%00", "%zz", "\u202e", "\xff\xfe", "é", "<script>", "a\r\nb", "{}", "[]", "null", strings.Repeat("A", 3000), "-1",
			"99999999999999999999", "../..", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "eyJhbGciOiJub25lIn0.e30.", "Basic", "Bearer "+tokens.access, "Basic Yzpz", "Basic !", "true")
		switch random.IntN(6) {
		case 0:
			s += pick("x", "=", ",", ";", " ", "\t", "\u0000", "#", "?", "&", "\"")
		case 1:
			if s != "" {
				i := random.IntN(len(s))
				s = s[:i] + pick("", "A", "_", "%", "\u00e9") + s[i+random.IntN(len(s)-i):]
			}
		}
		return s
	}
	pairs := func() string {
		var s strings.Builder
		for range random.IntN(8) {
			name := pick("client_id", "redirect_uri", "state", "scope", "resource", "code", "code_verifier", "code_challenge", "code_challenge_method", "response_type", "response_mode", "grant_type", "refresh_token",
				"token", "token_type_hint", "client_secret", "client_assertion", "client_assertion_type", "request", "request_uri", "decision", "prompt", "iss", "error", "error_description", "sessionId", "access_token", text())
			value := url.QueryEscape(text())
			if random.IntN(20) == 0 {
				value = pick("%", "%zz", "+", "%00", "%ff")
			}
			s.WriteString("&" + url.QueryEscape(name) + "=" + value)
		}
		return strings.TrimPrefix(s.String(), "&")
	}
	message := func() string {
		return `{"jsonrpc":` + pick(`"2.0"`, `"1.0"`, "2", "null") + `,"id":` + pick("1", `"x"`, "null", "1.5", "{}", "[]") + `,"method":` +
			pick(`"tools/list"`, `"tools/call"`, `"initialize"`, `"ping"`, `"resources/read"`, `"server/discover"`, `"subscriptions/listen"`, `"notifications/cancelled"`, `"logging/setLevel"`, `"completion/complete"`, `"x"`, "1", `""`) +
			`,"params":` + pick("null", "1", "[]", "{}", `{"name":"add","arguments":{"a":1,"b":2}}`, `{"name":"add","arguments":{"a":"1e999","b":null}}`, `{"name":1}`, `{"name":"generateImage","arguments":null}`,
			`{"uri":"history://images"}`, `{"uri":1}`, `{"requestId":1}`, `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}`, `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}`) + pick("}", "}", "}", "}", "", "}}", ",")
	}
	// Not GET /sse: it streams.
	paths := []string{"/authorize", "/callback", "/token", "/revoke", "/introspect", "/register", "/", "/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/nowhere"}
	mcpPaths := []string{"/mcp", "/messages", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp", "/nowhere"}
	for n := range number("RANDOM_REQUESTS", 1000) {
		address := d.Issuer + pick(paths...)
		if random.IntN(3) == 0 {
			address = strings.TrimSuffix(d.MCPURL, "/mcp") + pick(mcpPaths...)
		}
		if query := pairs(); query != "" {
			address += "?" + query
		}
		method := pick(http.MethodGet, http.MethodGet, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodOptions, http.MethodHead, http.MethodPut, http.MethodDelete)
		body := ""
		if method == http.MethodPost || method == http.MethodPut {
			body = []string{pairs(), pairs(), message(), message(), text(), `{"redirect_uris":[` + strconv.Quote(text()) + `],"client_name":` + strconv.Quote(text()) + `}`}[random.IntN(6)]
		}
		headers := []string{"Content-Type", pick("application/x-www-form-urlencoded", "application/x-www-form-urlencoded", "application/json", "application/json", "text/plain", "multipart/form-data; boundary=x", "x")}
		for range random.IntN(4) {
			name := pick("Authorization", "Authorization", "Cookie", "Origin", "Accept", "Sec-Fetch-Site", "MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name", "Content-Encoding", "X-Forwarded-Host", "Last-Event-ID", "Access-Control-Request-Headers")
			value := pick(text(), "Bearer "+tokens.access, cookie.Name+"="+cookie.Value, d.Issuer, "application/json, text/event-stream", "text/html", "same-origin", "2026-07-28", "2025-06-18", "gzip")
			if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
				continue // which no client library would send
			}
			headers = append(headers, name, value)
		}
		a := send(t, method, address, body, headers...)
		// A metadata document that cannot be read is a fault that may pass.
		unread := a.status == http.StatusServiceUnavailable && strings.Contains(address+body, "client_id=https")
		if a.status >= 500 && !unread {
			t.Errorf("request %d of seed %d, %s %.500s %q with %.300q: %d %.500s", n, seed, method, address, headers, body, a.status, a.body)
		}
		if strings.Contains(a.body, `"access_token":"`) && !strings.Contains(body, tokens.refresh) && !strings.Contains(body, code) {
			t.Errorf("request %d of seed %d is answered with a token: %s %.300s", n, seed, method, address)
		}
	}
	if strings.Contains(d.Log(), "panic") {
		t.Error("a handler has panicked")
	}
}
