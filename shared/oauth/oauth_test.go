package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestA09_ResourceCanonical(t *testing.T) {
	resource, err := NewResource("https://abc.lambda-url.us-east-1.on.aws/")
	if err != nil {
		t.Fatal(err)
	}
	const canonical = "https://abc.lambda-url.us-east-1.on.aws/mcp"
	if resource.String() != canonical {
		t.Fatalf("canonical audience %q, want %q", resource, canonical)
	}
	same := [][]string{
		nil, {""}, {canonical}, {canonical + "/"}, {"https://abc.lambda-url.us-east-1.on.aws"}, {"https://abc.lambda-url.us-east-1.on.aws/"},
		{"https://abc.lambda-url.us-east-1.on.aws/sse"}, {"https://abc.lambda-url.us-east-1.on.aws/sse/"},
		{"HTTPS://ABC.lambda-url.us-east-1.on.aws/mcp"}, {"https://abc.lambda-url.us-east-1.on.aws:443/mcp"},
	}
	for _, values := range same {
		if got, err := resource.Canonical(values); err != nil || got != canonical {
			t.Errorf("%q: %q, %v; want the canonical audience", values, got, err)
		}
	}
	other := [][]string{
		{canonical, canonical}, {canonical + "#f"}, {canonical + "#"}, {canonical + "?x=1"}, {"https://evil.example/mcp"},
		{"https://abc.lambda-url.us-east-1.on.aws/mcp-v2"}, {"https://abc.lambda-url.us-east-1.on.aws/MCP"},
		{"https://abc.lambda-url.us-east-1.on.aws/other"}, {"http://abc.lambda-url.us-east-1.on.aws/mcp"},
		{"https://abc.lambda-url.us-east-1.on.aws:8443/mcp"}, {"https://u@abc.lambda-url.us-east-1.on.aws/mcp"},
		{"https://abc.lambda-url.us-east-1.on.aws/%6dcp"}, {"https://abc.lambda-url.us-east-1.on.aws//mcp"},
		{"https://abc.lambda-url.us-east-1.on.aws/mcp//"}, {"https://abc.lambda-url.us-east-1.on.aws./mcp"}, {"mcp"}, {"\x00"},
	}
	for _, values := range other {
		if got, err := resource.Canonical(values); err == nil {
			t.Errorf("%q was accepted as %q", values, got)
		} else if AsError(err).Code != InvalidTarget {
			t.Errorf("%q: error %v, want invalid_target", values, err)
		}
	}
}

func FuzzResourceCanonical(f *testing.F) {
	f.Add("http://localhost:8788/mcp")
	f.Add("HTTP://LOCALHOST:8788/sse/")
	resource, _ := NewResource("http://localhost:8788/mcp")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := resource.Canonical([]string{s}); err == nil && (got != resource.String() || s != "" && !strings.HasPrefix(strings.ToLower(s), "http://localhost:8788")) {
			t.Fatalf("%q was accepted as %q", s, got)
		}
	})
}

func TestA07_PKCE(t *testing.T) {
	// The pair of RFC 7636 appendix B.
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if S256Challenge(verifier) != challenge || !ValidChallenge(challenge) || !VerifyS256(challenge, verifier) {
		t.Fatal("the pair of RFC 7636 appendix B does not verify")
	}
	for _, bad := range []string{"", challenge[:42], challenge + "A", strings.Repeat("=", 43), strings.Repeat("+", 43), challenge[:42] + "N"} {
		if ValidChallenge(bad) {
			t.Errorf("challenge %q was accepted", bad)
		}
	}
	for _, bad := range []string{"", verifier[:42], verifier + " ", strings.Repeat("a", 129), verifier[:42] + "l"} {
		if VerifyS256(challenge, bad) {
			t.Errorf("verifier %q was accepted", bad)
		}
	}
}

func TestA10_Scopes(t *testing.T) {
	for _, bad := range []string{"mcp\n", "mcp\t", "a\"b", `a\b`, "é", strings.Repeat("a ", 40000), "a\x00"} {
		if _, err := ParseScope(bad); err == nil || AsError(err).Code != InvalidScope {
			t.Errorf("scope %.20q: error %v, want invalid_scope", bad, err)
		}
	}
	if got, err := ParseScope("  mcp  offline_access mcp "); err != nil || !slices.Equal(got, []string{"mcp", "offline_access"}) {
		t.Errorf("got %q, %v", got, err)
	}
	supported := SupportedScopes([]string{"images"})
	for _, c := range []struct {
		name                                    string
		requested, clientDefault, ceiling, want []string
	}{
		{"nothing asked", nil, nil, nil, []string{"mcp"}},
		{"unknown dropped", []string{"admin", "mcp"}, nil, nil, []string{"mcp"}},
		{"only unknown", []string{"admin"}, nil, nil, []string{"mcp"}},
		{"offline alone gets the default", []string{"offline_access"}, nil, nil, []string{"offline_access", "mcp"}},
		{"client default", nil, []string{"images"}, nil, []string{"images"}},
		{"ceiling holds", []string{"mcp", "images"}, nil, []string{"mcp"}, []string{"mcp"}},
		{"ceiling without the default", []string{"mcp"}, nil, []string{"images"}, nil},
	} {
		if got := GrantScopes(c.requested, c.clientDefault, supported, c.ceiling); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if _, err := NarrowScopes([]string{"mcp", "images"}, []string{"mcp"}); err == nil || AsError(err).Code != InvalidScope {
		t.Errorf("a wider scope on refresh: error %v, want invalid_scope", err)
	}
}

func FuzzParseScope(f *testing.F) {
	f.Add("mcp offline_access")
	f.Fuzz(func(t *testing.T, s string) {
		scopes, err := ParseScope(s)
		if err != nil {
			return
		}
		again, err := ParseScope(JoinScope(scopes))
		if err != nil || !slices.Equal(scopes, again) {
			t.Fatalf("%q parses to %q and again to %q, %v", s, scopes, again, err)
		}
	})
}

func TestD07_ParseForm(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"form", "application/x-www-form-urlencoded; charset=UTF-8", "a=1&resource=x&resource=y", 0},
		{"JSON", "application/json", `{"a":1}`, 400},
		{"no type", "", "a=1", 400},
		{"two types in one", "application/json, application/x-www-form-urlencoded", "a=1", 400},
		{"multipart", "multipart/form-data; boundary=x", "--x--", 400},
		{"repeated parameter", "application/x-www-form-urlencoded", "code=1&code=2", 400},
		{"bad escape", "application/x-www-form-urlencoded", "a=%zz", 400},
		{"semicolon", "application/x-www-form-urlencoded", "a=1;b=2", 400},
		{"NUL", "application/x-www-form-urlencoded", "a=%00", 400},
		{"10 MB", "application/x-www-form-urlencoded", "a=" + strings.Repeat("x", 10<<20), 413},
	} {
		r := httptest.NewRequest(http.MethodPost, "/token?client_secret=in-the-query", strings.NewReader(c.body))
		r.Header.Del("Content-Type")
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		params, err := ParseForm(httptest.NewRecorder(), r)
		switch {
		case c.status == 0 && (err != nil || params.Get("a") != "1" || len(params.Resources()) != 2):
			t.Errorf("%s: %v, %v", c.name, params, err)
		case c.status != 0 && (err == nil || AsError(err).HTTPStatus() != c.status || AsError(err).Code != InvalidRequest):
			t.Errorf("%s: error %v, want invalid_request with status %d", c.name, err, c.status)
		case params.Get("client_secret") != "":
			t.Errorf("%s: a secret was read from the query", c.name)
		}
	}
	token := "rt_" + strings.Repeat("x", 60)
	twice := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(token+"&"+token))
	twice.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := ParseForm(httptest.NewRecorder(), twice); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("a token in the place of a name: %v", err)
	}
	gzip := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader("x"))
	gzip.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	gzip.Header.Set("Content-Encoding", "gzip")
	if _, err := ParseForm(httptest.NewRecorder(), gzip); err == nil {
		t.Error("a compressed body was accepted")
	}
}

func TestWriteError(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, &Error{Code: InvalidClient, Description: "say \"hi\"\r\nSet-Cookie: x", Status: 401, Challenge: `Basic realm="x"`, RetryAfter: 1500 * time.Millisecond})
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if w.Code != 401 || body["error"] != "invalid_client" || body["error_description"] != "say 'hi'??Set-Cookie: x" ||
		w.Header().Get("Retry-After") != "2" || w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answer %d %v %v", w.Code, w.Header(), body)
	}
	w = httptest.NewRecorder()
	WriteError(w, errors.New("dial tcp 10.0.0.1: secret detail"))
	if w.Code != 503 || !strings.Contains(w.Body.String(), TemporarilyUnavailable) || strings.Contains(w.Body.String(), "10.0.0.1") {
		t.Errorf("an internal error answers %d %s", w.Code, w.Body)
	}
}

func TestMetadata(t *testing.T) {
	resource, _ := NewResource("https://mcp.example.com/mcp")
	server := NewServerMetadata("https://login.example.com", resource, []string{"images"})
	raw, _ := json.Marshal(server)
	for _, absent := range []string{"jwks_uri", "subject_types_supported"} {
		if strings.Contains(string(raw), absent) {
			t.Errorf("the RFC 8414 document holds %s", absent)
		}
	}
	raw, _ = json.Marshal(server.ForOpenIDDiscovery())
	for _, present := range []string{"jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported"} {
		if !strings.Contains(string(raw), present) {
			t.Errorf("the OpenID document lacks %s", present)
		}
	}
	for path, want := range map[string]string{"": "https://mcp.example.com", "/mcp": "https://mcp.example.com/mcp", "/sse": "https://mcp.example.com/sse"} {
		m := NewResourceMetadata("https://login.example.com", resource, path, []string{"images"})
		if m.Resource != want || slices.Contains(m.ScopesSupported, ScopeOfflineAccess) || !slices.Equal(m.AuthorizationServers, []string{"https://login.example.com"}) {
			t.Errorf("resource metadata at %q: %+v", path, m)
		}
	}
}
