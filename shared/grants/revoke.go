package grants

import (
	"slices"
	"time"

	"mcp-access-oauth/shared/policy"
)

// RevokeToken ends what a token of this client gives (RFC 7009 section 2): an access token by itself, a refresh token
// with its whole grant. A refresh token of an older generation counts, for its holder wants the grant gone. It returns
// nil when there is nothing to revoke.
func (g Grant) RevokeToken(m Moment, token, clientID string) *Grant {
	if !g.live(m) || g.ClientID != clientID {
		return nil
	}
	if gen, ok := genuineRefresh(g.Family.MACKey, token); ok {
		if gen >= g.Family.Generation && !matches(g.Family.Hash, token) {
			return nil // signed with our key, yet never handed out
		}
		return g.tombstone(m)
	}
	i := g.find(m, token)
	if i < 0 {
		return nil
	}
	g.prune(m)
	g.Access = slices.DeleteFunc(g.Access, func(a accessState) bool { return matches(a.Hash, token) })
	if len(g.Access) == 0 && len(g.Family.Hash) == 0 {
		return g.tombstone(m) // nothing is left that could be used
	}
	return &g
}

// Introspection is what a live token gives (RFC 7662 section 2.2).
type Introspection struct {
	Kind     Kind
	ClientID string
	Identity policy.Identity
	Scopes   []string
	Resource string
	Expires  time.Time
	AuthTime time.Time
}

// Introspect describes a live token of this client; ok is false for every other. It changes nothing: neither is a first
// use recorded nor a reuse punished, for the caller is the client and not who presented the token to it.
func (g Grant) Introspect(m Moment, token, clientID string) (in Introspection, ok bool) {
	if !g.live(m) || g.ClientID != clientID {
		return Introspection{}, false
	}
	in = Introspection{ClientID: g.ClientID, Resource: g.Resource, AuthTime: g.AuthTime.time()}
	wrap := g.Family.Wrap
	if i := g.find(m, token); i >= 0 {
		in.Kind, in.Scopes, in.Expires, wrap = KindAccess, g.scopesOf(g.Access[i]), g.Access[i].Expires.time(), g.Access[i].Wrap
	} else if matches(g.Family.Hash, token) {
		in.Kind, in.Scopes, in.Expires = KindRefresh, g.Scopes, g.Ends.time()
	} else {
		return Introspection{}, false
	}
	dataKey, err := g.unwrap(token, wrap)
	if err != nil {
		return Introspection{}, false
	}
	if in.Identity, err = g.openIdentity(dataKey); err != nil {
		return Introspection{}, false
	}
	return in, true
}
