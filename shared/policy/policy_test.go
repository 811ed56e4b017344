package policy

import (
	"strings"
	"testing"
)

func TestAllows(t *testing.T) {
	p, err := New("Employee1@MyCompany.com, teammate1@mycompany.com", `{"report": {"domains": ["Example.org"], "groups": ["designers"]}, "open": {"everyone": true}, "scoped": {"scope": "images"}}`)
	if err != nil {
		t.Fatal(err)
	}
	employee := Identity{Email: "EMPLOYEE1@mycompany.com"}
	for _, c := range []struct {
		name   string
		who    Identity
		tool   string
		access Access
		want   bool
	}{
		{"everyone's tool", Identity{}, "add", Everyone, true},
		{"the zero access is listed", Identity{}, "new", Access(0), false},
		{"listed by e-mail, any case", employee, "generateImage", Listed, true},
		{"guest", Identity{Email: "guest@mycompany.com"}, "generateImage", Listed, false},
		{"no e-mail", Identity{}, "generateImage", Listed, false},
		{"unverified e-mail", Identity{Email: employee.Email, EmailUnverified: true}, "generateImage", Listed, false},
		{"own rule replaces the list", employee, "report", Listed, false},
		{"own rule restricts an everyone's tool", employee, "report", Everyone, false},
		{"domain", Identity{Email: "a@example.org"}, "report", Listed, true},
		{"subdomain is another domain", Identity{Email: "a@sub.example.org"}, "report", Listed, false},
		{"group", Identity{Groups: []string{"x", "designers"}}, "report", Listed, true},
		{"C08 groups are exact", Identity{Groups: []string{"Designers"}}, "report", Listed, false},
		{"C08 absent groups", Identity{Email: "a@b.c"}, "report", Listed, false},
		{"opened by configuration", Identity{}, "open", Listed, true},
		{"a rule with a scope alone keeps the declaration", Identity{}, "scoped", Listed, false},
		{"a rule with a scope alone keeps the list", employee, "scoped", Listed, true},
	} {
		if got := p.Allows(c.who, c.tool, c.access); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if p.RequiredScope("scoped") != "images" || p.RequiredScope("add") != "" || strings.Join(p.Scopes(), " ") != "images" {
		t.Error("scopes of tools are wrong")
	}
}

func TestAnEmptyListAdmitsNoOne(t *testing.T) {
	p, err := New("", "")
	if err != nil {
		t.Fatal(err)
	}
	if p.Allows(Identity{Email: ""}, "generateImage", Listed) || p.Allows(Identity{Email: "a@b.c"}, "generateImage", Listed) {
		t.Error("someone was admitted")
	}
}

func TestC07_EmailsThatMatchNothing(t *testing.T) {
	p, err := New("kate@mycompany.com", `{"t": {"domains": ["mycompany.com"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{
		"\u212aate@mycompany.com", // KELVIN SIGN folds to k
		"kate@mycompany.com@evil.com", "evil@x@mycompany.com", `"kate@mycompany.com"@evil.com`, "Kate <kate@mycompany.com>",
		"kate@mycompany.com\n", " kate@mycompany.com", "kate@mycompany.com.", "kate@myc\u043empany.com", "kate(x)@mycompany.com", "@mycompany.com", "kate@",
	} {
		who := Identity{Email: email}
		if p.Allows(who, "generateImage", Listed) || p.Allows(who, "t", Listed) {
			t.Errorf("%q matched a rule", email)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ emails, tools, names string }{
		{"not-an-address", "", "ALLOWED_EMAILS"},
		{"a@b.c,Bob <b@b.c>", "", "ALLOWED_EMAILS"},
		{"", `[]`, "TOOL_POLICY"},
		{"", `{"add": {"email": ["a@b.c"]}}`, "TOOL_POLICY"},
		{"", `{"add": {"emails": ["x"]}}`, "TOOL_POLICY"},
		{"", `{"add": {"domains": ["a@b"]}}`, "TOOL_POLICY"},
		{"", `{"add": {"groups": [""]}}`, "TOOL_POLICY"},
		{"", `{"add": {"scope": "a b"}}`, "TOOL_POLICY"},
		{"", `{"add": {"scope": "größe"}}`, "TOOL_POLICY"},
		{"", `{"add": {"scope": "a\tb"}}`, "TOOL_POLICY"},
		{"", `{"add": {"scope": "offline_access"}}`, "TOOL_POLICY"},
		{"", `{} {}`, "TOOL_POLICY"},
		{"", `{}}`, "TOOL_POLICY"},
	} {
		if _, err := New(c.emails, c.tools); err == nil || !strings.HasPrefix(err.Error(), c.names) {
			t.Errorf("New(%q, %q): error %v, want one that names %s", c.emails, c.tools, err, c.names)
		}
	}
}
