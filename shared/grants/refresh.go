package grants

import (
	"encoding/json"
	"fmt"
	"slices"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
)

// RefreshRequest is a token request with a refresh token (RFC 6749 section 6). The client has been authenticated and
// the resource checked.
type RefreshRequest struct {
	Token    string
	ClientID string
	Scopes   []string // none means all that were granted
	Resource string   // the audience in force, in its canonical form

	// renewed is what the identity provider said to this very request, under the lease it took.
	renewed *renewal
}

// Renewal is what the identity provider said of a person when it was asked again.
type Renewal struct {
	Identity policy.Identity
	// RefreshToken replaces the provider's refresh token; empty when it keeps the one it gave before.
	RefreshToken string
}

type renewal struct {
	Renewal
	lease string
}

// outcome is how a refresh was decided.
type outcome int

const (
	refused  outcome = iota
	reused           // refused, and the grant was revoked for it
	ended            // refused, for the identity provider no longer vouches for the person
	retried          // the same answer once more; nothing was written
	minted           // the same refresh token, with a new access token
	rotated          // new tokens
	mustAsk          // the lease was taken: the caller asks the identity provider
	mustWait         // another caller holds the lease
)

// refreshed is the decision on a refresh.
type refreshed struct {
	outcome outcome
	issued  Issued
	// For mustAsk: the lease, and what to ask the provider with.
	lease         string
	upstreamToken string
	identity      policy.Identity
}

// response is the answer that a rotation gave, as it is kept for a retry under the predecessor.
type response struct {
	Access  string   `json:"at"`
	Expires stamp    `json:"exp"`
	Refresh string   `json:"rt"`
	Scopes  []string `json:"scopes"`
}

// Refresh decides on a refresh token. Its current form is rotated (RFC 9700 section 4.14.2). Its immediate predecessor
// gets the same answer again while its window is open, since the answer may have been lost on the way and several
// processes of one user may share the token (docs/decisions/0007-refresh-retry-window.md). An older one, or one whose
// window has closed, is a reuse and revokes the grant. An invention, or another client's request, changes nothing.
func (g Grant) Refresh(m Moment, r RefreshRequest) (*Grant, refreshed, error) {
	none := refreshed{}
	if !g.live(m) {
		return nil, none, errRefreshToken
	}
	gen, genuine := genuineRefresh(g.Family.MACKey, r.Token)
	if !genuine {
		return nil, none, errRefreshToken
	}
	if r.ClientID != g.ClientID {
		return nil, none, errOtherClient
	}
	// The server has another URL since: no resource server would take the tokens, and a client that goes on being given
	// them never learns that its person has to sign in again.
	if r.Resource != g.Resource {
		return nil, none, errOtherResource
	}
	current := matches(g.Family.Hash, r.Token)
	previous := matches(g.Family.Previous, r.Token)
	switch {
	case current:
	case gen >= g.Family.Generation:
		return nil, none, errRefreshToken // signed with our key, yet never handed out
	case !previous || !g.windowOpen(m):
		return g.tombstone(m), refreshed{outcome: reused}, errRefreshToken
	}
	scopes, err := oauth.NarrowScopes(r.Scopes, g.Scopes)
	if err != nil {
		return nil, none, err
	}
	if current {
		return g.refreshCurrent(m, r, scopes)
	}
	return g.retry(m, r, scopes)
}

// windowOpen reports whether the predecessor may still be retried: until retryWindow after the successor's first use.
func (g Grant) windowOpen(m Moment) bool {
	return g.Family.Used == 0 || at(m.Now) < g.Family.Used.add(retryWindow)
}

// refreshCurrent rotates, after the identity provider was asked where that is due.
func (g Grant) refreshCurrent(m Moment, r RefreshRequest, scopes []string) (*Grant, refreshed, error) {
	dataKey, err := g.unwrap(r.Token, g.Family.Wrap)
	if err != nil {
		return nil, refreshed{}, err
	}
	if next, decided, err := g.checkSession(m, r, dataKey); err != nil || decided.outcome != rotated {
		if next != nil && next.Revoked == 0 && next.Family.Used == 0 {
			next.Family.Used = at(m.Now) // whoever presents the successor has received it
		}
		return next, decided, err
	} else if next != nil {
		g = *next
	}
	out := refreshed{outcome: rotated, issued: Issued{GrantID: g.ID}}
	if out.issued.Identity, err = g.openIdentity(dataKey); err != nil {
		return nil, refreshed{}, err
	}
	if err := g.rotate(m, dataKey, &out.issued); err != nil {
		return nil, refreshed{}, err
	}
	return g.answer(m, r, dataKey, scopes, out)
}

// retry repeats the answer that the predecessor was given. Where its access token is nearly over, gone, or was asked
// with other scopes, the same refresh token comes with a new one.
func (g Grant) retry(m Moment, r RefreshRequest, scopes []string) (*Grant, refreshed, error) {
	kept, err := g.openResponse(r.Token)
	if err != nil {
		return nil, refreshed{}, err
	}
	out := refreshed{outcome: retried, issued: Issued{
		GrantID: g.ID, GrantEnds: g.Ends.time(),
		AccessToken: kept.Access, Expires: kept.Expires.time(), RefreshToken: kept.Refresh, Scopes: kept.Scopes,
	}}
	enough := kept.Expires >= at(m.Now).add(m.Lifetimes.slack())
	if enough && slices.Equal(kept.Scopes, scopes) && g.find(m, kept.Access) >= 0 {
		return nil, out, nil
	}
	dataKey, err := g.unwrap(kept.Refresh, g.Family.Wrap)
	if err != nil {
		return nil, refreshed{}, err
	}
	if next, decided, err := g.checkSession(m, r, dataKey); err != nil || decided.outcome != rotated {
		return next, decided, err
	} else if next != nil {
		g = *next
	}
	out.outcome = minted
	if out.issued.Identity, err = g.openIdentity(dataKey); err != nil {
		return nil, refreshed{}, err
	}
	return g.answer(m, r, dataKey, scopes, out)
}

// openResponse opens what the predecessor was answered.
func (g Grant) openResponse(predecessor string) (response, error) {
	var kept response
	sealed, err := g.openUnder(predecessor, purposeResponse, g.Family.Response)
	if err != nil {
		return response{}, err
	}
	if err := json.Unmarshal(sealed, &kept); err != nil {
		return response{}, fmt.Errorf("decoding refresh response: %w", err)
	}
	return kept, nil
}

// dataKey opens the data key for the holder of the current refresh token or of its predecessor.
func (g Grant) dataKey(token string) ([]byte, error) {
	if matches(g.Family.Previous, token) {
		kept, err := g.openResponse(token)
		if err != nil {
			return nil, err
		}
		token = kept.Refresh
	}
	return g.unwrap(token, g.Family.Wrap)
}

// answer mints the access token and keeps the answer for a retry of the presented token.
func (g Grant) answer(m Moment, r RefreshRequest, dataKey []byte, scopes []string, out refreshed) (*Grant, refreshed, error) {
	if err := g.mint(m, dataKey, scopes, &out.issued); err != nil {
		return nil, refreshed{}, err
	}
	kept, err := json.Marshal(response{
		Access: out.issued.AccessToken, Expires: at(out.issued.Expires), Refresh: out.issued.RefreshToken, Scopes: scopes,
	})
	if err != nil {
		return nil, refreshed{}, fmt.Errorf("encoding refresh response: %w", err)
	}
	g.Family.Response = g.under(r.Token, purposeResponse, kept)
	g.slide(m)
	out.issued.GrantEnds = g.Ends.time()
	return &g, out, nil
}
