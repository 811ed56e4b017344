package upstream

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	jose "github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/policy"
)

// FuzzVerify: whatever a token looks like, it is refused without a panic unless it says what a signed one said.
func FuzzVerify(f *testing.F) {
	provider := newFake(f)
	good := provider.sign(jose.RS256, "rsa", provider.rsa, provider.standard())
	f.Add(good)
	f.Add(unsigned(`{"alg":"none"}`, provider.standard()))
	f.Add(unsigned(`{"alg":"HS256","kid":"rsa","jwk":{}}`, provider.standard()))
	f.Add(tamper(good))
	f.Add("a.b.c")
	p := provider.provider(f)
	m, err := p.metadata(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := p.verify(context.Background(), m, raw)
		if err == nil && token.Subject != "person-1" {
			t.Errorf("took %q", raw)
		}
	})
}

// FuzzClaims: no claims make anyone match a rule by an address that is not literally allowed.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"s","email":"employee1@mycompany.com","groups":["a"]}`)
	f.Add(`{"sub":"s","email":"EMPLOYEE1@mycompany.com","email_verified":"false"}`)
	f.Add(`{"sub":"s","email":"employee1@mycompany.com@evil","name":"\u202e","groups":[{"name":"g","id":1}],"_claim_names":{"groups":"x"}}`)
	f.Add(`{"sub":1,"email":null,"xms_edov":0,"groups":{"a":{"b":[]}}}`)
	p, err := New(Config{Issuer: "https://idp.example", ClientID: testClient, RedirectURL: testRedirect, GroupsClaim: "groups.a.b"})
	if err != nil {
		f.Fatal(err)
	}
	rules, err := policy.New("employee1@mycompany.com", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var said claims
		if json.Unmarshal([]byte(text), &said) != nil {
			return
		}
		_, _ = said.overage("groups"), said.groups("groups")
		who, err := p.identityOf(&metadata{issuer: "https://idp.example"}, said)
		if err != nil {
			return
		}
		if who.Subject == "" || !utf8.ValidString(who.Name) || len([]rune(who.Name)) > maxName {
			t.Errorf("identity %+v", who)
		}
		if rules.Allows(who, "generateImage", policy.Listed) && !strings.EqualFold(said.text("email"), "employee1@mycompany.com") {
			t.Errorf("%q is allowed", said.text("email"))
		}
	})
}
