package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/policy"
)

// Bounds of what is kept of the claims. Groups beyond them are dropped, which can only take rights away.
const (
	maxSubject    = 255 // OpenID Connect Core section 2
	maxName       = 200
	maxGroups     = 1000
	maxGroupsSize = 48 << 10
)

// claims are the members of an ID token or a UserInfo answer.
type claims map[string]json.RawMessage

// identity is who a verified ID token speaks of. UserInfo is asked when the token alone does not say enough.
func (p *Provider) identity(ctx context.Context, m *metadata, token *oidc.IDToken, accessToken string) (policy.Identity, error) {
	var said claims
	if err := token.Claims(&said); err != nil {
		return policy.Identity{}, failure(ErrVerification, "the ID token's claims are not an object")
	}
	if p.lacks(m, said) && m.userinfoURL != "" {
		more, err := p.userinfo(ctx, m, accessToken)
		if err != nil {
			return policy.Identity{}, err
		}
		// OpenID Connect Core section 5.3.2: a UserInfo answer about anyone else must not be used.
		if more != nil && more.text("sub") != token.Subject {
			return policy.Identity{}, failure(ErrVerification, "UserInfo answered for another subject than the ID token's")
		}
		said.complete(more, p.cfg.GroupsClaim)
	}
	if said.overage(p.cfg.GroupsClaim) && said.find(p.cfg.GroupsClaim) == nil {
		audit.Add(ctx, slog.Bool("groups_overage", true)) // the person has no groups here, and the log says why (C08)
	}
	return p.identityOf(m, said)
}

// lacks reports an ID token that leaves a question open which UserInfo may answer.
func (p *Provider) lacks(m *metadata, said claims) bool {
	if said.text("email") == "" && slices.Contains(m.scopes, oidc.ScopeEmail) {
		return true
	}
	return said.find(p.cfg.GroupsClaim) == nil && (said.overage(p.cfg.GroupsClaim) || slices.Contains(m.scopes, "groups"))
}

// identityOf takes an identity from claims that have been verified.
func (p *Provider) identityOf(m *metadata, said claims) (policy.Identity, error) {
	subject := said.text("sub")
	switch {
	case subject == "":
		return policy.Identity{}, failure(ErrNoSubject, "the claims have no sub")
	case len(subject) > maxSubject || strings.IndexFunc(subject, unicode.IsControl) >= 0:
		return policy.Identity{}, failure(ErrVerification, "sub is not a subject identifier")
	}
	identity := policy.Identity{Issuer: m.issuer, Subject: subject, Name: said.name(), Groups: said.groups(p.cfg.GroupsClaim)}
	// C07: what is not one plain ASCII address is no e-mail at all.
	if email, ok := policy.NormaliseEmail(said.text("email")); ok {
		identity.Email = email
		identity.EmailUnverified = said.emailUnverified(p.cfg.RequireEmailVerified)
	}
	return identity, nil
}

// userinfo asks the UserInfo endpoint (OpenID Connect Core section 5.3). It returns nil when the provider does not want
// to say, which it may.
func (p *Provider) userinfo(ctx context.Context, m *metadata, accessToken string) (claims, error) {
	said := claims{}
	err := p.getJSON(ctx, m.userinfoURL, accessToken, &said)
	if status, ok := errors.AsType[*statusError](err); ok && status.code >= 400 && status.code < 500 && status.code != 429 {
		audit.Add(ctx, slog.Int("userinfo_status", status.code))
		return nil, nil
	}
	if err != nil {
		return nil, failure(ErrUnavailable, "UserInfo: %s", clean(err.Error(), accessToken))
	}
	return said, nil
}

// complete adds what only UserInfo said. The e-mail and the word on its verification come from one source: the flag of
// one must not vouch for the address of the other.
func (c claims) complete(more claims, groupsClaim string) {
	if more == nil {
		return
	}
	if c.text("email") == "" {
		for _, name := range []string{"email", "email_verified", "xms_edov"} {
			delete(c, name)
			if value, ok := more[name]; ok {
				c[name] = value
			}
		}
	}
	if c.find(groupsClaim) == nil {
		if value := more.find(groupsClaim); value != nil {
			c[groupsClaim] = value
		}
	}
	for _, name := range []string{"name", "preferred_username"} {
		if _, ok := c[name]; !ok && more[name] != nil {
			c[name] = more[name]
		}
	}
}

// text is a claim that is a string, else "".
func (c claims) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// name is for showing alone. It is short and has no control or bidirectional formatting characters.
func (c claims) name() string {
	name := c.text("name")
	if name == "" {
		name = c.text("preferred_username")
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > maxName {
		name = string(runes[:maxName])
	}
	return strings.TrimSpace(name)
}

// emailUnverified judges email_verified. Providers send true, "true", or nothing; anything else is no verification.
func (c claims) emailUnverified(required bool) bool {
	switch verified := string(c["email_verified"]); verified {
	case "true", `"true"`:
		return false
	case "", "null":
		// Entra's word for it, an optional claim: false when nobody has proved to own the address's domain.
		edov := string(c["xms_edov"])
		if edov == "true" || edov == `"true"` || edov == "1" || edov == `"1"` {
			return false
		}
		return required || edov != "" && edov != "null"
	default:
		return true
	}
}

// find is the claim of that name, else the value at the end of a way through nested objects, else nil.
func (c claims) find(name string) json.RawMessage {
	if value, ok := c[name]; ok && string(value) != "null" {
		return value
	}
	outer, inner, nested := strings.Cut(name, ".")
	if !nested {
		return nil
	}
	var object claims
	if json.Unmarshal(c[outer], &object) != nil {
		return nil
	}
	return object.find(inner)
}

// overage reports that the provider left the groups out because they were too many: as a distributed claim (OpenID
// Connect Core section 5.6.2) or, Entra in short tokens, by hasgroups. Entra's distributed claim points to an API that
// our access token does not open, so it is not followed.
func (c claims) overage(groupsClaim string) bool {
	var elsewhere claims
	_ = json.Unmarshal(c["_claim_names"], &elsewhere)
	return elsewhere[groupsClaim] != nil || string(c["hasgroups"]) == "true"
}

// groups reads the groups claim: an array of strings, a single string, or an array of objects with a name or, when they
// have none, an id. Anything else is no group.
func (c claims) groups(claim string) []string {
	value := c.find(claim)
	var single string
	if json.Unmarshal(value, &single) == nil && single != "" {
		return []string{single}
	}
	var members []json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return nil
	}
	var groups []string
	size := 0
	for _, member := range members {
		var group string
		if json.Unmarshal(member, &group) != nil {
			var object struct{ Name, ID string }
			_ = json.Unmarshal(member, &object)
			if group = object.Name; group == "" {
				group = object.ID
			}
		}
		if size += len(group); group == "" || size > maxGroupsSize || len(groups) == maxGroups {
			continue
		}
		groups = append(groups, group)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}
