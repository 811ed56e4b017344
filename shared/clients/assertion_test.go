package clients

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

var testKeys = sync.OnceValue(func() map[jose.SignatureAlgorithm]crypto.Signer {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[jose.SignatureAlgorithm]crypto.Signer{jose.RS256: rsaKey, jose.ES256: ecKey, jose.EdDSA: edKey}
})

// jwks is a key set of public keys with their ids.
func jwks(t testing.TB, keys ...jose.JSONWebKey) string {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func public(id string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: id}
}

// sign makes an assertion. header and claims override the good ones; a nil value removes.
func (h *house) sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, id string, header, claims map[string]any) string {
	t.Helper()
	all := map[string]any{
		"iss": id, "sub": id, "aud": issuer, "exp": h.Now().Add(time.Minute).Unix(), "iat": h.Now().Unix(), "jti": rand.Text(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	options := &jose.SignerOptions{}
	for k, v := range header {
		options = options.WithHeader(jose.HeaderKey(k), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// present sends an assertion as a client would.
func (h *house) present(t testing.TB, c Client, assertion string) error {
	t.Helper()
	cr, err := parseCredentials(t, url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}})
	if err != nil {
		return err
	}
	return h.auth.Authenticate(t.Context(), c, cr)
}

// keyed registers a client with these keys.
func (h *house) keyed(t testing.TB, members string) Client {
	t.Helper()
	answer := h.register(t, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt",`+members+`}`)
	c, err := h.store.Lookup(t.Context(), answer.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPrivateKeyJWT(t *testing.T) {
	for algorithm, key := range testKeys() {
		t.Run(string(algorithm), func(t *testing.T) {
			h := newHouse(t)
			c := h.keyed(t, `"jwks":`+jwks(t, public("k1", key)))
			for name, test := range map[string]struct{ header, claims map[string]any }{
				"plain":                          {},
				"key id":                         {header: map[string]any{"kid": "k1"}},
				"type":                           {header: map[string]any{"typ": "JWT"}},
				"explicit type":                  {header: map[string]any{"typ": "client-authentication+jwt"}},
				"token endpoint":                 {claims: map[string]any{"aud": issuer + "/token"}},
				"audience in a list":             {claims: map[string]any{"aud": []string{issuer, issuer + "/token"}}},
				"five minutes":                   {claims: map[string]any{"exp": h.Now().Add(5 * time.Minute).Unix()}},
				"no iat":                         {claims: map[string]any{"iat": nil}},
				"nbf, and a clock that is ahead": {claims: map[string]any{"nbf": h.Now().Add(20 * time.Second).Unix(), "iat": h.Now().Add(20 * time.Second).Unix()}},
				"a clock that is behind":         {claims: map[string]any{"exp": h.Now().Add(-20 * time.Second).Unix()}},
				"fractions of seconds":           {claims: map[string]any{"exp": float64(h.Now().Unix()) + 59.5}},
			} {
				if err := h.present(t, c, h.sign(t, algorithm, key, c.ID, test.header, test.claims)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestD09_PrivateKeyJWT(t *testing.T) {
	h := newHouse(t)
	key := testKeys()[jose.ES256]
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := h.keyed(t, `"jwks":`+jwks(t, public("k1", key)))
	h.table.calls()
	good := h.sign(t, jose.ES256, key, c.ID, nil, nil)
	parts := strings.Split(good, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	claim := func(claims map[string]any) string { return h.sign(t, jose.ES256, key, c.ID, nil, claims) }
	publicJSON, _ := json.Marshal(public("", key))
	otherJWK := jose.JSONWebKey{Key: other.Public()}

	for name, assertion := range map[string]string{
		"another key":                   h.sign(t, jose.ES256, other, c.ID, nil, nil),
		"another key under this id":     h.sign(t, jose.ES256, other, c.ID, map[string]any{"kid": "k1"}, nil),
		"an unknown key id":             h.sign(t, jose.ES256, key, c.ID, map[string]any{"kid": "k2"}, nil),
		"alg none":                      unsigned,
		"HMAC with the public key":      h.sign(t, jose.HS256, publicJSON, c.ID, nil, nil),
		"RS256 of a stranger":           h.sign(t, jose.RS256, testKeys()[jose.RS256], c.ID, nil, nil),
		"the attacker's own jwk inside": h.sign(t, jose.ES256, other, c.ID, map[string]any{"jwk": otherJWK}, nil),
		"the attacker's jku":            h.sign(t, jose.ES256, other, c.ID, map[string]any{"jku": "https://example.com/keys"}, nil),
		"an access token":               h.sign(t, jose.ES256, key, c.ID, map[string]any{"typ": "at+jwt"}, nil),
		"an unknown critical header":    h.sign(t, jose.ES256, key, c.ID, map[string]any{"crit": []string{"x"}, "x": 1}, nil),
		"a flipped signature":           parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"other claims":                  parts[0] + "." + strings.Split(claim(map[string]any{"x": 1}), ".")[1] + "." + parts[2],
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"white space":                   parts[0] + "." + parts[1] + "\n." + parts[2],
		"wrong iss":                     claim(map[string]any{"iss": "someone"}),
		"no iss":                        claim(map[string]any{"iss": nil}),
		"wrong aud":                     claim(map[string]any{"aud": "https://other.example"}),
		"aud with a slash":              claim(map[string]any{"aud": issuer + "/"}),
		"aud of others too":             claim(map[string]any{"aud": []string{issuer, "https://other.example"}}),
		"no aud":                        claim(map[string]any{"aud": nil}),
		"empty aud":                     claim(map[string]any{"aud": []string{}}),
		"no exp":                        claim(map[string]any{"exp": nil}),
		"exp in 6 minutes":              claim(map[string]any{"exp": h.Now().Add(6 * time.Minute).Unix()}),
		"exp in a year":                 claim(map[string]any{"exp": h.Now().Add(365 * 24 * time.Hour).Unix()}),
		"exp beyond every calendar":     claim(map[string]any{"exp": 1e300}),
		"exp as text":                   claim(map[string]any{"exp": "tomorrow"}),
		"expired":                       claim(map[string]any{"exp": h.Now().Add(-time.Minute).Unix()}),
		"not yet valid":                 claim(map[string]any{"nbf": h.Now().Add(time.Minute).Unix()}),
		"not valid for ages":            claim(map[string]any{"nbf": 1e300}),
		"issued in the future":          claim(map[string]any{"iat": h.Now().Add(time.Minute).Unix()}),
		"issued long ago":               claim(map[string]any{"iat": h.Now().Add(-time.Hour).Unix()}),
		"no jti":                        claim(map[string]any{"jti": nil}),
		"huge jti":                      claim(map[string]any{"jti": strings.Repeat("j", 300)}),
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, h.present(t, c, assertion), oauth.InvalidClient, http.StatusUnauthorized)
		})
	}
	if reads, writes := h.table.calls(); reads != 0 || writes != 0 {
		t.Errorf("refused assertions took %d reads and %d writes", reads, writes)
	}

	t.Run("wrong sub", func(t *testing.T) {
		cr := Credentials{ClientID: c.ID, Method: oauth.AuthPrivateKeyJWT, assertion: claim(map[string]any{"sub": "someone"})}
		wantError(t, h.auth.Authenticate(t.Context(), c, cr), oauth.InvalidClient, http.StatusUnauthorized)
	})
	t.Run("replayed jti", func(t *testing.T) {
		if err := h.present(t, c, good); err != nil {
			t.Fatal(err)
		}
		wantError(t, h.present(t, c, good), oauth.InvalidClient, http.StatusUnauthorized)
		// The same id in another assertion, until the first one's life is over.
		again := func() string { return claim(map[string]any{"jti": "one"}) }
		if err := h.present(t, c, again()); err != nil {
			t.Fatal(err)
		}
		h.advance(time.Minute + clockSkew - time.Second)
		wantError(t, h.present(t, c, again()), oauth.InvalidClient, http.StatusUnauthorized)
		h.advance(10 * time.Minute)
		if err := h.present(t, c, again()); err != nil {
			t.Errorf("after its life: %v", err)
		}
	})
	t.Run("racing replays", func(t *testing.T) {
		assertion := claim(nil)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if h.present(t, c, assertion) == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of 16 won", won.Load())
		}
	})
	t.Run("another client may use the same jti", func(t *testing.T) {
		d := h.keyed(t, `"client_name":"d","jwks":`+jwks(t, public("k1", key)))
		for _, client := range []Client{c, d} {
			if err := h.present(t, client, h.sign(t, jose.ES256, key, client.ID, nil, map[string]any{"jti": "shared"})); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a table that is down is no verdict", func(t *testing.T) {
		h.table.down.Store(true)
		defer h.table.down.Store(false)
		if err := h.present(t, c, claim(nil)); !errors.Is(err, table.ErrUnavailable) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("only the registered algorithm", func(t *testing.T) {
		rsaKey := testKeys()[jose.RS256]
		both := h.keyed(t, `"token_endpoint_auth_signing_alg":"RS256","jwks":`+jwks(t, public("e", key), public("r", rsaKey)))
		wantError(t, h.present(t, both, h.sign(t, jose.ES256, key, both.ID, nil, nil)), oauth.InvalidClient, http.StatusUnauthorized)
		if err := h.present(t, both, h.sign(t, jose.RS256, rsaKey, both.ID, nil, nil)); err != nil {
			t.Error(err)
		}
	})
}

// flip changes one bit of a signature.
func flip(signature string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(signature)
	raw[3] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

func TestJWKSURI(t *testing.T) {
	h := newHouse(t)
	first, second := testKeys()[jose.RS256], testKeys()[jose.ES256]
	h.site.serve("/keys", jwks(t, public("1", first)), "max-age=3600")
	c := h.keyed(t, `"jwks_uri":"https://example.com/keys"`)
	if n := h.site.count("/keys"); n != 0 {
		t.Errorf("registering fetched the keys %d times", n)
	}
	for range 5 {
		if err := h.present(t, c, h.sign(t, jose.RS256, first, c.ID, map[string]any{"kid": "1"}, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.site.count("/keys"); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}

	// The client rotates. An unknown key makes us look again, but a flood of them does so once a minute.
	h.site.serve("/keys", jwks(t, public("2", second)), "max-age=3600")
	h.advance(keyRefetch)
	if err := h.present(t, c, h.sign(t, jose.ES256, second, c.ID, map[string]any{"kid": "2"}, nil)); err != nil {
		t.Errorf("after rotation: %v", err)
	}
	for i := range 20 {
		err := h.present(t, c, h.sign(t, jose.ES256, second, c.ID, map[string]any{"kid": fmt.Sprint("made-up-", i)}, nil))
		wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
	}
	if n := h.site.count("/keys"); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}

	// The site goes down: the keys serve on for a day, and then the answer is to come back, not that the client is wrong.
	h.site.fail("/keys", 500)
	h.advance(2 * time.Hour)
	if err := h.present(t, c, h.sign(t, jose.ES256, second, c.ID, nil, nil)); err != nil {
		t.Errorf("while the site is down: %v", err)
	}
	h.restart()
	err := h.present(t, c, h.sign(t, jose.ES256, second, c.ID, nil, nil))
	wantError(t, err, oauth.TemporarilyUnavailable, http.StatusServiceUnavailable)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("err = %v", err)
	}

	t.Run("D09 the key set leads inside", func(t *testing.T) {
		h.site.resolves["inside.example.com"] = "169.254.169.254"
		c := h.keyed(t, `"jwks_uri":"https://inside.example.com/keys"`)
		wantError(t, h.present(t, c, h.sign(t, jose.ES256, second, c.ID, nil, nil)), oauth.InvalidClient, http.StatusUnauthorized)
	})
	t.Run("D09 a private key in the set", func(t *testing.T) {
		h.site.serve("/private", jwks(t, jose.JSONWebKey{Key: second, KeyID: "x"}), "")
		c := h.keyed(t, `"jwks_uri":"https://example.com/private"`)
		wantError(t, h.present(t, c, h.sign(t, jose.ES256, second, c.ID, nil, nil)), oauth.InvalidClient, http.StatusUnauthorized)
	})
	t.Run("F06 a wrong set is read again after a pause alone", func(t *testing.T) {
		h.site.serve("/wrong", `{"keys":"none"}`, "")
		c := h.keyed(t, `"jwks_uri":"https://example.com/wrong"`)
		for range 5 {
			wantError(t, h.present(t, c, h.sign(t, jose.ES256, second, c.ID, nil, nil)), oauth.InvalidClient, http.StatusUnauthorized)
		}
		if n := h.site.count("/wrong"); n != 1 {
			t.Errorf("%d fetches, want one and a pause", n)
		}
		h.advance(backOff)
		h.site.serve("/wrong", jwks(t, public("x", second)), "")
		if err := h.present(t, c, h.sign(t, jose.ES256, second, c.ID, nil, nil)); err != nil {
			t.Errorf("after the pause: %v", err)
		}
	})
}

func TestKeySets(t *testing.T) {
	keys := testKeys()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 45_000, 1), E: 1<<31 - 1}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	encryption := public("e", keys[jose.RS256])
	encryption.Use = "enc"
	otherAlgorithm := public("p", keys[jose.RS256])
	otherAlgorithm.Algorithm = "PS256"
	many := make([]jose.JSONWebKey, maxKeys+1)
	for i := range many {
		many[i] = public(fmt.Sprint(i), keys[jose.EdDSA])
	}
	for _, test := range []struct {
		name, set string
		keys      int
	}{
		{"all three", jwks(t, public("1", keys[jose.RS256]), public("2", keys[jose.ES256]), public("3", keys[jose.EdDSA])), 3},
		{"unusable ones are passed over", jwks(t, public("1", keys[jose.RS256]), public("2", small), public("3", p384), encryption, otherAlgorithm), 1},
		{"an unknown type is passed over", strings.Replace(jwks(t, public("1", keys[jose.RS256])), `[`, `[{"kty":"AKP","pub":"AA"},`, 1), 1},
		{"private", jwks(t, jose.JSONWebKey{Key: keys[jose.ES256]}), 0},
		{"one private among public", jwks(t, public("1", keys[jose.RS256]), jose.JSONWebKey{Key: keys[jose.EdDSA]}), 0},
		{"symmetric", `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, 0},
		{"none", `{"keys":[]}`, 0},
		{"no keys member", `{}`, 0},
		{"keys not a list", `{"keys":{}}`, 0},
		{"not objects", `{"keys":[1]}`, 0},
		{"too many", jwks(t, many...), 0},
		{"too small", jwks(t, public("1", small)), 0},
		{"so large that to check a signature costs a tenth of a second", jwks(t, jose.JSONWebKey{Key: huge, KeyID: "1"}), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseKeySet([]byte(test.set))
			if len(got) != test.keys || (err == nil) != (test.keys > 0) {
				t.Errorf("%d keys, %v", len(got), err)
			}
		})
	}
}
