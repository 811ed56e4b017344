package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/policy"
)

func TestC07_EmailRules(t *testing.T) {
	const plain = "employee1@mycompany.com"
	f := newFake(t)
	for _, test := range []struct {
		name           string
		email          any
		verified       any
		edov           any
		required       bool
		wantEmail      string
		wantUnverified bool
	}{
		{name: "verified", email: plain, verified: true, wantEmail: plain},
		{name: "verified, as Cognito writes it", email: plain, verified: "true", wantEmail: plain},
		{name: "absent is believed, as Cloudflare Access needs it", email: plain, wantEmail: plain},
		{name: "null is absent", email: plain, verified: rawNull{}, wantEmail: plain},
		{name: "absent and required", email: plain, required: true, wantEmail: plain, wantUnverified: true},
		{name: "verified and required", email: plain, verified: true, required: true, wantEmail: plain},
		{name: "false", email: plain, verified: false, wantEmail: plain, wantUnverified: true},
		{name: "false as a string", email: plain, verified: "false", wantEmail: plain, wantUnverified: true},
		{name: "number", email: plain, verified: 1, wantEmail: plain, wantUnverified: true},
		{name: "other word", email: plain, verified: "yes", wantEmail: plain, wantUnverified: true},
		{name: "empty word", email: plain, verified: "", wantEmail: plain, wantUnverified: true},
		{name: "array", email: plain, verified: []bool{true}, wantEmail: plain, wantUnverified: true},
		{name: "object", email: plain, verified: map[string]any{"true": true}, wantEmail: plain, wantUnverified: true},
		{name: "Entra, domain owner verified", email: plain, edov: true, required: true, wantEmail: plain},
		{name: "Entra, domain owner not verified", email: plain, edov: false, wantEmail: plain, wantUnverified: true},
		{name: "Entra, as a digit", email: plain, edov: "0", wantEmail: plain, wantUnverified: true},
		{name: "upper case", email: "Employee1@MYCOMPANY.com", wantEmail: plain},
		{name: "no e-mail"},
		{name: "two @", email: "employee1@mycompany.com@evil.example"},
		{name: "two addresses", email: "employee1@mycompany.com,evil@evil.example"},
		{name: "display name", email: "Emma <employee1@mycompany.com>"},
		{name: "quoted local part", email: `"employee1@mycompany.com"@evil.example`},
		{name: "Kelvin sign", email: "employee1@mycompany.com\u212a"},
		{name: "full-width letters", email: "employee1@ｍycompany.com"},
		{name: "Cyrillic o", email: "employee1@myc\u043empany.com"},
		{name: "zero-width space", email: "employee1@mycompany.com\u200b"},
		{name: "NUL", email: "employee1@mycompany.com\x00.evil.example"},
		{name: "newline", email: "employee1@mycompany.com\n"},
		{name: "space", email: " employee1@mycompany.com"},
		{name: "array of one", email: []string{plain}},
		{name: "no local part", email: "@mycompany.com"},
		{name: "too long", email: strings.Repeat("x", 250) + "@mycompany.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			claims := f.with(map[string]any{"email": test.email, "email_verified": test.verified, "xms_edov": test.edov})
			f.sends(f.sign(jose.RS256, "rsa", f.rsa, claims))
			session, err := exchange(t, f.provider(t, func(c *Config) { c.RequireEmailVerified = test.required }))
			if err != nil {
				t.Fatal(err)
			}
			who := session.Identity
			if who.Email != test.wantEmail || who.EmailUnverified != test.wantUnverified {
				t.Errorf("got %q unverified %t, want %q unverified %t", who.Email, who.EmailUnverified, test.wantEmail, test.wantUnverified)
			}
			rules, err := policy.New(plain, "")
			if err != nil {
				t.Fatal(err)
			}
			if allowed := rules.Allows(who, "generateImage", policy.Listed); allowed != (test.wantEmail == plain && !test.wantUnverified) {
				t.Errorf("policy allows: %t", allowed)
			}
		})
	}
}

// rawNull is a claim that is there and null.
type rawNull struct{}

func (rawNull) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

func TestGroups(t *testing.T) {
	f := newFake(t)
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprintf("group-%04d", i)
	}
	for _, test := range []struct {
		name, claim string
		claims      map[string]any
		want        string
	}{
		{"array", "", map[string]any{"groups": []string{"b", "a", "b", ""}}, "[a b]"},
		{"single string", "", map[string]any{"groups": "staff"}, "[staff]"},
		{"Cognito", "cognito:groups", map[string]any{"cognito:groups": []string{"x"}, "groups": []string{"not these"}}, "[x]"},
		{"Auth0, a URL with dots", "https://mcp.example.com/groups", map[string]any{"https://mcp.example.com/groups": []string{"x"}}, "[x]"},
		{"Keycloak, nested", "realm_access.roles", map[string]any{"realm_access": map[string]any{"roles": []string{"admin"}}}, "[admin]"},
		{"nested in what is no object", "realm_access.roles", map[string]any{"realm_access": "roles"}, "[]"},
		{"objects with name and id", "", map[string]any{"groups": []any{map[string]any{"id": "1", "name": "staff"}, map[string]any{"id": "2"}}}, "[2 staff]"},
		{"other things in the array", "", map[string]any{"groups": []any{1, nil, true, []string{"x"}, map[string]any{"name": 5}, "staff"}}, "[staff]"},
		{"number", "", map[string]any{"groups": 5}, "[]"},
		{"object", "", map[string]any{"groups": map[string]any{"staff": true}}, "[]"},
		{"null", "", map[string]any{"groups": rawNull{}}, "[]"},
		{"absent", "", map[string]any{"groups": nil}, "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.sends(f.sign(jose.RS256, "rsa", f.rsa, f.with(test.claims)))
			session, err := exchange(t, f.provider(t, func(c *Config) { c.GroupsClaim = test.claim }))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(session.Identity.Groups); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	t.Run("more than are kept", func(t *testing.T) {
		f.sends(f.sign(jose.RS256, "rsa", f.rsa, f.with(map[string]any{"groups": many})))
		session, err := exchange(t, f.provider(t))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(session.Identity.Groups); n != maxGroups {
			t.Errorf("kept %d groups, want %d", n, maxGroups)
		}
	})
}

// C08: groups that were left out are asked for where that can help, and are no groups where it cannot.
func TestC08_GroupsMissing(t *testing.T) {
	overage := map[string]any{
		"groups": nil, "_claim_names": map[string]any{"groups": "src1"},
		"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example/v1.0/me/getMemberObjects"}},
	}
	for _, test := range []struct {
		name     string
		claims   map[string]any
		scopes   []string
		userinfo string // "" for none
		want     string
		asked    int64
	}{
		{"overage, UserInfo knows them", overage, nil, `{"sub":"person-1","groups":["staff"]}`, "[staff]", 1},
		{"overage, UserInfo knows none, as at Entra", overage, nil, `{"sub":"person-1"}`, "[]", 1},
		{"overage, no UserInfo", overage, nil, "", "[]", 0},
		{"hasgroups", map[string]any{"groups": nil, "hasgroups": true}, nil, `{"sub":"person-1"}`, "[]", 1},
		{"left out, scope groups asked", map[string]any{"groups": nil}, []string{"openid", "email", "groups"}, `{"sub":"person-1","groups":["staff"]}`, "[staff]", 1},
		{"left out, scope groups not asked", map[string]any{"groups": nil}, nil, `{"sub":"person-1","groups":["staff"]}`, "[]", 0},
		{"empty is an answer", map[string]any{"groups": []string{}}, []string{"openid", "email", "groups"}, `{"sub":"person-1","groups":["staff"]}`, "[]", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			if test.userinfo != "" {
				f.set(func() { f.userinfo = fails(http.StatusOK, test.userinfo) })
			}
			f.sends(f.sign(jose.RS256, "rsa", f.rsa, f.with(test.claims)))
			session, err := exchange(t, f.provider(t, func(c *Config) { c.Scopes = test.scopes }))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(session.Identity.Groups); got != test.want || f.userinfoCalls.Load() != test.asked {
				t.Errorf("got %s after %d calls of UserInfo, want %s after %d", got, f.userinfoCalls.Load(), test.want, test.asked)
			}
			rules, err := policy.New("", `{"generateImage":{"groups":["staff"]}}`)
			if err != nil {
				t.Fatal(err)
			}
			if allowed := rules.Allows(session.Identity, "generateImage", policy.Listed); allowed != (test.want == "[staff]") {
				t.Errorf("policy allows: %t", allowed)
			}
		})
	}
}

func TestUserInfoFillsIn(t *testing.T) {
	thin := map[string]any{"email": nil, "email_verified": nil, "name": nil, "groups": nil}
	for _, test := range []struct {
		name   string
		claims map[string]any
		answer func(http.ResponseWriter, *http.Request)
		want   policy.Identity
		err    error
	}{
		{
			"as Okta does it", thin, fails(200, `{"sub":"person-1","email":"e@x.com","email_verified":true,"name":"Emma","groups":["g"]}`),
			policy.Identity{Email: "e@x.com", Name: "Emma", Groups: []string{"g"}}, nil,
		},
		{
			"verified as a string, as Cognito does it", thin, fails(200, `{"sub":"person-1","email":"e@x.com","email_verified":"false"}`),
			policy.Identity{Email: "e@x.com", EmailUnverified: true}, nil,
		},
		{
			"the token's flag does not vouch for UserInfo's address", map[string]any{"email": nil, "email_verified": true, "name": nil, "groups": nil},
			fails(200, `{"sub":"person-1","email":"e@x.com","email_verified":false}`),
			policy.Identity{Email: "e@x.com", EmailUnverified: true}, nil,
		},
		{"another subject", thin, fails(200, `{"sub":"person-2","email":"e@x.com"}`), policy.Identity{}, ErrVerification},
		{"no subject", thin, fails(200, `{"email":"e@x.com"}`), policy.Identity{}, ErrVerification},
		{"it does not want to say", thin, fails(403, `{}`), policy.Identity{}, nil},
		{"it is down", thin, fails(502, ``), policy.Identity{}, ErrUnavailable},
		{"too many requests", thin, fails(429, ``), policy.Identity{}, ErrUnavailable},
		{"not JSON", thin, fails(200, `eyJhbGciOi`), policy.Identity{}, ErrUnavailable},
		{"not an object", thin, fails(200, `["sub"]`), policy.Identity{}, ErrUnavailable},
		{"huge", thin, fails(200, `{"sub":"`+strings.Repeat("x", maxAnswer)+`"}`), policy.Identity{}, ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(func() {
				f.userinfo = func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != "Bearer opaque-access" {
						t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
					}
					test.answer(w, r)
				}
			})
			f.sends(f.sign(jose.RS256, "rsa", f.rsa, f.with(test.claims)))
			session, err := exchange(t, f.provider(t))
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if err != nil {
				if strings.Contains(err.Error(), "opaque-access") {
					t.Error("the error holds the access token")
				}
				return
			}
			test.want.Issuer, test.want.Subject = f.URL, "person-1"
			if fmt.Sprint(session.Identity) != fmt.Sprint(test.want) {
				t.Errorf("got %+v, want %+v", session.Identity, test.want)
			}
		})
	}
}

func TestName(t *testing.T) {
	for _, test := range []struct{ name, json, want string }{
		{"plain", `"Emma Ployee"`, "Emma Ployee"},
		{"bidirectional override", `"Emma\u202e eeyolP"`, "Emma eeyolP"},
		{"control characters", `"Em\r\nma\u0000"`, "Emma"},
		{"too long", `"` + strings.Repeat("é", 300) + `"`, strings.Repeat("é", maxName)},
		{"no string", `["x"]`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := (claims{"name": []byte(test.json)}).name(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := (claims{"preferred_username": []byte(`"emma"`)}).name(); got != "emma" {
		t.Errorf("without a name: %q, want the preferred user name", got)
	}
}
