package grants

import (
	"fmt"
	"slices"
	"time"

	"mcp-access-oauth/shared/policy"
)

// Access is what an access token gives. It is shared between requests: do not change what its slices hold.
type Access struct {
	GrantID, ClientID, ClientName string
	// Identity is the person. Its issuer is empty when the client acts for itself; its subject then is the client's id.
	Identity policy.Identity
	Scopes   []string
	// Resource is the audience, in its canonical form; the resource server compares it with its own.
	Resource string
	Expires  time.Time
}

// Authenticate answers for an access token. Its first use changes the grant: it proves that the answer which brought it
// has arrived, which begins the end of the predecessor's retry window, and records when the grant was last used.
func (g Grant) Authenticate(m Moment, token string) (*Grant, Access, error) {
	i := g.find(m, token)
	if !g.live(m) || i < 0 {
		return nil, Access{}, ErrInvalidToken
	}
	state := g.Access[i]
	dataKey, err := g.unwrap(token, state.Wrap)
	if err != nil {
		return nil, Access{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	a := Access{
		GrantID: g.ID, ClientID: g.ClientID, ClientName: g.ClientName,
		Scopes: g.scopesOf(state), Resource: g.Resource, Expires: state.Expires.time(),
	}
	if a.Identity, err = g.openIdentity(dataKey); err != nil {
		return nil, Access{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	if state.Used {
		return nil, a, nil
	}
	g.Access = slices.Clone(g.Access)
	g.Access[i].Used = true
	if state.Generation == g.Family.Generation && g.Family.Used == 0 {
		g.Family.Used = at(m.Now)
	}
	g.prune(m)
	g.slide(m)
	return &g, a, nil
}

func (g Grant) scopesOf(state accessState) []string {
	if state.Scopes != nil {
		return state.Scopes
	}
	return g.Scopes
}
