package attacks

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

func TestA01_RedirectURIToTheLetter(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	for name, uri := range map[string]string{
		"another host":         "https://evil.example/callback",
		"a longer path":        web + "/x",
		"a slash more":         web + "/",
		"dot segments":         web + "/../evil",
		"encoded dot segments": web + "/%2e%2e/evil",
		"an encoded slash":     web + "%2f",
		"another case":         "https://client.example/CALLBACK",
		"the host's case":      "https://Client.example/callback",
		"a dot behind":         "https://client.example./callback",
		"the default port":     "https://client.example:443/callback",
		"a query":              web + "?next=https://evil.example",
		"a subdomain":          "https://client.example.evil.example/callback",
		"user information":     "https://client.example@evil.example/callback",
		"a backslash":          `https://client.example\@evil.example/callback`,
	} {
		t.Run(name, func(t *testing.T) {
			get(t, c.authorize("redirect_uri", uri)).localPage(t, http.StatusBadRequest, "redirect_uri")
		})
	}
}

func TestA02_LoopbackAbuse(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	for _, uri := range []string{
		"http://127.0.0.1.evil.example/callback", "http://localhost.evil.example/callback", "http://127.0.0.1@evil.example/callback",
		"http://localhost@evil.example/callback", "http://127.0.0.1:33418/other", "https://127.0.0.1:33418/callback",
		"http://localhost:33418/callback", "http://127.0.0.2:33418/callback", "http://0.0.0.0:33418/callback", "http://2130706433/callback",
		"http://127.1/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:33418/callback/../x", "http://127.0.0.1:33418/callback#x",
	} {
		get(t, c.authorize("redirect_uri", uri)).localPage(t, http.StatusBadRequest)
	}
	// RFC 8252 section 7.3: the port, and nothing else, is the client's to choose.
	consent(t, robot.New(deployment.Guest), c.authorize("redirect_uri", "http://127.0.0.1:50123/callback"))
}

func TestA03_A04_RedirectURIsThatActOrHide(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	for _, uri := range []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "javascript:alert(1)//https://a.example",
		"data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:https://a.example/x", "view-source:https://a.example",
		"https://a.example/cb#fragment", "https://a.example/cb#", "https://user:pass@a.example/cb", "/callback", "//a.example/callback", "callback", "",
		"https://%D0%B0pple.example/cb", // which a page would show as apple.example
	} {
		registration := `{"redirect_uris":["` + strings.NewReplacer("\t", `\t`).Replace(uri) + `"],"token_endpoint_auth_method":"none"}`
		send(t, http.MethodPost, d.Issuer+"/register", registration, "Content-Type", "application/json").
			refused(t, http.StatusBadRequest, "invalid_redirect_uri")
		if uri != "" { // then the client's one redirect URI counts
			get(t, c.authorize("redirect_uri", uri)).localPage(t, http.StatusBadRequest)
		}
	}
	// A NUL in front hides the scheme from who looks at its beginning.
	get(t, c.authorize("redirect_uri", "\x00javascript:alert(1)")).localPage(t, http.StatusBadRequest)
}

func TestA05_RepeatedParameters(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	for _, parameter := range []string{"redirect_uri", "client_id", "state", "code_challenge", "code_challenge_method", "scope", "response_type"} {
		for _, value := range []string{"https://evil.example/", c.with().Get(parameter)} {
			get(t, c.authorize()+"&"+parameter+"="+url.QueryEscape(value)).localPage(t, http.StatusBadRequest, "invalid_request", "repeated")
		}
	}
	get(t, c.authorize()+"&%72edirect_uri="+url.QueryEscape("https://evil.example/")).localPage(t, http.StatusBadRequest, "repeated")
	get(t, c.authorize()+"&resource="+url.QueryEscape("https://evil.example/mcp")).toClient(t, c, "invalid_target")
}

// toClient checks that an error is told to the client: its code, its state and iss, and never a code or a token.
func (a answer) toClient(t testing.TB, c client, code string) {
	t.Helper()
	target, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusFound || !strings.HasPrefix(target.String(), c.redirect+"?") {
		t.Errorf("answered %d, Location %q, want %s at the client: %.1000s", a.status, a.header.Get("Location"), code, body(a.body))
		return
	}
	q := target.Query()
	if q.Get("error") != code || len(q["iss"]) != 1 || q.Get("iss") != c.d.Issuer || q.Get("state") != "state-of-the-client" {
		t.Errorf("the client is told %v, want %s with state and iss", q, code)
	}
	if q.Has("code") || q.Has("access_token") || target.Fragment != "" {
		t.Errorf("the client is sent %s", target)
	}
}

func TestA06_UnknownClient(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	// Of the form of ours, of another server's form, and no client id at all: the same page for each.
	requestID := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	pages := map[string]bool{}
	for _, id := range []string{c.id[:len(c.id)-4] + "0000", c.id + "0", "dyn_" + strings.Repeat("A", 43), "client-of-another-server", "doc=x"} {
		a := get(t, c.authorize("client_id", id))
		a.localPage(t, http.StatusBadRequest, "not known here")
		if strings.Contains(a.body, c.redirect) {
			t.Error("the page offers a redirect URI that nobody has registered")
		}
		pages[requestID.ReplaceAllString(a.body, "")] = true
	}
	if len(pages) != 1 {
		t.Errorf("unknown clients get %d different pages", len(pages))
	}
	get(t, c.authorize("client_id", "")).localPage(t, http.StatusBadRequest, "client_id")
}

// TestA07_A08_A09_A10_A11_A12_RefusedBeforeLogin sends one fault at a time. A client on this computer is told; a client on
// the web, which anyone can register, gets no redirector out of it: the person sees a page.
func TestA07_A08_A09_A10_A11_A12_RefusedBeforeLogin(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	listening, asked := listen(t)
	native, site := newClient(t, d, loopback), newClient(t, d, web)
	for _, test := range []struct {
		name, parameter, value, code string
	}{
		{"A07 no challenge", "code_challenge", "", "invalid_request"},
		{"A07 plain", "code_challenge_method", "plain", "invalid_request"},
		{"A07 no method, which means plain", "code_challenge_method", "", "invalid_request"},
		{"A07 unknown method", "code_challenge_method", "S512", "invalid_request"},
		{"A07 short challenge", "code_challenge", strings.Repeat("a", 42), "invalid_request"},
		{"A07 long challenge", "code_challenge", strings.Repeat("a", 128), "invalid_request"},
		{"A07 alphabet", "code_challenge", strings.Repeat("=", 43), "invalid_request"},
		{"A08 implicit", "response_type", "token", "unsupported_response_type"},
		{"A08 hybrid", "response_type", "code token", "unsupported_response_type"},
		{"A08 ID token", "response_type", "id_token", "unsupported_response_type"},
		{"A08 fragment", "response_mode", "fragment", "unsupported_response_type"},
		{"A08 form_post", "response_mode", "form_post", "unsupported_response_type"},
		{"A09 another origin", "resource", "https://evil.example/mcp", "invalid_target"},
		{"A09 a fragment", "resource", d.MCPURL + "#x", "invalid_target"},
		{"A09 a query", "resource", d.MCPURL + "?x", "invalid_target"},
		{"A09 a sibling", "resource", strings.TrimSuffix(d.MCPURL, "mcp") + "other", "invalid_target"},
		{"A09 a longer path", "resource", d.MCPURL + "-v2", "invalid_target"},
		{"A09 dot segments", "resource", d.MCPURL + "/../mcp", "invalid_target"},
		{"A10 characters", "scope", `mcp "admin"`, "invalid_scope"},
		{"A10 a line break", "scope", "mcp\r\nadmin", "invalid_scope"},
		{"A10 too long", "scope", strings.Repeat("mcp ", 1500), "invalid_scope"},
		{"A11 request", "request", "eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0.", "request_not_supported"},
		{"A11 request_uri", "request_uri", listening + "/request.jwt", "request_uri_not_supported"},
		{"A12 prompt=none", "prompt", "none", "consent_required"},
		{"A12 prompt=none among others", "prompt", "login none", "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			get(t, native.authorize(test.parameter, test.value)).toClient(t, native, test.code)
			get(t, site.authorize(test.parameter, test.value)).localPage(t, http.StatusBadRequest, test.code)
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("A11: the server connected %d times to the address in request_uri", n)
	}
}

// listen counts who connects to an address that an attacker gives us.
func listen(t testing.TB) (address string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	connections = &atomic.Int64{}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			connections.Add(1)
			connection.Close()
		}
	}()
	return "https://" + listener.Addr().String(), connections
}

func TestA10_ScopeEscalation(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	a := c.redeem(t, c.code(t, deployment.Guest, "scope", "mcp admin generateImage openid"))
	if a.text("scope") != "mcp" {
		t.Errorf("granted %q", a.text("scope"))
	}
	c.refresh(t, a.issued(t).refresh, "scope", "mcp admin").refused(t, http.StatusBadRequest, "invalid_scope")
	c.refresh(t, a.issued(t).refresh, "scope", "mcp offline_access").refused(t, http.StatusBadRequest, "invalid_scope")
	if !works(t, d, c.refresh(t, a.issued(t).refresh).issued(t).access) {
		t.Error("the refused requests have cost the grant")
	}
}

// TestA12_NothingSkipsConsent asks in every way for silence.
func TestA12_NothingSkipsConsent(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	for range 2 { // also when this person has approved just now
		for _, change := range [][]string{{"max_age", "0"}, {"prompt", "login"}, {"prompt", "select_account"}, {"id_token_hint", "x"}, {"login_hint", deployment.Guest}, {"approval", "true"}, {"decision", "approve"}} {
			consent(t, b, c.authorize(change...))
		}
		c.response(t, b, provider(t, d, b, approve(t, b, consent(t, b, c.authorize())), deployment.Guest))
	}
}

// TestA13_IssuerOnceOnEveryAnswer is the defence against mix-up (RFC 9207).
func TestA13_IssuerOnceOnEveryAnswer(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	page := consent(t, b, c.authorize())
	responses := map[string]url.Values{
		"success":   c.response(t, b, provider(t, d, b, approve(t, b, page), deployment.Guest)),
		"cancelled": press(t, b, page, "Cancel", nil).Location().Query(),
	}
	upstream := approve(t, b, consent(t, b, c.authorize()))
	responses["refused upstream"] = c.response(t, b, d.Issuer+"/callback?error=access_denied&state="+stateOf(t, upstream))
	for name, q := range responses {
		if len(q["iss"]) != 1 || q.Get("iss") != d.Issuer || q.Get("state") != "state-of-the-client" || q.Has("code") == q.Has("error") {
			t.Errorf("%s: %v", name, q)
		}
	}
	// A redirect URI that brings an iss of its own would have the client read the wrong one.
	get(t, c.authorize("redirect_uri", loopback+"?iss=https://evil.example")).localPage(t, http.StatusBadRequest)
}

// stateOf is the state in an upstream authorization URL.
func stateOf(t testing.TB, upstream string) string {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil || u.Query().Get("state") == "" {
		t.Fatalf("no state in %s: %v", upstream, err)
	}
	return u.Query().Get("state")
}
