package signin

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/oauth"
)

// FuzzCheck: whatever the request says, only a registered redirect URI is ever answered, and whatever is accepted can be
// sealed, carried and read back.
func FuzzCheck(f *testing.F) {
	good := url.Values{
		"response_type": {"code"}, "redirect_uri": {webRedirect}, "state": {"s"}, "scope": {"mcp"}, "resource": {testResource},
		"code_challenge": {oauth.S256Challenge(testVerifier)}, "code_challenge_method": {"S256"},
	}
	f.Add(good.Encode())
	f.Add(strings.Replace(good.Encode(), "client.example", "evil.example", 1))
	f.Add(good.Encode() + "&prompt=login+consent&request_uri=x")
	f.Add("redirect_uri=http://localhost:1/callback&response_type=token")
	resource, err := oauth.NewResource(testResource)
	if err != nil {
		f.Fatal(err)
	}
	client := clients.Client{
		ID: "client", Kind: clients.Registered, Name: "Client", GrantTypes: []string{oauth.GrantAuthorizationCode},
		RedirectURIs: []string{webRedirect, "http://localhost/callback", appRedirect},
	}
	limits := terms{resource: resource, scopes: oauth.SupportedScopes([]string{"images"}), nativeSchemes: []string{"cursor"}}
	h := &Handler{Issuer: testIssuer, Resource: resource, Now: func() time.Time { return time.Unix(1_800_000_000, 0).UTC() }}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := oauth.ParseQuery(query)
		if err != nil {
			return
		}
		r, refused := check(p, client, limits)
		answerAt := r.redirectURI
		if refused != nil {
			answerAt = refused.redirectURI
			if refused.direct && !strings.HasPrefix(answerAt, "http://localhost") {
				t.Errorf("%q is answered by itself at %q", query, answerAt)
			}
		}
		if answerAt != "" && !client.MatchRedirect(answerAt) {
			t.Fatalf("%q would be answered at %q", query, answerAt)
		}
		if refused != nil {
			return
		}
		if len(r.scopes) == 0 || !oauth.ValidChallenge(r.challenge) || !utf8.ValidString(r.state) {
			t.Errorf("%q was accepted as %+v", query, r)
		}
		tx := h.newTransaction(r)
		if !tx.fit() {
			return
		}
		back, err := decodeTransaction(tx.encode())
		if err != nil || back.state != r.state || back.redirectURI != r.redirectURI || back.challenge != r.challenge || !slices.Equal(back.scopes, r.scopes) {
			t.Errorf("%q came back as %+v, %v", query, back, err)
		}
	})
}

// FuzzFingerprint: two requests share a remembered approval only if they are the same in everything that a person was shown,
// however their parts could be strung together.
func FuzzFingerprint(f *testing.F) {
	f.Add("client", "https://a.example/cb", "mcp", "client", "https://a.example/cb", "mcp")
	f.Add("ab", "c", "mcp", "a", "bc", "mcp")
	f.Add("client", "https://a.example/cb", "mcp images", "client", "https://a.example/cb", "images mcp")
	f.Add("client", "https://a.example/cbm", "cp", "client", "https://a.example/cb", "mcp")
	resource, err := oauth.NewResource(testResource)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, uri, scope, otherID, otherURI, otherScope string) {
		of := func(id, uri, scope string) (request, []string) {
			scopes := strings.Fields(scope)
			slices.Sort(scopes)
			return request{client: clients.Client{ID: id}, redirectKind: oauth.RedirectHTTPS, redirectURI: uri, scopes: strings.Fields(scope)}, scopes
		}
		one, scopes := of(id, uri, scope)
		other, otherScopes := of(otherID, otherURI, otherScope)
		same := id == otherID && uri == otherURI && slices.Equal(scopes, otherScopes)
		if !utf8.ValidString(id) || !utf8.ValidString(otherID) {
			return // no client has such an id
		}
		if (one.fingerprint(resource) == other.fingerprint(resource)) != same {
			t.Errorf("%q %q %q and %q %q %q: the same is %t, and of the same fingerprint %t", id, uri, scope, otherID, otherURI, otherScope, same, !same)
		}
		named := one
		named.client.Name += "x"
		if one.fingerprint(resource) == named.fingerprint(resource) {
			t.Errorf("%q under another name has the same fingerprint", id)
		}
	})
}
