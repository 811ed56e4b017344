package clients

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/oauth"
)

// FuzzAssertion: whatever is presented as a client assertion, only the claims and header that the client has signed open
// anything, and everything else is the client's fault, never ours.
func FuzzAssertion(f *testing.F) {
	h := newHouse(f)
	key := testKeys()[jose.ES256]
	c := h.keyed(f, `"jwks":`+jwks(f, public("k1", key)))
	good := h.sign(f, jose.ES256, key, c.ID, map[string]any{"kid": "k1", "typ": "JWT"}, nil)
	signed := good[:strings.LastIndexByte(good, '.')]
	f.Add(good)
	f.Add(good + "=")
	f.Add(good + ".x")
	f.Add("\n" + good)
	f.Add(signed + ".")
	f.Add("eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".")
	f.Add("eyJhbGciOiJIUzI1NiJ9." + strings.Split(good, ".")[1] + ".AAAA")
	f.Add(`{"payload":"e30","protected":"e30","signature":"AA"}`)
	f.Add(h.sign(f, jose.ES256, key, c.ID, map[string]any{"jku": "https://evil.example/"}, map[string]any{"aud": "https://evil.example"}))
	f.Add(h.sign(f, jose.ES256, key, rand.Text(), nil, nil))
	f.Fuzz(func(t *testing.T, assertion string) {
		if strings.ContainsRune(assertion, 0) || len(assertion) > 2*maxAssertionBytes {
			return // the form parser refuses it
		}
		err := h.present(t, c, assertion)
		if err == nil {
			if !strings.HasPrefix(assertion, signed+".") {
				t.Errorf("%q opens", assertion)
			}
			return
		}
		oerr, ok := errors.AsType[*oauth.Error](err)
		if !ok || oerr.HTTPStatus() != http.StatusUnauthorized && oerr.HTTPStatus() != http.StatusBadRequest {
			t.Errorf("%q: %v", assertion, err)
		}
		if len(assertion) > 20 && strings.Contains(oerr.Description, assertion) {
			t.Errorf("the error repeats the assertion %q", assertion)
		}
		if _, refusal := parseCredentials(t, url.Values{"client_assertion": {assertion}}); refusal == nil {
			t.Errorf("%q counts without client_assertion_type", assertion)
		}
	})
}
