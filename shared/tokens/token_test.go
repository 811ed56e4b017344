package tokens

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/upstream"
)

func TestToken_AuthorizationCode(t *testing.T) {
	w := newWorld(t)
	a := w.signedIn("")
	if a.text("token_type") != "Bearer" || a.body["expires_in"] != 900.0 || a.text("scope") != "mcp offline_access" ||
		!strings.HasPrefix(a.text("access_token"), "at_") || !strings.HasPrefix(a.text("refresh_token"), "rt_") {
		t.Errorf("answer %s", a.raw)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Pragma": "no-cache", "Content-Type": "application/json", "Access-Control-Allow-Origin": "*",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !w.works(a.text("access_token")) {
		t.Error("the access token does not work")
	}
	// OAuth 2.1 has no redirect_uri here.
	f := redeemForm(w.public, w.code(w.public, ""))
	f.Del("redirect_uri")
	w.must(w.post("/token", f))
	// A client that did not register refresh_token gets none, whatever the scope says.
	b := w.must(w.post("/token", redeemForm(w.noRefresh, w.code(w.noRefresh, ""))))
	if b.text("refresh_token") != "" {
		t.Error("a client without the grant type got a refresh token")
	}
}

func TestD02_CodeSurvivesRefusals(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.confidential, "")
	good := with(redeemForm(w.confidential, code), "client_secret", w.secret)
	for _, c := range []struct {
		name   string
		f      url.Values
		status int
		code   string
	}{
		{"another client", redeemForm(w.public, code), 400, "invalid_grant"},
		{"another redirect_uri", with(good, "redirect_uri", redirect+"x"), 400, "invalid_grant"},
		{"another loopback port", with(good, "redirect_uri", "http://127.0.0.1:4712/callback"), 400, "invalid_grant"},
		{"wrong verifier", with(good, "code_verifier", strings.Repeat("x", 43)), 400, "invalid_grant"},
		{"empty verifier", with(good, "code_verifier", ""), 400, "invalid_grant"},
		{"missing verifier", form("grant_type", "authorization_code", "client_id", w.confidential, "client_secret", w.secret, "code", code, "redirect_uri", redirect), 400, "invalid_grant"},
		{"wrong secret", with(good, "client_secret", "cs_wrong"), 401, "invalid_client"},
		{"no secret", redeemForm(w.confidential, code), 401, "invalid_client"},
		{"another resource", with(good, "resource", "https://other.example/mcp"), 400, "invalid_target"},
		{"a sibling of the resource", with(good, "resource", issuer+"/mcp-v2"), 400, "invalid_target"},
		{"another code", with(good, "code", code[:len(code)-1]+"_"), 400, "invalid_grant"},
		{"no code", with(good, "code", ""), 400, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) { w.refused(w.post("/token", c.f), c.status, c.code) })
	}
	w.must(w.post("/token", with(good, "resource", strings.ToUpper(issuer[:6])+issuer[6:]+"/sse/")))
}

func TestD01_ReplayOverHTTP(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.public, "")
	a := w.must(w.post("/token", redeemForm(w.public, code)))
	w.refused(w.post("/token", with(redeemForm(w.public, code), "code_verifier", strings.Repeat("y", 43))), 400, "invalid_grant")
	if !w.works(a.text("access_token")) {
		t.Fatal("a wrong replay revoked")
	}
	w.refused(w.post("/token", redeemForm(w.public, code)), 400, "invalid_grant")
	if w.works(a.text("access_token")) {
		t.Error("a replay did not revoke")
	}
	w.refused(w.post("/token", refreshForm(w.public, a.text("refresh_token"))), 400, "invalid_grant")
}

func TestD04_RacingRedemptionsOverHTTP(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.public, "")
	answers := make([]answer, 16)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range answers {
		wg.Go(func() { <-start; answers[i] = w.post("/token", redeemForm(w.public, code)) })
	}
	close(start)
	wg.Wait()
	winners := 0
	for _, a := range answers {
		switch a.status {
		case 200:
			winners++
		case 400:
			w.refused(a, 400, "invalid_grant")
		default:
			t.Errorf("answered %d %s", a.status, a.raw)
		}
	}
	// A racer that read after the winner wrote is a replay and revokes; one that read before is not. Either way no more
	// than one token set comes of one code.
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
}

func TestD06_ClientAuthentication(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.confidential, "")
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	send := func(f url.Values, path, authorization string) answer {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(f.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		return w.send(r)
	}
	f := redeemForm(w.confidential, code)
	w.refused(send(with(f, "client_secret", w.secret), "/token", basic(w.confidential, w.secret)), 400, "invalid_request")
	a := send(f, "/token", basic(w.confidential, w.secret)) // registered for client_secret_post
	w.refused(a, 401, "invalid_client")
	if a.header.Get("WWW-Authenticate") == "" {
		t.Error("401 to an Authorization header without a challenge")
	}
	w.refused(send(f, "/token?client_secret="+url.QueryEscape(w.secret), ""), 401, "invalid_client")
	w.refused(send(with(f, "client_id", "dyn_unknown"), "/token", ""), 401, "invalid_client")
	w.refused(send(with(f, "client_id", "not a client"), "/token", ""), 401, "invalid_client")
	w.must(send(with(f, "client_secret", w.secret), "/token", ""))
}

func TestD07_HostileRequests(t *testing.T) {
	w := newWorld(t)
	good := redeemForm(w.public, w.code(w.public, "")).Encode()
	const urlencoded = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, contentType, encoding, body string
		status                            int
		code                              string
	}{
		{"JSON", "application/json", "", `{"grant_type":"authorization_code"}`, 400, "invalid_request"},
		{"two types", "application/json, " + urlencoded, "", good, 400, "invalid_request"},
		{"multipart", "multipart/form-data; boundary=x", "", good, 400, "invalid_request"},
		{"no type", "", "", good, 400, "invalid_request"},
		{"gzip", urlencoded, "gzip", good, 400, "invalid_request"},
		{"10 MB", urlencoded, "", strings.Repeat("a", 10<<20), 413, "invalid_request"},
		{"duplicate", urlencoded, "", good + "&code=x", 400, "invalid_request"},
		{"bad escape", urlencoded, "", good + "&x=%zz", 400, "invalid_request"},
		{"NUL", urlencoded, "", good + "&x=%00", 400, "invalid_request"},
		{"two resources", urlencoded, "", good + "&resource=" + issuer + "&resource=" + issuer, 400, "invalid_target"},
		{"empty", urlencoded, "", "", 400, "invalid_request"},
		{"no grant_type", urlencoded, "", "client_id=" + w.public, 400, "invalid_request"},
		{"unknown grant_type", urlencoded, "", "grant_type=password&client_id=" + w.public, 400, "unsupported_grant_type"},
		{"no client", urlencoded, "", "grant_type=refresh_token&refresh_token=x", 400, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(c.body))
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			w.refused(w.send(r), c.status, c.code)
		})
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
		for _, path := range []string{"/token", "/revoke", "/introspect"} {
			a := w.send(httptest.NewRequest(method, path, nil))
			if a.status != 405 || a.header.Get("Allow") != "POST, OPTIONS" {
				t.Errorf("%s %s: %d, Allow %q", method, path, a.status, a.header.Get("Allow"))
			}
		}
	}
	if a := w.send(httptest.NewRequest("OPTIONS", "/token", nil)); a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
}

func TestD08_GrantTypeConfusion(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.public, "")
	a := w.must(w.post("/token", redeemForm(w.public, code)))
	rt, at := a.text("refresh_token"), a.text("access_token")
	w.refused(w.post("/token", redeemForm(w.public, rt)), 400, "invalid_grant")
	w.refused(w.post("/token", redeemForm(w.public, at)), 400, "invalid_grant")
	w.refused(w.post("/token", refreshForm(w.public, at)), 400, "invalid_grant")
	w.refused(w.post("/token", refreshForm(w.public, code)), 400, "invalid_grant")
	w.refused(w.post("/token", refreshForm(w.noRefresh, rt)), 400, "unauthorized_client")
	for _, f := range []url.Values{
		form("grant_type", "client_credentials", "client_id", w.public),
		form("grant_type", "client_credentials", "client_id", w.confidential, "client_secret", w.secret),
	} {
		w.refused(w.post("/token", f), 400, "unauthorized_client")
	}
	if !w.works(at) {
		t.Error("the grant suffered")
	}
}

func TestToken_ClientCredentials(t *testing.T) {
	w := newWorld(t)
	send := func(secret, scope string) answer {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form("grant_type", "client_credentials", "scope", scope).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("robot", secret)
		return w.send(r)
	}
	w.refused(send("wrong", ""), 401, "invalid_client")
	w.refused(send(robotSecret, "b\"d"), 400, "invalid_scope")
	a := w.must(send(robotSecret, "mcp admin offline_access"))
	if a.text("refresh_token") != "" || a.text("scope") != "mcp" || a.body["expires_in"] != 900.0 {
		t.Errorf("answer %s", a.raw)
	}
	access, err := w.Grants.Authenticate(t.Context(), a.text("access_token"))
	if err != nil || access.Identity.Issuer != "" || access.Identity.Email != "" || access.ClientID != "robot" {
		t.Errorf("access %+v, %v", access, err)
	}
	p, err := policy.New("ada@example.com", "")
	if err != nil || p.Allows(access.Identity, "generateImage", policy.Listed) {
		t.Error("a machine passes for a listed person")
	}
}

func TestToken_RefreshOverHTTP(t *testing.T) {
	w := newWorld(t)
	a := w.signedIn("")
	rt := a.text("refresh_token")
	b := w.must(w.post("/token", refreshForm(w.public, rt)))
	w.advance(30 * time.Second)
	again := w.must(w.post("/token", refreshForm(w.public, rt)))
	if again.text("access_token") != b.text("access_token") || again.text("refresh_token") != b.text("refresh_token") || again.body["expires_in"] != 870.0 {
		t.Errorf("retry: %s", again.raw)
	}
	w.refused(w.post("/token", with(refreshForm(w.public, b.text("refresh_token")), "scope", "mcp admin")), 400, "invalid_scope")
	w.refused(w.post("/token", with(refreshForm(w.public, b.text("refresh_token")), "resource", "https://other.example")), 400, "invalid_target")
	w.refused(w.post("/token", refreshForm(w.public2, b.text("refresh_token"))), 400, "invalid_grant")
	w.refused(w.post("/token", refreshForm("dyn_gone", b.text("refresh_token"))), 401, "invalid_client")
	w.refused(w.post("/token", form("grant_type", "refresh_token", "client_id", w.public)), 400, "invalid_request")
	w.must(w.post("/token", with(refreshForm(w.public, b.text("refresh_token")), "scope", "mcp")))
}

// An operator gives the MCP endpoint another URL. Tokens name their audience, so a refresh has to lead to a new sign-in,
// and the way back has to find the grants as they were.
func TestE04_TheResourceMoves(t *testing.T) {
	w := newWorld(t)
	rt := w.signedIn("").text("refresh_token")
	home := w.Resource
	moved, err := oauth.NewResource("https://mcp.example.com/mcp")
	if err != nil {
		t.Fatal(err)
	}
	w.Resource = moved
	w.refused(w.post("/token", refreshForm(w.public, rt)), 400, "invalid_grant")
	w.Resource = home
	w.must(w.post("/token", refreshForm(w.public, rt)))
}

func TestE05_UpstreamOverHTTP(t *testing.T) {
	w := newWorld(t)
	rt := w.signedIn("upstream-1").text("refresh_token")
	w.advance(14 * time.Minute)
	for _, err := range []error{upstream.ErrUnavailable, upstream.ErrVerification, upstream.ErrNoSubject, upstream.ErrMisconfigured} {
		w.upstream = func(string) (upstream.Session, error) { return upstream.Session{}, fmt.Errorf("refreshing: %w", err) }
		a := w.post("/token", refreshForm(w.public, rt))
		w.refused(a, 503, "temporarily_unavailable")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	w.upstream = func(string) (upstream.Session, error) {
		return upstream.Session{Identity: ada, RefreshToken: "upstream-2"}, nil
	}
	rt = w.must(w.post("/token", refreshForm(w.public, rt))).text("refresh_token")
	w.advance(14 * time.Minute)
	w.upstream = func(token string) (upstream.Session, error) {
		if token != "upstream-2" {
			t.Errorf("asked with %q", token)
		}
		return upstream.Session{}, upstream.ErrRejected
	}
	w.refused(w.post("/token", refreshForm(w.public, rt)), 400, "invalid_grant")
	w.upstream = nil // not asked again
	w.refused(w.post("/token", refreshForm(w.public, rt)), 400, "invalid_grant")
}

func TestToken_RefusalsAreLogged(t *testing.T) {
	w := newWorld(t)
	logged := audit.Requests(slog.New(slog.NewJSONHandler(w.log, nil)), w.Now, func(*http.Request) string { return "req" }, w.mux)
	for _, c := range []struct {
		path  string
		form  url.Values
		wants string
	}{
		{"/token", refreshForm(w.public, "rt_made-up"), `"client_id":"` + w.public + `","grant_type":"refresh_token","error":"invalid_grant","reason":"the refresh token is unknown, expired or revoked"`},
		{"/revoke", form("client_id", w.confidential, "client_secret", "made-up", "token", "x"), `"client_id":"` + w.confidential + `","error":"invalid_client"`},
		{"/introspect", form("client_id", w.public, "token", "made-up"), `"client_id":"` + w.public + `","error":"invalid_client"`},
	} {
		w.log.Reset()
		r := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		logged.ServeHTTP(httptest.NewRecorder(), r)
		if line := w.log.String(); !strings.Contains(line, c.wants) || strings.Contains(line, "made-up") {
			t.Errorf("%s: the log says %s", c.path, line)
		}
	}
}

func TestToken_PassingFaults(t *testing.T) {
	w := newWorld(t)
	code := w.code(w.public, "")
	w.table.down(fmt.Errorf("throttled: %w", table.ErrUnavailable))
	a := w.post("/token", redeemForm(w.public, code))
	w.refused(a, 503, "temporarily_unavailable")
	if a.header.Get("Retry-After") == "" || strings.Contains(a.raw, "throttled") {
		t.Errorf("answer %s, Retry-After %q", a.raw, a.header.Get("Retry-After"))
	}
	w.table.down(errors.New("secret of the inside"))
	w.refused(w.post("/token", redeemForm(w.public, code)), 503, "temporarily_unavailable")
	w.table.up()
	w.Limiter = rate.NewLimiter(1, 1)
	w.must(w.post("/token", redeemForm(w.public, code)))
	a = w.post("/token", redeemForm(w.public, code))
	w.refused(a, 503, "temporarily_unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// The budget of DESIGN.md, "What every layer promises", at the endpoint itself.
func TestToken_CallBudget(t *testing.T) {
	w := newWorld(t)
	budget := func(name string, reads, writes int64, do func()) {
		t.Helper()
		w.table.reads.Store(0)
		w.table.writes.Store(0)
		do()
		if r, wr := w.table.reads.Load(), w.table.writes.Load(); r != reads || wr != writes {
			t.Errorf("%s: %d reads and %d writes, want %d and %d", name, r, wr, reads, writes)
		}
	}
	code := w.code(w.public, "upstream-1")
	var a, b answer
	budget("redeem", 1, 1, func() { a = w.must(w.post("/token", redeemForm(w.public, code))) })
	budget("refresh", 1, 1, func() { b = w.must(w.post("/token", refreshForm(w.public, a.text("refresh_token")))) })
	budget("retry", 1, 0, func() { w.must(w.post("/token", refreshForm(w.public, a.text("refresh_token")))) })
	w.advance(14 * time.Minute)
	budget("refresh that asks the provider", 1, 2, func() { b = w.must(w.post("/token", refreshForm(w.public, b.text("refresh_token")))) })
	w.advance(25 * time.Hour)
	budget("refresh that moves the client's expiry", 1, 3, func() { b = w.must(w.post("/token", refreshForm(w.public, b.text("refresh_token")))) })
	budget("refused", 1, 0, func() { w.post("/token", refreshForm(w.public2, b.text("refresh_token"))) })
	budget("malformed", 0, 0, func() { w.post("/token", form("grant_type", "x", "client_id", w.public)) })
	budget("revoke", 1, 1, func() { w.must(w.post("/revoke", form("token", b.text("refresh_token"), "client_id", w.public))) })
}
