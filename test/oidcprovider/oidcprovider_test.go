package oidcprovider

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/upstream"
	"mcp-access-oauth/test/npm"
)

const (
	redirectURI = "http://localhost:8788/callback"
	secret      = "secret-with-:/+%-inside" // as in server.mjs; its characters need encoding in HTTP Basic
	nonce       = "nonce-1"
	verifier    = "verifier-0123456789-0123456789-0123456789-0123456789"
)

// start starts the provider and returns its issuer.
func start(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := npm.Command(t, ctx, "node", "server.mjs", redirectURI)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if issuer, ok := strings.CutPrefix(lines.Text(), "issuer "); ok {
			return issuer
		}
	}
	t.Fatalf("the provider did not start: %v", lines.Err())
	return ""
}

func relyingParty(t *testing.T, issuer, clientID string, change func(*upstream.Config)) *upstream.Provider {
	t.Helper()
	cfg := upstream.Config{
		Issuer: issuer, ClientID: clientID, Secret: upstream.StaticSecret(secret), RedirectURL: redirectURI,
		Scopes: []string{"openid", "email", "profile", "groups", "offline_access"},
		Prompt: "consent", // OpenID Connect Core section 11: without it this provider ignores offline_access
	}
	if change != nil {
		change(&cfg)
	}
	p, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signIn goes through the provider as a browser does and returns the code of the callback.
func signIn(t *testing.T, p *upstream.Provider) string {
	t.Helper()
	ctx := context.Background()
	at, err := p.AuthorizationURL(ctx, "state-1", nonce, verifier)
	if err != nil {
		t.Fatal(err)
	}
	to := follow(t, at)
	if err := p.CheckIssuer(ctx, to.Get("iss")); err != nil {
		t.Errorf("iss of the callback: %v", err)
	}
	if err := p.CheckIssuer(ctx, ""); !errors.Is(err, upstream.ErrVerification) {
		t.Errorf("a callback without iss, though the provider announces it: %v", err)
	}
	return to.Get("code")
}

func TestCertifiedProvider(t *testing.T) {
	issuer := start(t)
	for _, clientID := range []string{"thin", "post"} {
		t.Run(clientID, func(t *testing.T) {
			ctx := context.Background()
			p := relyingParty(t, issuer, clientID, nil)
			session, err := p.Exchange(ctx, signIn(t, p), verifier, nonce)
			if err != nil {
				t.Fatal(err)
			}
			who := session.Identity
			if who.Issuer != issuer || who.Subject != "person-1" || who.Email != "employee1@mycompany.com" || who.EmailUnverified ||
				who.Name != "Emma Ployee" || strings.Join(who.Groups, " ") != "designers staff" {
				t.Errorf("got %+v", who)
			}
			if session.RefreshToken == "" {
				t.Fatal("no refresh token")
			}
			next, err := p.Refresh(ctx, session.RefreshToken, who)
			if err != nil {
				t.Fatal(err)
			}
			if next.RefreshToken == session.RefreshToken || next.Identity.Email != who.Email || len(next.Identity.Groups) != 2 {
				t.Errorf("refresh gave %+v", next.Identity)
			}
			revoke(t, issuer, clientID, next.RefreshToken)
			if _, err := p.Refresh(ctx, next.RefreshToken, who); !errors.Is(err, upstream.ErrRejected) {
				t.Errorf("after revocation: %v, want ErrRejected", err)
			}
		})
	}

	t.Run("a used refresh token ends the session", func(t *testing.T) {
		ctx := context.Background()
		p := relyingParty(t, issuer, "thin", nil)
		session, err := p.Exchange(ctx, signIn(t, p), verifier, nonce)
		if err != nil {
			t.Fatal(err)
		}
		next, err := p.Refresh(ctx, session.RefreshToken, session.Identity)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{session.RefreshToken, next.RefreshToken} {
			if _, err := p.Refresh(ctx, token, session.Identity); !errors.Is(err, upstream.ErrRejected) {
				t.Errorf("got %v, want ErrRejected", err)
			}
		}
	})

	t.Run("C02 codes of another sign-in, made up, or used", func(t *testing.T) {
		ctx := context.Background()
		p := relyingParty(t, issuer, "thin", nil)
		code := signIn(t, p)
		if _, err := p.Exchange(ctx, code, strings.Repeat("w", 43), nonce); !errors.Is(err, upstream.ErrRejected) {
			t.Errorf("wrong verifier: %v, want ErrRejected", err)
		}
		if _, err := p.Exchange(ctx, signIn(t, p), verifier, "nonce-of-another-browser"); !errors.Is(err, upstream.ErrVerification) {
			t.Errorf("wrong nonce: %v, want ErrVerification", err)
		}
		if _, err := p.Exchange(ctx, "made-up", verifier, nonce); !errors.Is(err, upstream.ErrRejected) {
			t.Errorf("a made-up code: %v, want ErrRejected", err)
		}
		code = signIn(t, p)
		if _, err := p.Exchange(ctx, code, verifier, nonce); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Exchange(ctx, code, verifier, nonce); !errors.Is(err, upstream.ErrRejected) {
			t.Errorf("a used code: %v, want ErrRejected", err)
		}
	})

	t.Run("a wrong secret is the operator's fault", func(t *testing.T) {
		p := relyingParty(t, issuer, "thin", func(c *upstream.Config) { c.Secret = upstream.StaticSecret("wrong") })
		if _, err := p.Exchange(context.Background(), signIn(t, p), verifier, nonce); !errors.Is(err, upstream.ErrMisconfigured) {
			t.Errorf("got %v, want ErrMisconfigured", err)
		}
	})

	t.Run("the three URLs and the issuer", func(t *testing.T) {
		p := relyingParty(t, issuer, "thin", func(c *upstream.Config) {
			c.AuthorizationURL, c.TokenURL, c.JWKSURL = issuer+"/auth", issuer+"/token", issuer+"/jwks"
		})
		at, err := p.AuthorizationURL(context.Background(), "s", nonce, verifier)
		if err != nil || !strings.Contains(at, "code_challenge="+oauth.S256Challenge(verifier)) {
			t.Fatalf("got %s, %v", at, err)
		}
		// It takes the secret in the header alone, so the body, which is tried first, is refused; the code survives that.
		session, err := p.Exchange(context.Background(), signInWithoutIssuer(t, p), verifier, nonce)
		if err != nil {
			t.Fatal(err)
		}
		if session.Identity.Subject != "person-1" || session.Identity.Email != "" {
			t.Errorf("got %+v; a thin ID token without UserInfo has no e-mail", session.Identity)
		}
	})
}

// signInWithoutIssuer is signIn for a relying party that has no metadata to expect iss by.
func signInWithoutIssuer(t *testing.T, p *upstream.Provider) string {
	t.Helper()
	if err := p.CheckIssuer(context.Background(), ""); err != nil {
		t.Errorf("without metadata iss is not expected: %v", err)
	}
	at, err := p.AuthorizationURL(context.Background(), "state-1", nonce, verifier)
	if err != nil {
		t.Fatal(err)
	}
	return follow(t, at).Get("code")
}

// follow opens the URL as a browser does and returns the parameters of the callback.
func follow(t *testing.T, at string) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), redirectURI) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := browser.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil || to.Query().Get("code") == "" || to.Query().Get("state") != "state-1" {
		t.Fatalf("the sign-in ended at %v with %d, %v", to, resp.StatusCode, err)
	}
	return to.Query()
}

// revoke ends a refresh token at the provider (RFC 7009), as an administrator would.
func revoke(t *testing.T, issuer, clientID, token string) {
	t.Helper()
	form := url.Values{"token": {token}}
	if clientID == "post" {
		form.Set("client_id", clientID)
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequest(http.MethodPost, issuer+"/token/revocation", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if clientID != "post" {
		req.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(secret))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("revocation answered %d", resp.StatusCode)
	}
}
