package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// fake is an identity provider that does what a test tells it, right or wrong.
type fake struct {
	*httptest.Server
	now *clock

	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	edwards ed25519.PrivateKey

	discoveries, keyReads, tokenCalls, userinfoCalls atomic.Int64

	mu sync.Mutex
	// document is merged into the discovery document; a nil value removes a member.
	document map[string]any
	// token answers the token endpoint. By default: a session with an ID token of claims.
	token func(w http.ResponseWriter, r *http.Request)
	// userinfo answers the UserInfo endpoint, which discovery lists when it is set.
	userinfo func(w http.ResponseWriter, r *http.Request)
	// override answers any path before all else, when it returns true.
	override func(w http.ResponseWriter, r *http.Request) bool
	// claims are those of the next ID token.
	claims map[string]any
	// forms are the token requests received.
	forms []url.Values
}

const (
	testClient   = "client-1"
	testSecret   = "secret-Kq7"
	testNonce    = "nonce-1"
	testVerifier = "verifier-0123456789-0123456789-0123456789-0123456789"
	testRedirect = "http://localhost:8788/callback"
)

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).Unix())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(c.at.Load(), 0).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d / time.Second)) }

var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newFake(t testing.TB) *fake {
	t.Helper()
	f := &fake{now: newClock(), rsa: testRSA(), document: map[string]any{}}
	var err error
	if f.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, f.edwards, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	f.claims = f.standard()
	return f
}

// standard are the claims of a token that nothing is wrong with.
func (f *fake) standard() map[string]any {
	now := f.now.Now().Unix()
	return map[string]any{
		"iss": f.URL, "sub": "person-1", "aud": testClient, "exp": now + 600, "iat": now, "nonce": testNonce,
		"email": "Employee1@MyCompany.com", "email_verified": true, "name": "Emma Ployee", "groups": []string{"staff", "designers"},
	}
}

// with are the standard claims with some changed; nil removes one.
func (f *fake) with(changes map[string]any) map[string]any {
	claims := f.standard()
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	return claims
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	override, token, userinfo, claims := f.override, f.token, f.userinfo, f.claims
	f.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		f.discoveries.Add(1)
	case "/jwks":
		f.keyReads.Add(1)
	case "/userinfo":
		f.userinfoCalls.Add(1)
	case "/token":
		f.tokenCalls.Add(1)
		_ = r.ParseForm()
		f.mu.Lock()
		f.forms = append(f.forms, r.PostForm)
		f.mu.Unlock()
	}
	if override != nil && override(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc := map[string]any{
			"issuer": f.URL, "authorization_endpoint": f.URL + "/authorize", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/jwks",
			"scopes_supported": []string{"openid", "email", "profile", "offline_access"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		}
		if userinfo != nil {
			doc["userinfo_endpoint"] = f.URL + "/userinfo"
		}
		f.mu.Lock()
		for name, value := range f.document {
			doc[name] = value
			if value == nil {
				delete(doc, name)
			}
		}
		f.mu.Unlock()
		writeJSON(w, http.StatusOK, doc)
	case "/jwks":
		writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: f.rsa.Public(), KeyID: "rsa", Use: "sig"}, {Key: f.ec.Public(), KeyID: "ec", Use: "sig"}, {Key: f.edwards.Public(), KeyID: "ed", Use: "sig"},
		}})
	case "/token":
		if token != nil {
			token(w, r)
			return
		}
		if id, secret, ok := r.BasicAuth(); r.PostForm.Get("client_secret") != testSecret && (!ok || id != testClient || secret != testSecret) {
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
			return
		}
		f.session(w, f.sign(jose.RS256, "rsa", f.rsa, claims), "refresh-2")
	case "/userinfo":
		if userinfo == nil {
			http.NotFound(w, r)
			return
		}
		userinfo(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) session(w http.ResponseWriter, idToken, refreshToken string) {
	answer := map[string]any{"access_token": "opaque-access", "token_type": "Bearer", "expires_in": 300}
	if idToken != "" {
		answer["id_token"] = idToken
	}
	if refreshToken != "" {
		answer["refresh_token"] = refreshToken
	}
	writeJSON(w, http.StatusOK, answer)
}

// sign makes a compact JWS, with whatever algorithm, key and further header members.
func (f *fake) sign(alg jose.SignatureAlgorithm, kid string, key any, claims map[string]any, header ...map[string]any) string {
	options := &jose.SignerOptions{}
	options.WithHeader("kid", kid)
	for _, members := range header {
		for name, value := range members {
			options.WithHeader(jose.HeaderKey(name), value)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return compact
}

// sends makes the token endpoint answer with these ID tokens in turn, the last one again and again.
func (f *fake) sends(tokens ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := 0
	f.token = func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		idToken := tokens[min(next, len(tokens)-1)]
		next++
		f.mu.Unlock()
		f.session(w, idToken, "refresh-2")
	}
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) config() Config {
	return Config{
		Issuer: f.URL, ClientID: testClient, Secret: StaticSecret(testSecret), RedirectURL: testRedirect,
		HTTPClient: f.Client(), Now: f.now.Now,
	}
}

func (f *fake) provider(t testing.TB, change ...func(*Config)) *Provider {
	t.Helper()
	cfg := f.config()
	for _, c := range change {
		c(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// exchange is an Exchange with the values that the standard claims answer.
func exchange(t *testing.T, p *Provider) (Session, error) {
	t.Helper()
	return p.Exchange(context.Background(), "code-1", testVerifier, testNonce)
}

func writeJSON(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

func fails(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}
