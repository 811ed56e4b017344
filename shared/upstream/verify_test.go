package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

func TestExchange_TakesGoodTokens(t *testing.T) {
	f := newFake(t)
	for _, test := range []struct {
		name string
		raw  string
	}{
		{"RS256", f.sign(jose.RS256, "rsa", f.rsa, f.standard())},
		{"PS256 with the same key", f.sign(jose.PS256, "rsa", f.rsa, f.standard())},
		{"ES256", f.sign(jose.ES256, "ec", f.ec, f.standard())},
		{"EdDSA", f.sign(jose.EdDSA, "ed", f.edwards, f.standard())},
		{"several audiences and azp", f.sign(jose.RS256, "rsa", f.rsa, f.with(map[string]any{"aud": []string{"other", testClient}, "azp": testClient}))},
		{"nbf within the skew", f.sign(jose.RS256, "rsa", f.rsa, f.with(map[string]any{"nbf": f.now.Now().Unix() + 60}))},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.sends(test.raw)
			session, err := exchange(t, f.provider(t))
			if err != nil {
				t.Fatal(err)
			}
			who := session.Identity
			if who.Issuer != f.URL || who.Subject != "person-1" || who.Email != "employee1@mycompany.com" || who.EmailUnverified ||
				who.Name != "Emma Ployee" || fmt.Sprint(who.Groups) != "[designers staff]" || session.RefreshToken != "refresh-2" {
				t.Errorf("got %+v", session)
			}
		})
	}
	if n := f.userinfoCalls.Load(); n != 0 {
		t.Errorf("UserInfo was asked %d times for tokens that say everything", n)
	}
}

func TestC04_HostileIDTokens(t *testing.T) {
	f := newFake(t)
	now := f.now.Now().Unix()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(f.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	var jkuAsked atomic.Int64
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		jkuAsked.Add(1)
		writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: stranger.Public(), KeyID: "rsa"}}})
	}))
	defer attacker.Close()
	good := f.sign(jose.RS256, "rsa", f.rsa, f.standard())
	signed := func(changes map[string]any) string { return f.sign(jose.RS256, "rsa", f.rsa, f.with(changes)) }
	for _, test := range []struct {
		name, raw string
		want      error
	}{
		{"alg none", unsigned(`{"alg":"none","kid":"rsa"}`, f.standard()), ErrVerification},
		{"alg None in another case", unsigned(`{"alg":"NoNe","kid":"rsa"}`, f.standard()), ErrVerification},
		{"no alg", unsigned(`{"kid":"rsa"}`, f.standard()), ErrVerification},
		{"HS256 with the public key as PEM", f.sign(jose.HS256, "rsa", publicPEM, f.standard()), ErrVerification},
		{"HS256 with the public key as DER", f.sign(jose.HS256, "rsa", publicDER, f.standard()), ErrVerification},
		{"HS256 with the client secret", f.sign(jose.HS256, "rsa", []byte(strings.Repeat(testSecret, 4)), f.standard()), ErrVerification},
		{"a stranger's key under our kid", f.sign(jose.RS256, "rsa", stranger, f.standard()), ErrVerification},
		{"a stranger's key and no kid", f.sign(jose.RS256, "", stranger, f.standard()), ErrVerification},
		{"jku header", f.sign(jose.RS256, "rsa", stranger, f.standard(), map[string]any{"jku": attacker.URL}), ErrVerification},
		{"jwk header", f.sign(jose.RS256, "rsa", stranger, f.standard(), map[string]any{"jwk": jose.JSONWebKey{Key: stranger.Public()}}), ErrVerification},
		{"x5u header", f.sign(jose.RS256, "rsa", stranger, f.standard(), map[string]any{"x5u": attacker.URL}), ErrVerification},
		{"unknown crit header", f.sign(jose.RS256, "rsa", f.rsa, f.standard(), map[string]any{"crit": []string{"b64x"}, "b64x": true}), ErrVerification},
		{"unknown kid", f.sign(jose.RS256, "who", f.rsa, f.standard()), ErrVerification},
		{"key of another algorithm family", f.sign(jose.ES256, "rsa", f.ec, f.standard()), ErrVerification},
		{"wrong iss", signed(map[string]any{"iss": "https://evil.example"}), ErrVerification},
		{"iss with a slash more", signed(map[string]any{"iss": f.URL + "/"}), ErrVerification},
		{"no iss", signed(map[string]any{"iss": nil}), ErrVerification},
		{"wrong aud", signed(map[string]any{"aud": "somebody-else"}), ErrVerification},
		{"no aud", signed(map[string]any{"aud": nil}), ErrVerification},
		{"aud that has ours as a prefix", signed(map[string]any{"aud": testClient + "x"}), ErrVerification},
		{"several aud and no azp", signed(map[string]any{"aud": []string{testClient, "other"}}), ErrVerification},
		{"wrong azp", signed(map[string]any{"azp": "other"}), ErrVerification},
		{"wrong azp among several aud", signed(map[string]any{"aud": []string{testClient, "other"}, "azp": "other"}), ErrVerification},
		{"azp that is no string", signed(map[string]any{"azp": []string{testClient}}), ErrVerification},
		{"expired", signed(map[string]any{"exp": now - 1, "iat": now - 600}), ErrVerification},
		{"no exp", signed(map[string]any{"exp": nil}), ErrVerification},
		{"nbf in the future", signed(map[string]any{"nbf": now + 3600}), ErrVerification},
		{"iat in the future", signed(map[string]any{"iat": now + 3600, "exp": now + 7200}), ErrVerification},
		{"no iat", signed(map[string]any{"iat": nil}), ErrVerification},
		{"wrong nonce", signed(map[string]any{"nonce": "another"}), ErrVerification},
		{"no nonce", signed(map[string]any{"nonce": nil}), ErrVerification},
		{"no sub", signed(map[string]any{"sub": nil}), ErrNoSubject},
		{"empty sub", signed(map[string]any{"sub": ""}), ErrNoSubject},
		{"sub that is a number", signed(map[string]any{"sub": 7}), ErrVerification},
		{"sub of 256 bytes", signed(map[string]any{"sub": strings.Repeat("x", 256)}), ErrVerification},
		{"sub with a NUL", signed(map[string]any{"sub": "a\x00b"}), ErrVerification},
		{"changed payload", tamper(good), ErrVerification},
		{"signature cut off", good[:strings.LastIndexByte(good, '.')+1], ErrVerification},
		{"five parts", good + ".x.y", ErrVerification},
		{"JSON serialization", `{"payload":"e30","signatures":[]}`, ErrVerification},
		{"not a JWT", "garbage", ErrVerification},
		{"none at all", "", ErrVerification},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.sends(test.raw)
			session, err := exchange(t, f.provider(t))
			if !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if session.Identity.Subject != "" || session.RefreshToken != "" {
				t.Errorf("a refused token gave %+v", session)
			}
			if err != nil && test.raw != "" && strings.Contains(err.Error(), test.raw) {
				t.Errorf("the error quotes the token")
			}
		})
	}
	if jkuAsked.Load() != 0 {
		t.Error("a URL from a token's header was fetched")
	}
}

func unsigned(header string, claims map[string]any) string {
	payload, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

func tamper(jwt string) string {
	parts := strings.Split(jwt, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "person-1", "person-2", 1)))
	return strings.Join(parts, ".")
}

// C06: whatever key ids are presented, the key set is read once and then once a minute at most.
func TestC06_KeyIDFlood(t *testing.T) {
	f := newFake(t)
	p := f.provider(t)
	if _, err := exchange(t, p); err != nil {
		t.Fatal(err)
	}
	flood := func() {
		var all sync.WaitGroup
		for i := range 40 {
			f.set(func() {
				f.token = func(w http.ResponseWriter, _ *http.Request) {
					f.session(w, f.sign(jose.RS256, fmt.Sprint("kid-", i), f.rsa, f.standard()), "")
				}
			})
			all.Go(func() {
				if _, err := exchange(t, p); !errors.Is(err, ErrVerification) {
					t.Errorf("unknown kid: %v", err)
				}
			})
		}
		all.Wait()
	}
	flood()
	if n := f.keyReads.Load(); n != 1 {
		t.Errorf("the key set was read %d times within a minute, want 1", n)
	}
	f.now.advance(61 * time.Second)
	flood()
	if n := f.keyReads.Load(); n != 2 {
		t.Errorf("the key set was read %d times, want 2 after a minute has passed", n)
	}
	// A key that the provider adds is found without a restart.
	f.now.advance(61 * time.Second)
	next, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f.set(func() {
		f.override = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/jwks" {
				writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: next.Public(), KeyID: "next"}}})
			}
			return r.URL.Path == "/jwks"
		}
	})
	f.sends(f.sign(jose.RS256, "next", next, f.standard()))
	if _, err := exchange(t, p); err != nil {
		t.Errorf("a key that the provider added: %v", err)
	}
	// And one that it withdrew ends with the age of the key set.
	f.now.advance(keysAge + time.Second)
	f.sends(f.sign(jose.RS256, "rsa", f.rsa, f.standard()))
	if _, err := exchange(t, p); !errors.Is(err, ErrVerification) {
		t.Errorf("a key that the provider withdrew: %v", err)
	}
}

// RFC 7517 section 5: keys that are not understood are ignored. A provider that adds one signs nobody out.
func TestKeySet_KeysOfUnknownKinds(t *testing.T) {
	f := newFake(t)
	raw, err := json.Marshal(jose.JSONWebKey{Key: f.rsa.Public(), KeyID: "rsa", Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{
		"another type":         `{"kty":"AKP","kid":"pq","pub":"AA"}`,
		"a key for encryption": `{"kty":"OKP","crv":"X25519","use":"enc","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}`,
		"another curve":        `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`,
		"a broken certificate": `{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["bad"]}`,
		"a member missing":     `{"kty":"EC","crv":"P-256","x":"AA"}`,
		"no object":            `7`,
	} {
		t.Run(name, func(t *testing.T) {
			f.set(func() {
				f.override = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/jwks" {
						return false
					}
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"keys":[`+key+`,`+string(raw)+`]}`)
					return true
				}
			})
			if _, err := exchange(t, f.provider(t)); err != nil {
				t.Errorf("a good key beside it: %v", err)
			}
		})
	}
}

func TestKeySetUnavailable(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
	}{
		{"500", fails(500, "")},
		{"404", fails(404, "")},
		{"garbage", fails(200, "<html>")},
		{"another document", fails(200, `{"error":"maintenance"}`)},
		{"keys that are no list", fails(200, `{"keys":"x"}`)},
		{"too large", fails(200, `{"keys":[],"x":"`+strings.Repeat("x", maxAnswer)+`"}`)},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(func() {
				f.override = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/jwks" {
						test.answer(w, r)
					}
					return r.URL.Path == "/jwks"
				}
			})
			p := f.provider(t)
			if _, err := exchange(t, p); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
			f.set(func() { f.override = nil })
			f.now.advance(keysRetry)
			f.claims = f.standard()
			if _, err := exchange(t, p); err != nil {
				t.Errorf("after the provider has recovered: %v", err)
			}
		})
	}
}
