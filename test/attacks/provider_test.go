package attacks

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/test/deployment"
)

const (
	upstreamClient = "client-at-the-provider"
	upstreamSecret = "Canary-client-secret-8fQ2vLx0"
)

// hostile is an identity provider that signs what a test asks for. Whatever code it is sent, it answers with the tokens
// that were promised for that code: so a test is provider and browser in one, and tests do not disturb each other.
type hostile struct {
	*httptest.Server
	key      *rsa.PrivateKey
	keyReads atomic.Int64

	mu       sync.Mutex
	promised map[string]map[string]any // token response by code
	forms    []url.Values              // token requests received
}

func newHostile() *hostile {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	h := &hostile{key: key, promised: map[string]map[string]any{}}
	h.Server = httptest.NewServer(h)
	return h
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	write := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // the server under test may have gone
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		write(http.StatusOK, map[string]any{
			"issuer": h.URL, "authorization_endpoint": h.URL + "/authorize", "token_endpoint": h.URL + "/token", "jwks_uri": h.URL + "/keys",
			"token_endpoint_auth_methods_supported": []string{"client_secret_post"}, "scopes_supported": []string{"openid", "offline_access"},
		})
	case "/keys":
		h.keyReads.Add(1)
		write(http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: h.key.Public(), KeyID: "key-1", Use: "sig", Algorithm: "RS256"}}})
	case "/token":
		_ = r.ParseForm() // a broken form has no code
		h.mu.Lock()
		h.forms = append(h.forms, r.PostForm)
		response, ok := h.promised[r.PostForm.Get("code")]
		h.mu.Unlock()
		if !ok {
			write(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			return
		}
		write(http.StatusOK, response)
	default:
		http.NotFound(w, r)
	}
}

// promise has the provider answer code with this ID token.
func (h *hostile) promise(code, idToken, refreshToken string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.promised[code] = map[string]any{
		"access_token": "Canary-upstream-access-" + code, "token_type": "Bearer", "expires_in": 300, "id_token": idToken, "refresh_token": refreshToken,
	}
}

// request is the token request that was made with this code.
func (h *hostile) request(code string) url.Values {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, form := range h.forms {
		if form.Get("code") == code {
			return form
		}
	}
	return nil
}

// claims are those of a good ID token for this nonce, changed; nil removes.
func (h *hostile) claims(nonce string, changes map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": h.URL, "sub": "person-1", "aud": upstreamClient, "exp": now + 300, "iat": now, "nonce": nonce,
		"email": deployment.Employee, "email_verified": true, "name": "Emma",
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// sign makes an ID token. header overrides what the algorithm brings.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, header, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	options := &jose.SignerOptions{}
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signature.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

func unsigned(t testing.TB, header string, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

func (h *hostile) good(t testing.TB, claims map[string]any) string {
	return sign(t, jose.RS256, h.key, map[string]any{"kid": "key-1"}, claims)
}

// atHostile is the deployment whose people sign in at the hostile provider.
var atHostile struct {
	once     sync.Once
	provider *hostile
	shared   deployment.Shared
}

func useHostile(t testing.TB) (*deployment.Deployment, *hostile) {
	t.Helper()
	atHostile.once.Do(func() {
		atHostile.provider = newHostile() // it ends with this process
		atHostile.shared.Env = hostileEnv(atHostile.provider)
	})
	return atHostile.shared.Use(t), atHostile.provider
}

func hostileEnv(h *hostile) []string {
	return []string{
		"ACCESS_ISSUER=" + h.URL, "ACCESS_CLIENT_ID=" + upstreamClient, "ACCESS_CLIENT_SECRET=" + upstreamSecret,
		`TOOL_POLICY={"generateImage":{"groups":["designers"],"emails":["` + deployment.Employee + `"]}}`,
		"REGISTRATIONS_PER_MINUTE=1000",
	}
}
