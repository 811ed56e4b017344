package grants

import (
	"time"

	"mcp-access-oauth/shared/oauth"
)

// Redemption is a token request with a code (RFC 6749 section 4.1.3). The client has been authenticated and the
// resource checked.
type Redemption struct {
	Code        string
	ClientID    string
	RedirectURI string // empty when not sent
	Verifier    string
	// Refreshable says whether the client may have a refresh token: it registered the grant type.
	Refreshable bool
	// Arrived is when the request reached the service; zero where that is not known.
	Arrived time.Time

	// sawUnredeemed is set by the store when the request's own first read found the code unredeemed.
	sawUnredeemed bool
}

// Redeem exchanges the code for tokens. A request that is wrong in any way changes nothing, so the code survives it
// (ATTACKS D02). A second request that is right in every way revokes the grant (RFC 6749 section 4.1.2), for then two
// parties hold all of the client's secrets.
func (g Grant) Redeem(m Moment, r Redemption) (*Grant, Issued, error) {
	if g.Revoked != 0 || !matches(g.Code.Hash, r.Code) {
		return nil, Issued{}, errCode
	}
	if r.ClientID != g.ClientID {
		return nil, Issued{}, errOtherClient
	}
	// OAuth 2.1 drops the parameter from this request, since PKCE does its work, and has servers enforce it on those
	// who still send it (draft-ietf-oauth-v2-1 section 10.2).
	if r.RedirectURI != "" && r.RedirectURI != g.RedirectURI {
		return nil, Issued{}, errRedirectURI
	}
	// A grant without a challenge matches no verifier (RFC 9700 section 4.8.2).
	if !oauth.VerifyS256(g.Challenge, r.Verifier) {
		return nil, Issued{}, errVerifier
	}
	if g.Code.Redeemed != 0 {
		if r.raced(g.Code.Redeemed) || !g.live(m) {
			return nil, Issued{}, errCode
		}
		return g.tombstone(m), Issued{}, errCode
	}
	if at(m.Now) >= g.Code.Expires {
		return nil, Issued{}, errCode
	}

	dataKey, err := g.unwrap(r.Code, g.Code.Wrap)
	if err != nil {
		return nil, Issued{}, err
	}
	issued := Issued{GrantID: g.ID}
	if issued.Identity, err = g.openIdentity(dataKey); err != nil {
		return nil, Issued{}, err
	}
	g.Code.Redeemed, g.Code.Wrap = at(m.Now), nil
	if len(g.Upstream.Token) > 0 {
		g.Upstream.Checked = at(m.Now) // the sign-in was less than codeLife ago
	}
	if r.Refreshable {
		macKey, err := m.random()
		if err != nil {
			return nil, Issued{}, err
		}
		g.Family.MACKey = macKey
		if err := g.rotate(m, dataKey, &issued); err != nil {
			return nil, Issued{}, err
		}
	}
	if err := g.mint(m, dataKey, g.Scopes, &issued); err != nil {
		return nil, Issued{}, err
	}
	g.slide(m)
	issued.GrantEnds = g.Ends.time()
	return &g, issued, nil
}

// raced reports whether the request was under way when the code was redeemed: it lost a race against another one, and
// that is no replay. Either its own first read found the code unredeemed, or it had arrived before and was held up, by a
// cold start perhaps.
func (r Redemption) raced(redeemed stamp) bool {
	return r.sawUnredeemed || !r.Arrived.IsZero() && at(r.Arrived) < redeemed
}

// rotate makes the next refresh token the current one and notes it in issued.
func (g *Grant) rotate(m Moment, dataKey []byte, issued *Issued) error {
	next := refreshState{Generation: g.Family.Generation + 1, MACKey: g.Family.MACKey, Previous: g.Family.Hash}
	token, err := newRefreshToken(m, g.ID, next.MACKey, next.Generation)
	if err != nil {
		return err
	}
	hash := digest(token)
	next.Hash, next.Wrap = hash[:], g.wrap(token, dataKey)
	g.Family, issued.RefreshToken = next, token
	return nil
}
