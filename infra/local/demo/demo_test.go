package demo_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/infra/local/demo"
	"mcp-access-oauth/shared/upstream"
)

const (
	clientID = "mcp-access-oauth"
	secret   = "demo-secret+/="
	callback = "http://localhost:8788/callback"
	nonce    = "nonce-1"
	verifier = "verifier-0123456789-0123456789-0123456789-0123456789"
)

// start serves the provider, at addr when that is not "".
func start(t *testing.T, dir, addr string, now func() time.Time) *httptest.Server {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := demo.New(demo.Config{
		Issuer: "http://" + listener.Addr().String(), DataDir: dir, ClientID: clientID, ClientSecret: secret, RedirectURIs: []string{callback}, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func relyingParty(t *testing.T, issuer string) *upstream.Provider {
	t.Helper()
	p, err := upstream.New(upstream.Config{Issuer: issuer, ClientID: clientID, Secret: upstream.StaticSecret(secret), RedirectURL: callback})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// browser follows redirects within the provider and stops at the callback.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

var idField = regexp.MustCompile(`name="id" value="([^"]+)"`)

// press opens the sign-in page and presses the button; it returns the parameters of the callback.
func press(t *testing.T, p *upstream.Provider, issuer, name, value string) url.Values {
	t.Helper()
	at, err := p.AuthorizationURL(context.Background(), "state-1", nonce, verifier)
	if err != nil {
		t.Fatal(err)
	}
	b := browser(t)
	resp, err := b.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	page := body(t, resp)
	id := idField.FindStringSubmatch(page)
	if resp.StatusCode != http.StatusOK || id == nil {
		t.Fatalf("sign-in page: %d %s", resp.StatusCode, page)
	}
	resp, err = b.PostForm(issuer+"/login", url.Values{"id": {id[1]}, name: {value}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("after the button: %d, %v", resp.StatusCode, err)
	}
	if to.Query().Get("state") != "state-1" {
		t.Errorf("state is %q", to.Query().Get("state"))
	}
	return to.Query()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestSignInAndRefreshAcrossRestart(t *testing.T) {
	for _, test := range []struct{ email, subject, groups string }{
		{"employee1@mycompany.com", "demo-employee1", "designers,employees"},
		{"teammate1@mycompany.com", "demo-teammate1", "employees"},
		{"guest@mycompany.com", "demo-guest", "guests"},
	} {
		t.Run(test.email, func(t *testing.T) {
			ctx, dir := context.Background(), t.TempDir()
			server := start(t, dir, "", nil)
			p := relyingParty(t, server.URL)
			code := press(t, p, server.URL, "email", test.email).Get("code")
			session, err := p.Exchange(ctx, code, verifier, nonce)
			if err != nil {
				t.Fatal(err)
			}
			who := session.Identity
			if who.Issuer != server.URL || who.Subject != test.subject || who.Email != test.email || who.EmailUnverified || who.Name == "" || strings.Join(who.Groups, ",") != test.groups {
				t.Errorf("got %+v", who)
			}
			if session.RefreshToken == "" {
				t.Fatal("no refresh token")
			}
			if _, err := p.Exchange(ctx, code, verifier, nonce); !errors.Is(err, upstream.ErrRejected) {
				t.Errorf("the code again: %v, want ErrRejected", err)
			}
			second, err := p.Refresh(ctx, session.RefreshToken, who)
			if err != nil {
				t.Fatal(err)
			}
			if second.RefreshToken == session.RefreshToken || second.Identity.Subject != test.subject || second.Identity.Email != test.email {
				t.Errorf("refresh gave %+v", second.Identity)
			}
			if _, err := p.Refresh(ctx, session.RefreshToken, who); !errors.Is(err, upstream.ErrRejected) {
				t.Errorf("a used refresh token: %v, want ErrRejected", err)
			}

			addr := server.Listener.Addr().String()
			server.Close()
			if _, err := p.Refresh(ctx, second.RefreshToken, who); !errors.Is(err, upstream.ErrUnavailable) {
				t.Errorf("while it is down: %v, want ErrUnavailable", err)
			}
			start(t, dir, addr, nil)
			// The same relying party goes on with its cached keys, and a new one reads the same keys.
			third, err := p.Refresh(ctx, second.RefreshToken, who)
			if err != nil {
				t.Fatalf("after a restart: %v", err)
			}
			if _, err := relyingParty(t, "http://"+addr).Refresh(ctx, third.RefreshToken, who); err != nil {
				t.Errorf("after a restart of both: %v", err)
			}
		})
	}
}

func TestRefreshTokenExpires(t *testing.T) {
	var passed atomic.Int64
	server := start(t, t.TempDir(), "", func() time.Time { return time.Now().Add(time.Duration(passed.Load())) })
	p := relyingParty(t, server.URL)
	session, err := p.Exchange(context.Background(), press(t, p, server.URL, "email", "guest@mycompany.com").Get("code"), verifier, nonce)
	if err != nil {
		t.Fatal(err)
	}
	passed.Store(int64(31 * 24 * time.Hour))
	if _, err := p.Refresh(context.Background(), session.RefreshToken, session.Identity); !errors.Is(err, upstream.ErrRejected) {
		t.Errorf("got %v, want ErrRejected", err)
	}
}

func TestCancel(t *testing.T) {
	server := start(t, t.TempDir(), "", nil)
	p := relyingParty(t, server.URL)
	answer := press(t, p, server.URL, "cancel", "yes")
	if answer.Get("error") != "access_denied" || answer.Has("code") {
		t.Errorf("got %v", answer)
	}
	if err := upstream.AuthorizationError(answer.Get("error"), answer.Get("error_description")); !errors.Is(err, upstream.ErrRejected) {
		t.Errorf("got %v", err)
	}
}

func TestRevocationAndUserInfo(t *testing.T) {
	server := start(t, t.TempDir(), "", nil)
	p := relyingParty(t, server.URL)
	code := press(t, p, server.URL, "email", "guest@mycompany.com").Get("code")
	resp := tokenRequest(t, server.URL+"/oauth/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}})
	access := regexp.MustCompile(`"access_token":"([^"]+)"`).FindStringSubmatch(resp)
	refresh := regexp.MustCompile(`"refresh_token":"([^"]+)"`).FindStringSubmatch(resp)
	if access == nil || refresh == nil {
		t.Fatalf("token endpoint: %s", resp)
	}
	userinfo := func(token string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, server.URL+"/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body(t, resp)
	}
	if status, info := userinfo(access[1]); status != http.StatusOK || !strings.Contains(info, `"email":"guest@mycompany.com"`) || !strings.Contains(info, `"sub":"demo-guest"`) {
		t.Errorf("UserInfo: %d %s", status, info)
	}
	if status, _ := userinfo(refresh[1]); status == http.StatusOK {
		t.Error("UserInfo took a refresh token")
	}
	tokenRequest(t, server.URL+"/revoke", url.Values{"token": {access[1]}, "token_type_hint": {"access_token"}})
	if status, _ := userinfo(access[1]); status == http.StatusOK {
		t.Error("UserInfo took a revoked token")
	}
	tokenRequest(t, server.URL+"/revoke", url.Values{"token": {refresh[1]}})
	if again := tokenRequest(t, server.URL+"/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh[1]}}); !strings.Contains(again, "invalid_grant") {
		t.Errorf("a revoked refresh token: %s", again)
	}
}

func tokenRequest(t *testing.T, to string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(secret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return body(t, resp)
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	server := start(t, t.TempDir(), "", nil)
	p := relyingParty(t, server.URL)
	at, err := p.AuthorizationURL(context.Background(), "state-1", nonce, verifier)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, parameter, value string
		want                   string // the error at the callback, or "" for a page of its own
	}{
		{"another redirect URI", "redirect_uri", "http://localhost:9999/callback", ""},
		{"unknown client", "client_id", "somebody", ""},
		{"no PKCE", "code_challenge", "", "invalid_request"},
		{"plain PKCE", "code_challenge_method", "plain", "invalid_request"},
		{"prompt none", "prompt", "none", "login_required"},
		{"implicit flow", "response_type", "id_token", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, _ := url.Parse(at)
			q := u.Query()
			q.Set(test.parameter, test.value)
			u.RawQuery = q.Encode()
			resp, err := browser(t).Get(u.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			to, err := resp.Location()
			if test.want == "" {
				if resp.StatusCode != http.StatusBadRequest || err == nil {
					t.Errorf("got %d to %v, want 400 and no redirect", resp.StatusCode, to)
				}
				return
			}
			if err != nil {
				t.Fatalf("got %d without a redirect", resp.StatusCode)
			}
			fragment, _ := url.ParseQuery(to.Fragment)
			if got := to.Query().Get("error") + fragment.Get("error"); got != test.want {
				t.Errorf("got error %q, want %q", got, test.want)
			}
		})
	}
}

func TestSignInPage(t *testing.T) {
	server := start(t, t.TempDir(), "", nil)
	at, err := relyingParty(t, server.URL).AuthorizationURL(context.Background(), "state-1", nonce, verifier)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := browser(t).Get(at)
	if err != nil {
		t.Fatal(err)
	}
	page := body(t, resp)
	for _, email := range []string{"employee1@mycompany.com", "teammate1@mycompany.com", "guest@mycompany.com"} {
		if !strings.Contains(page, `type="submit" name="email" value="`+email+`"`) {
			t.Errorf("no submit button for %s", email)
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "style=") {
		t.Error("the page has a script, an inline style or an external resource")
	}
	policy := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("CSP lacks %s", want)
		}
	}
	if strings.Contains(policy, "form-action") {
		t.Error("form-action would break the chain of redirects in Chromium")
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if resp, err := http.Get(server.URL + "/signin.css"); err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/css") {
		t.Errorf("stylesheet: %v %v", resp, err)
	}

	id := idField.FindStringSubmatch(page)[1]
	for _, test := range []struct {
		name string
		form url.Values
		site string
		want int
	}{
		{"nobody by that name", url.Values{"id": {id}, "email": {"ceo@mycompany.com"}}, "same-origin", http.StatusBadRequest},
		{"no button", url.Values{"id": {id}}, "", http.StatusBadRequest},
		{"unknown sign-in", url.Values{"id": {"x"}, "email": {"guest@mycompany.com"}}, "", http.StatusBadRequest},
		{"from another site", url.Values{"id": {id}, "email": {"guest@mycompany.com"}}, "cross-site", http.StatusForbidden},
		{"too much", url.Values{"id": {id}, "email": {strings.Repeat("x", 100_000)}}, "", http.StatusBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPost, server.URL+"/login", strings.NewReader(test.form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if test.site != "" {
				req.Header.Set("Sec-Fetch-Site", test.site)
			}
			resp, err := browser(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if page := body(t, resp); resp.StatusCode != test.want || !strings.Contains(page, "That did not work") {
				t.Errorf("got %d %s", resp.StatusCode, page)
			}
		})
	}
}

func TestRefusesToStart(t *testing.T) {
	good := demo.Config{Issuer: "http://127.0.0.1:8790", DataDir: t.TempDir(), ClientID: clientID, ClientSecret: secret, RedirectURIs: []string{callback}}
	for _, issuer := range []string{
		"", "http://mycompany.com", "http://192.168.1.5:8790", "http://0.0.0.0:8790", "https://login.example", "http://127.0.0.1.evil.example:8790",
		"http://127.0.0.1:8790/path", "http://127.0.0.1:8790/", "http://localhost@evil.example", "127.0.0.1:8790",
	} {
		cfg := good
		cfg.Issuer = issuer
		if _, err := demo.New(cfg); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("issuer %q: got %v, want a refusal", issuer, err)
		}
	}
	for _, issuer := range []string{"http://127.0.0.1:8790", "http://localhost:8790", "http://[::1]:8790"} {
		cfg := good
		cfg.Issuer = issuer
		if _, err := demo.New(cfg); err != nil {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

func TestKeysAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := demo.Config{Issuer: "http://127.0.0.1:8790", DataDir: dir, ClientID: clientID, ClientSecret: secret, RedirectURIs: []string{callback}}
	if _, err := demo.New(cfg); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("the folder has %v, %v", files, err)
	}
	path := filepath.Join(dir, files[0].Name())
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.New(cfg); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v, want an error that names it", err)
	}
}

func TestAnotherHostIsRefused(t *testing.T) {
	server := start(t, t.TempDir(), "", nil)
	req, err := http.NewRequest(http.MethodGet, server.URL+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("got %d, want 421", resp.StatusCode)
	}
}
