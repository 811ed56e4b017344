package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
)

func TestIssuerRule(t *testing.T) {
	const access = "https://team.cloudflareaccess.com/cdn-cgi/access/sso/oidc/abc123"
	for _, test := range []struct {
		name                       string
		issuer, authz, token, jwks string
		want                       string
		discover                   bool
		problem                    string
	}{
		{name: "issuer alone", issuer: "https://idp.example", want: "https://idp.example", discover: true},
		{name: "issuer and three URLs", issuer: "https://idp.example", authz: "https://a.example/a", token: "https://a.example/t", jwks: "https://a.example/k", want: "https://idp.example"},
		{name: "issuer and one URL", issuer: "https://idp.example", token: "https://internal.example/t", want: "https://idp.example", discover: true},
		{name: "Cloudflare Access", authz: access + "/authorization", token: access + "/token", jwks: access + "/jwks", want: access},
		{name: "Cloudflare Access at a domain of its own", authz: "https://login.example/cdn-cgi/access/sso/oidc/x/authorization", token: "https://login.example/cdn-cgi/access/sso/oidc/x/token", jwks: "https://login.example/cdn-cgi/access/sso/oidc/x/jwks", want: "https://login.example/cdn-cgi/access/sso/oidc/x"},
		{name: "two applications of Cloudflare Access", authz: access + "/authorization", token: access + "/token", jwks: strings.Replace(access, "abc123", "abc1234", 1) + "/jwks", problem: "ACCESS_ISSUER"},
		{name: "no application id", authz: access, token: "https://team.cloudflareaccess.com/cdn-cgi/access/sso/oidc//token", jwks: access, problem: "ACCESS_ISSUER"},
		{name: "Cloudflare's other JWTs", authz: access, token: "https://team.cloudflareaccess.com/cdn-cgi/access/token", jwks: access, problem: "ACCESS_ISSUER"},
		{name: "token URL with a query", authz: access + "/authorization", token: access + "/token?x=1", jwks: access + "/jwks", problem: "ACCESS_ISSUER"},
		{name: "three URLs of somebody else", authz: "https://idp.example/authorize", token: "https://idp.example/token", jwks: "https://idp.example/jwks", problem: "ACCESS_ISSUER"},
		{name: "two URLs", authz: access + "/authorization", token: access + "/token", problem: "ACCESS_ISSUER"},
		{name: "nothing", problem: "ACCESS_ISSUER"},
		{name: "http issuer", issuer: "http://idp.example", problem: "ACCESS_ISSUER"},
		{name: "http token URL", issuer: "https://idp.example", token: "http://idp.example/t", problem: "ACCESS_TOKEN_URL"},
		{name: "loopback", issuer: "http://127.0.0.1:8790", want: "http://127.0.0.1:8790", discover: true},
		{name: "not quite loopback", issuer: "http://127.0.0.1.evil.example", problem: "ACCESS_ISSUER"},
		{name: "user in the URL", issuer: "https://me@idp.example", problem: "ACCESS_ISSUER"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := New(Config{
				Issuer: test.issuer, AuthorizationURL: test.authz, TokenURL: test.token, JWKSURL: test.jwks,
				ClientID: testClient, RedirectURL: testRedirect,
			})
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("got error %v, want one that names %s", err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.issuer != test.want || p.discover != test.discover {
				t.Errorf("issuer %q, discovery %t; want %q, %t", p.issuer, p.discover, test.want, test.discover)
			}
		})
	}
}

func TestAuthorizationURL(t *testing.T) {
	f := newFake(t)
	at, err := f.provider(t).AuthorizationURL(context.Background(), "state-1", testNonce, testVerifier)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Scheme + "://" + u.Host + u.Path; got != f.URL+"/authorize" {
		t.Errorf("goes to %s", got)
	}
	want := url.Values{
		"response_type": {"code"}, "client_id": {testClient}, "redirect_uri": {testRedirect}, "state": {"state-1"}, "nonce": {testNonce},
		"scope": {"openid email profile offline_access"}, "code_challenge_method": {"S256"}, "code_challenge": {oauth.S256Challenge(testVerifier)},
	}
	if got := u.Query().Encode(); got != want.Encode() {
		t.Errorf("got  %s\nwant %s", got, want.Encode())
	}
	if strings.Contains(at, testVerifier) || strings.Contains(at, testSecret) {
		t.Error("a secret is in the URL")
	}
}

func TestScopes(t *testing.T) {
	for _, test := range []struct {
		name      string
		set       []string
		supported any
		want      string
	}{
		{"offline_access where it is listed", nil, []string{"openid", "offline_access"}, "openid email profile offline_access"},
		{"not where it is not listed", nil, []string{"openid", "email"}, "openid email profile"},
		{"not without a list", nil, nil, "openid email profile"},
		{"as set", []string{"openid", "email", "groups"}, []string{"offline_access"}, "openid email groups"},
		{"openid is never left out", []string{"email"}, nil, "openid email"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.document["scopes_supported"] = test.supported
			at, err := f.provider(t, func(c *Config) { c.Scopes = test.set }).AuthorizationURL(context.Background(), "s", "n", testVerifier)
			if err != nil {
				t.Fatal(err)
			}
			u, _ := url.Parse(at)
			if got := u.Query().Get("scope"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestGoogleWantsOtherParameters(t *testing.T) {
	p, err := New(Config{
		Issuer: "https://accounts.google.com", AuthorizationURL: "https://accounts.google.com/o/oauth2/v2/auth", TokenURL: "https://oauth2.googleapis.com/token",
		JWKSURL: "https://www.googleapis.com/oauth2/v3/certs", ClientID: testClient, RedirectURL: testRedirect,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		prompt []string
		want   string
	}{{nil, "consent"}, {[]string{"login"}, "login"}} {
		at, err := p.AuthorizationURL(context.Background(), "s", "n", testVerifier, test.prompt...)
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(at)
		if q := u.Query(); q.Get("access_type") != "offline" || q.Get("prompt") != test.want {
			t.Errorf("got %s", u.RawQuery)
		}
	}
}

func TestDiscovery_Problems(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(f *fake)
		want   error
	}{
		{"500", answers("/.well-known/openid-configuration", fails(500, "")), ErrUnavailable},
		{"429", answers("/.well-known/openid-configuration", fails(429, "")), ErrUnavailable},
		{"404: no such provider", answers("/.well-known/openid-configuration", fails(404, "")), ErrMisconfigured},
		{"redirect", answers("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}), ErrMisconfigured},
		{"HTML", answers("/.well-known/openid-configuration", fails(200, "<html>")), ErrUnavailable},
		{"huge", answers("/.well-known/openid-configuration", fails(200, `{"issuer":"`+strings.Repeat("x", maxAnswer)+`"}`)), ErrUnavailable},
		{"another issuer", func(f *fake) { f.document["issuer"] = "https://evil.example" }, ErrMisconfigured},
		{"Entra's template", func(f *fake) { f.document["issuer"] = "https://login.microsoftonline.com/{tenantid}/v2.0" }, ErrMisconfigured},
		{"no issuer", func(f *fake) { f.document["issuer"] = nil }, ErrMisconfigured},
		{"http token endpoint", func(f *fake) { f.document["token_endpoint"] = "http://idp.example/token" }, ErrMisconfigured},
		{"no key set", func(f *fake) { f.document["jwks_uri"] = nil }, ErrMisconfigured},
		{"javascript: authorization endpoint", func(f *fake) { f.document["authorization_endpoint"] = "javascript:alert(1)" }, ErrMisconfigured},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(func() { test.change(f) })
			p := f.provider(t)
			_, err := p.AuthorizationURL(context.Background(), "s", "n", testVerifier)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if !errors.Is(err, ErrUnavailable) {
				t.Error("a grant would end for it")
			}
			if strings.ContainsAny(Message(err), "<>") || strings.Contains(Message(err), "evil") {
				t.Errorf("the message quotes the provider: %q", Message(err))
			}
			// A failure is not remembered.
			f.set(func() { f.document, f.override = map[string]any{}, nil })
			if _, err := p.AuthorizationURL(context.Background(), "s", "n", testVerifier); err != nil {
				t.Errorf("after the provider has recovered: %v", err)
			}
		})
	}
}

func answers(path string, with func(http.ResponseWriter, *http.Request)) func(*fake) {
	return func(f *fake) {
		f.override = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				with(w, r)
			}
			return r.URL.Path == path
		}
	}
}

func TestDiscovery_OnceForAll(t *testing.T) {
	f := newFake(t)
	p := f.provider(t)
	if f.discoveries.Load() != 0 {
		t.Error("New asked the network")
	}
	release := make(chan struct{})
	f.set(func() {
		f.override = func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/.well-known/") {
				<-release
			}
			return false
		}
	})
	// The first caller goes away; the attempt goes on for the others.
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := p.Issuer(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the caller that went away: %v", err)
		}
	})
	for f.discoveries.Load() == 0 {
		time.Sleep(time.Millisecond) // until the attempt is under way
	}
	for range 30 {
		all.Go(func() {
			if _, err := p.AuthorizationURL(context.Background(), "s", "n", testVerifier); err != nil {
				t.Error(err)
			}
		})
	}
	cancel()
	close(release)
	all.Wait()
	if n := f.discoveries.Load(); n != 1 {
		t.Errorf("discovery was done %d times, want once", n)
	}
	// An hour later it is done again, and when that fails the old metadata serve.
	f.set(func() { answers("/.well-known/openid-configuration", fails(503, ""))(f) })
	f.now.advance(metadataAge)
	for range 3 {
		if _, err := p.Issuer(context.Background()); err != nil {
			t.Errorf("with old metadata: %v", err)
		}
	}
	if n := f.discoveries.Load(); n != 2 {
		t.Errorf("discovery was tried %d times, want twice", n)
	}
}

func TestDiscovery_SlashAtTheEnd(t *testing.T) {
	f := newFake(t)
	f.document["issuer"] = f.URL + "/"
	f.claims["iss"] = f.URL + "/"
	session, err := exchange(t, f.provider(t))
	if err != nil {
		t.Fatal(err)
	}
	if session.Identity.Issuer != f.URL+"/" {
		t.Errorf("iss is %q, want the provider's own spelling", session.Identity.Issuer)
	}
}

func TestStaticURLs(t *testing.T) {
	f := newFake(t)
	p := f.provider(t, func(c *Config) {
		c.AuthorizationURL, c.TokenURL, c.JWKSURL = f.URL+"/authorize", f.URL+"/token", f.URL+"/jwks"
	})
	if _, err := exchange(t, p); err != nil {
		t.Fatal(err)
	}
	if f.discoveries.Load() != 0 {
		t.Error("discovery was done although all URLs are given")
	}
}

// A provider that hangs must not hold a caller for longer than the caller, or our own limit, allows.
func TestSlowProvider(t *testing.T) {
	f := newFake(t)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	f.set(func() {
		f.token = func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-done:
			case <-r.Context().Done():
			}
		}
	})
	p := f.provider(t, func(c *Config) { c.HTTPClient = &http.Client{Timeout: 50 * time.Millisecond} })
	if _, err := exchange(t, p); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if limit := newClient(nil).Timeout; limit != requestTimeout {
		t.Errorf("the default limit is %v", limit)
	}
	if limit := newClient(&http.Client{Timeout: time.Hour}).Timeout; limit != requestTimeout {
		t.Errorf("a longer limit than ours was kept: %v", limit)
	}
}

func TestC05_CallbackIssuer(t *testing.T) {
	for _, test := range []struct {
		name      string
		announced bool
		iss       string
		ok        bool
	}{
		{"announced and right", true, "own", true},
		{"announced and missing", true, "", false},
		{"announced and another's", true, "https://evil.example", false},
		{"not announced, missing", false, "", true},
		{"not announced, right", false, "own", true},
		{"not announced, another's", false, "https://evil.example", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.document["authorization_response_iss_parameter_supported"] = test.announced
			iss := test.iss
			if iss == "own" {
				iss = f.URL
			}
			err := f.provider(t).CheckIssuer(context.Background(), iss)
			if test.ok && err != nil || !test.ok && !errors.Is(err, ErrVerification) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestC03_AuthorizationError(t *testing.T) {
	hostile := "<script>alert(1)</script>\r\nSet-Cookie: x=y\u202e" + strings.Repeat("A", 5000)
	for _, test := range []struct {
		code string
		want error
	}{
		{"access_denied", ErrRejected}, {"login_required", ErrRejected}, {"interaction_required", ErrRejected},
		{"server_error", ErrUnavailable}, {"temporarily_unavailable", ErrUnavailable},
		{"invalid_scope", ErrMisconfigured}, {"unauthorized_client", ErrMisconfigured}, {"invalid_request", ErrMisconfigured},
		{hostile, ErrUnavailable}, {"", ErrUnavailable},
	} {
		err := AuthorizationError(test.code, hostile)
		if !errors.Is(err, test.want) {
			t.Errorf("%.30q: got %v, want %v", test.code, err, test.want)
		}
		if strings.ContainsAny(Message(err), "<>\r\n") || Message(err) == "" {
			t.Errorf("%.30q: the message is %q", test.code, Message(err))
		}
		if text := err.Error(); len(text) > 1000 || strings.ContainsAny(text, "\r\n\u202e") {
			t.Errorf("%.30q: the log would hold %d bytes %.80q", test.code, len(text), text)
		}
	}
	if Message(errors.New("internal detail")) != messages[ErrUnavailable] {
		t.Error("a stranger's error is told")
	}
}

func TestSecret_ReadAgainWhenRefused(t *testing.T) {
	f := newFake(t)
	var current atomic.Value
	current.Store(testSecret)
	var reads atomic.Int64
	p := f.provider(t, func(c *Config) {
		c.Secret = func(context.Context) (string, error) { reads.Add(1); return current.Load().(string), nil }
	})
	if reads.Load() != 0 {
		t.Error("New read the secret")
	}
	for range 3 {
		if _, err := exchange(t, p); err != nil {
			t.Fatal(err)
		}
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("the secret was read %d times, want once", n)
	}
	// The provider has a new secret, which our store knows.
	accepted := "secret-new"
	f.set(func() {
		f.token = func(w http.ResponseWriter, r *http.Request) {
			if _, secret, ok := r.BasicAuth(); ok && secret == accepted || r.PostForm.Get("client_secret") == accepted {
				f.session(w, f.sign("RS256", "rsa", f.rsa, f.standard()), "")
				return
			}
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "wrong secret " + r.PostForm.Get("client_secret")})
		}
	})
	current.Store(accepted)
	f.now.advance(secretPause)
	if _, err := exchange(t, p); err != nil {
		t.Errorf("after the secret was rotated: %v", err)
	}
	// The store has nothing new: the reading is limited, and the error is the operator's.
	f.set(func() { accepted = "secret-that-nobody-has" })
	before := reads.Load()
	for range 5 {
		_, err := exchange(t, p)
		if !errors.Is(err, ErrMisconfigured) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrMisconfigured, which is ErrUnavailable too", err)
		}
		if strings.Contains(err.Error(), "secret-new") {
			t.Errorf("the error holds the secret: %v", err)
		}
	}
	if n := reads.Load() - before; n > 1 {
		t.Errorf("the secret was read %d times within a minute", n)
	}
}

func TestSecret_Unreadable(t *testing.T) {
	f := newFake(t)
	working := false
	p := f.provider(t, func(c *Config) {
		c.Secret = func(context.Context) (string, error) {
			if !working {
				return "", errors.New("throttled")
			}
			return testSecret, nil
		}
	})
	if _, err := exchange(t, p); !errors.Is(err, ErrUnavailable) || f.tokenCalls.Load() != 0 {
		t.Errorf("got %v after %d token requests", err, f.tokenCalls.Load())
	}
	working = true
	if _, err := exchange(t, p); err != nil {
		t.Errorf("a failure was remembered: %v", err)
	}
}

func TestClientAuthentication(t *testing.T) {
	const basic, post = "basic", "post"
	for _, test := range []struct {
		name    string
		methods any // in discovery
		static  bool
		takes   string
		tries   []string // of the first sign-in
		again   []string // of the second
	}{
		{"basic listed", []string{"client_secret_basic"}, false, basic, []string{basic}, []string{basic}},
		{"post listed", []string{"client_secret_post"}, false, post, []string{post}, []string{post}},
		{"both listed", []string{"client_secret_post", "client_secret_basic"}, false, basic, []string{basic}, []string{basic}},
		{"no list, takes post", nil, false, post, []string{basic, post}, []string{post}},
		{"three URLs, takes post as Cloudflare Access does", nil, true, post, []string{post}, []string{post}},
		{"three URLs, takes basic", nil, true, basic, []string{post, basic}, []string{basic}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.document["token_endpoint_auth_methods_supported"] = test.methods
			var tried []string
			f.token = func(w http.ResponseWriter, r *http.Request) {
				method := post
				if _, _, ok := r.BasicAuth(); ok {
					method = basic
				}
				if r.PostForm.Has("client_secret") == (method == basic) {
					t.Error("the secret was sent twice, or not at all")
				}
				tried = append(tried, method)
				if method != test.takes {
					writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
					return
				}
				f.session(w, f.sign("RS256", "rsa", f.rsa, f.standard()), "")
			}
			p := f.provider(t, func(c *Config) {
				if test.static {
					c.AuthorizationURL, c.TokenURL, c.JWKSURL = f.URL+"/authorize", f.URL+"/token", f.URL+"/jwks"
				}
			})
			for _, want := range [][]string{test.tries, test.again} {
				tried = nil
				if _, err := exchange(t, p); err != nil {
					t.Fatal(err)
				}
				if strings.Join(tried, " ") != strings.Join(want, " ") {
					t.Errorf("tried %v, want %v", tried, want)
				}
			}
		})
	}
	t.Run("public client", func(t *testing.T) {
		f := newFake(t)
		f.token = func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); ok || r.PostForm.Get("client_id") != testClient || r.PostForm.Has("client_secret") || r.PostForm.Get("code_verifier") != testVerifier {
				t.Errorf("got %v", r.PostForm)
			}
			f.session(w, f.sign("RS256", "rsa", f.rsa, f.standard()), "")
		}
		if _, err := exchange(t, f.provider(t, func(c *Config) { c.Secret = nil })); err != nil {
			t.Fatal(err)
		}
	})
}
