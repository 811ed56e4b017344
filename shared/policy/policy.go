package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"

	"mcp-access-oauth/shared/oauth"
)

// Access is what a tool's file declares about its audience. The zero value is the strict one, so that a tool whose
// author forgot to declare anything is open to no one who was not named.
type Access int

const (
	// Listed tools are for those whom ALLOWED_EMAILS or the tool's own rule names.
	Listed Access = iota
	// Everyone means everyone who has signed in.
	Everyone
)

// Rule names the people who may use one tool. A person who matches any member may; an empty rule admits no one.
type Rule struct {
	Emails  []string `json:"emails,omitempty"`
	Domains []string `json:"domains,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	// Scope, when set, is asked of the token besides. A token without it gets 403 insufficient_scope, which a client
	// can cure by asking for it (RFC 6750 section 3.1).
	Scope string `json:"scope,omitempty"`
	// Everyone opens the tool to all who have signed in, whatever its file declares.
	Everyone bool `json:"everyone,omitempty"`
}

// Policy decides. The zero Policy admits everyone to Everyone tools and no one to Listed ones.
type Policy struct {
	listed Rule            // ALLOWED_EMAILS, for Listed tools without a rule of their own
	tools  map[string]Rule // TOOL_POLICY
}

// New builds a policy from ALLOWED_EMAILS, addresses separated by commas or white space, and TOOL_POLICY, a JSON object
// from a tool's name to its Rule. Either may be empty.
func New(allowedEmails, toolPolicy string) (Policy, error) {
	emails := strings.FieldsFunc(allowedEmails, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
	p := Policy{listed: Rule{Emails: emails}, tools: map[string]Rule{}}
	if err := p.listed.normalise(); err != nil {
		return Policy{}, fmt.Errorf("ALLOWED_EMAILS: %w", err)
	}
	if strings.TrimSpace(toolPolicy) == "" {
		return p, nil
	}
	decoder := json.NewDecoder(strings.NewReader(toolPolicy))
	decoder.DisallowUnknownFields() // a misspelt member would silently deny or, worse, seem to restrict
	if err := decoder.Decode(&p.tools); err != nil {
		return Policy{}, fmt.Errorf("TOOL_POLICY: want a JSON object such as {\"generateImage\": {\"groups\": [\"designers\"]}}: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return Policy{}, fmt.Errorf("TOOL_POLICY: text after the JSON object")
	}
	for name, rule := range p.tools {
		if err := rule.normalise(); err != nil {
			return Policy{}, fmt.Errorf("TOOL_POLICY: tool %q: %w", name, err)
		}
		p.tools[name] = rule
	}
	return p, nil
}

// Allows decides whether the person may see and call the tool. It does not look at scopes; see RequiredScope.
func (p Policy) Allows(who Identity, tool string, access Access) bool {
	if rule, ok := p.tools[tool]; ok {
		return rule.Everyone || rule.matches(who) || rule.empty() && p.byDeclaration(who, access)
	}
	return p.byDeclaration(who, access)
}

// RequiredScope is the scope that a token needs for the tool beyond the default, or "".
func (p Policy) RequiredScope(tool string) string { return p.tools[tool].Scope }

// Scopes are all configured per-tool scopes, sorted.
func (p Policy) Scopes() []string {
	var scopes []string
	for _, rule := range p.tools {
		if rule.Scope != "" && !slices.Contains(scopes, rule.Scope) {
			scopes = append(scopes, rule.Scope)
		}
	}
	slices.Sort(scopes)
	return scopes
}

// Tools are the names that TOOL_POLICY speaks of, sorted, so that the start can refuse a name that no tool bears.
func (p Policy) Tools() []string {
	var names []string
	for name := range p.tools {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Emails are the addresses of ALLOWED_EMAILS.
func (p Policy) Emails() []string { return slices.Clone(p.listed.Emails) }

func (p Policy) byDeclaration(who Identity, access Access) bool {
	return access == Everyone || p.listed.matches(who)
}

// empty reports a rule that names no one because it only asks for a scope; the tool's own declaration then decides.
func (r Rule) empty() bool {
	return r.Scope != "" && len(r.Emails) == 0 && len(r.Domains) == 0 && len(r.Groups) == 0
}

func (r Rule) matches(who Identity) bool {
	if email, domain, ok := verifiedEmail(who); ok && (slices.Contains(r.Emails, email) || slices.Contains(r.Domains, domain)) {
		return true
	}
	// Absent groups match nothing: providers leave them out when there are too many, and that must never widen access.
	return slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(who.Groups, g) })
}

// verifiedEmail is the address in the form rules are kept in, and its domain.
func verifiedEmail(who Identity) (email, domain string, ok bool) {
	if who.EmailUnverified {
		return "", "", false
	}
	email, ok = NormaliseEmail(who.Email)
	if !ok {
		return "", "", false
	}
	return email, email[strings.IndexByte(email, '@')+1:], true
}

// NormaliseEmail lower-cases a plain ASCII address and reports whether it is one: exactly one @, no display name, no
// quoting, no Unicode. Unicode folds in surprising ways (the Kelvin sign becomes k), so that such an address never
// matches a rule.
func NormaliseEmail(s string) (string, bool) {
	if len(s) > 254 || strings.Count(s, "@") != 1 { // RFC 5321 section 4.5.3.1
		return "", false
	}
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || strings.IndexByte(`"<>()[],;:\`, c) >= 0 {
			return "", false
		}
	}
	if _, err := mail.ParseAddress(s); err != nil {
		return "", false
	}
	return strings.ToLower(s), true
}

func (r *Rule) normalise() error {
	for i, e := range r.Emails {
		email, ok := NormaliseEmail(e)
		if !ok {
			return fmt.Errorf("%q is not a plain e-mail address", e)
		}
		r.Emails[i] = email
	}
	for i, d := range r.Domains {
		email, ok := NormaliseEmail("x@" + d)
		if !ok {
			return fmt.Errorf("%q is not a plain domain name", d)
		}
		r.Domains[i] = email[2:]
	}
	if slices.Contains(r.Groups, "") {
		return fmt.Errorf("a group name is empty")
	}
	switch scopes, err := oauth.ParseScope(r.Scope); {
	case r.Scope == "":
	case err != nil || len(scopes) != 1 || scopes[0] != r.Scope:
		return fmt.Errorf("scope %q is not a single scope (RFC 6749 section 3.3)", r.Scope)
	case r.Scope == oauth.ScopeMCP || r.Scope == oauth.ScopeOfflineAccess:
		return fmt.Errorf("scope %q is one that every client may have; choose a name of its own", r.Scope)
	}
	return nil
}
