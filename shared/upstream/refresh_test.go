package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/policy"
)

func TestRefresh(t *testing.T) {
	was := policy.Identity{Subject: "person-1", Email: "old@x.com", Groups: []string{"old"}}
	for _, test := range []struct {
		name     string
		claims   map[string]any // of the ID token; nil for none
		userinfo func(http.ResponseWriter, *http.Request)
		next     string // the refresh token that comes
		want     policy.Identity
		wantNext string
		err      error
	}{
		{"claims are taken anew", map[string]any{"email": "new@x.com", "groups": []string{"new"}, "name": nil}, nil, "refresh-2",
			policy.Identity{Email: "new@x.com", Groups: []string{"new"}}, "refresh-2", nil},
		{"a group that is lost is lost", map[string]any{"groups": nil, "name": nil}, nil, "refresh-2", policy.Identity{Email: "employee1@mycompany.com"}, "refresh-2", nil},
		{"no rotation keeps the old token", map[string]any{"name": nil, "groups": nil}, nil, "", policy.Identity{Email: "employee1@mycompany.com"}, "refresh-1", nil},
		{"no nonce is asked for", map[string]any{"nonce": nil, "name": nil, "groups": nil}, nil, "", policy.Identity{Email: "employee1@mycompany.com"}, "refresh-1", nil},
		{"no ID token: UserInfo", nil, fails(200, `{"sub":"person-1","email":"info@x.com"}`), "refresh-2", policy.Identity{Email: "info@x.com"}, "refresh-2", nil},
		{"no ID token, no UserInfo: as it was", nil, nil, "refresh-2", was, "refresh-2", nil},
		{"no ID token, UserInfo refuses: as it was", nil, fails(401, ``), "refresh-2", was, "refresh-2", nil},
		{"another subject", map[string]any{"sub": "person-2"}, nil, "refresh-2", policy.Identity{}, "", ErrRejected},
		{"another issuer", map[string]any{"iss": "https://evil.example"}, nil, "refresh-2", policy.Identity{}, "", ErrRejected},
		{"UserInfo of another subject", nil, fails(200, `{"sub":"person-2"}`), "refresh-2", policy.Identity{}, "", ErrRejected},
		{"UserInfo without subject", nil, fails(200, `{}`), "refresh-2", policy.Identity{}, "refresh-2", ErrNoSubject},
		{"wrong audience", map[string]any{"aud": "other"}, nil, "refresh-2", policy.Identity{}, "refresh-2", ErrVerification},
		{"UserInfo down after the rotation", nil, fails(503, ``), "refresh-2", policy.Identity{}, "refresh-2", ErrUnavailable},
		{"UserInfo down without a rotation", nil, fails(503, ``), "", policy.Identity{}, "", ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.userinfo = test.userinfo
			f.token = func(w http.ResponseWriter, r *http.Request) {
				if r.PostForm.Get("grant_type") != "refresh_token" || r.PostForm.Get("refresh_token") != "refresh-1" {
					t.Errorf("got %v", r.PostForm)
				}
				raw := ""
				if test.claims != nil {
					raw = f.sign(jose.RS256, "rsa", f.rsa, f.with(test.claims))
				}
				f.session(w, raw, test.next)
			}
			previous := was
			previous.Issuer = f.URL
			session, err := f.provider(t).Refresh(context.Background(), "refresh-1", previous)
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if test.err != ErrRejected && errors.Is(err, ErrRejected) {
				t.Errorf("a grant would end for %v", err)
			}
			if err == nil {
				test.want.Issuer, test.want.Subject = f.URL, "person-1"
			}
			if fmt.Sprint(session.Identity) != fmt.Sprint(test.want) || session.RefreshToken != test.wantNext {
				t.Errorf("got  %+v\nwant %+v and %s", session, test.want, test.wantNext)
			}
		})
	}
}

// The answers of the token endpoint, sorted the way a grant needs it: only a refusal of the session ends it.
func TestE05_TokenEndpointErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   error
	}{
		{"invalid_grant", 400, `{"error":"invalid_grant","error_description":"token refresh-1 was revoked"}`, ErrRejected},
		{"invalid_grant with 401", 401, `{"error":"invalid_grant"}`, ErrRejected},
		{"invalid_grant with 200", 200, `{"error":"invalid_grant"}`, ErrRejected},
		{"Entra wants the person", 400, `{"error":"interaction_required","error_description":"AADSTS50076"}`, ErrRejected},
		{"access_denied", 403, `{"error":"access_denied"}`, ErrRejected},
		{"invalid_client", 401, `{"error":"invalid_client"}`, ErrMisconfigured},
		{"unauthorized_client", 400, `{"error":"unauthorized_client"}`, ErrMisconfigured},
		{"invalid_request", 400, `{"error":"invalid_request"}`, ErrMisconfigured},
		{"500", 500, ``, ErrUnavailable},
		{"500 that says invalid_grant", 500, `{"error":"invalid_grant"}`, ErrUnavailable},
		{"503", 503, `{"error":"temporarily_unavailable"}`, ErrUnavailable},
		{"429", 429, `{"error":"invalid_grant"}`, ErrUnavailable},
		{"server_error", 400, `{"error":"server_error"}`, ErrUnavailable},
		{"unheard-of code", 400, `{"error":"quota_of_the_moon"}`, ErrUnavailable},
		{"a firewall's page", 403, `<html>blocked refresh-1</html>`, ErrUnavailable},
		{"200 with a page", 200, `<html>`, ErrUnavailable},
		{"200 without access token", 200, `{"id_token":"x"}`, ErrUnavailable},
		{"200 and huge", 200, `{"access_token":"` + strings.Repeat("x", 2*maxAnswer) + `"}`, ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.token = fails(test.status, test.body)
			p := f.provider(t)
			_, err := p.Refresh(context.Background(), "refresh-1", policy.Identity{Issuer: f.URL, Subject: "person-1"})
			if !errors.Is(err, test.want) {
				t.Fatalf("refresh: got %v, want %v", err, test.want)
			}
			if test.want != ErrRejected && !errors.Is(err, ErrUnavailable) {
				t.Errorf("a grant would end for %v", err)
			}
			for _, secret := range []string{"refresh-1", testSecret, "<html>"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds %q: %v", secret, err)
				}
			}
			if _, err := exchange(t, p); !errors.Is(err, test.want) {
				t.Errorf("exchange: got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("connection refused", func(t *testing.T) {
		f := newFake(t)
		p := f.provider(t)
		if _, err := p.Issuer(context.Background()); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if _, err := p.Refresh(context.Background(), "refresh-1", policy.Identity{Issuer: f.URL, Subject: "person-1"}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
}

// C05: after the settings have changed to another provider, that provider never sees the old one's refresh token.
func TestC05_AnotherProvidersSession(t *testing.T) {
	f := newFake(t)
	_, err := f.provider(t).Refresh(context.Background(), "refresh-1", policy.Identity{Issuer: "https://old.example", Subject: "person-1"})
	if !errors.Is(err, ErrRejected) {
		t.Errorf("got %v, want ErrRejected", err)
	}
	if f.tokenCalls.Load() != 0 {
		t.Error("the refresh token was sent to another provider")
	}
}

// A redirect must not carry the client's secret elsewhere.
func TestTokenEndpointRedirect(t *testing.T) {
	f := newFake(t)
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	f.token = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	if _, err := exchange(t, f.provider(t)); !errors.Is(err, ErrUnavailable) || asked {
		t.Errorf("got %v; the other host was asked: %t", err, asked)
	}
}
