package grants

import "mcp-access-oauth/shared/policy"

// The session at the identity provider. Before an access token is minted from a refresh token, the provider is asked
// whether it still vouches for the person: at most once per access-token life, and by one caller at a time, who holds
// a lease that is written to the grant before the call, since providers that rotate their refresh tokens would take a
// second caller for a thief.

// checkDue reports whether the provider must be asked before a token is minted. It is due a little before the claims
// are one access-token life old, when clients refresh; no access token is minted to outlive that age.
func (g Grant) checkDue(m Moment) bool {
	return len(g.Upstream.Token) > 0 && at(m.Now) >= g.Upstream.Checked.add(m.Lifetimes.Access-m.Lifetimes.slack())
}

// checkSession decides whether minting may go on (outcome rotated; next is non-nil when the provider's answer was taken
// in), or what must happen first.
func (g Grant) checkSession(m Moment, r RefreshRequest, dataKey []byte) (next *Grant, out refreshed, err error) {
	leased := g.Upstream.Lease != "" && at(m.Now) < g.Upstream.LeaseUntil
	switch {
	case r.renewed != nil && g.Upstream.Lease == r.renewed.lease:
		return g.renew(m, *r.renewed, dataKey)
	case !g.checkDue(m):
		return nil, refreshed{outcome: rotated}, nil
	case leased:
		return nil, refreshed{outcome: mustWait}, nil
	}
	out.outcome = mustAsk
	if out.identity, err = g.openIdentity(dataKey); err != nil {
		return nil, refreshed{}, err
	}
	token, err := g.openBox(dataKey, purposeUpstream, g.Upstream.Token)
	if err != nil {
		return nil, refreshed{}, err
	}
	out.upstreamToken = string(token)
	random, err := m.random()
	if err != nil {
		return nil, refreshed{}, err
	}
	out.lease = base62(random, secretLength)
	g.Upstream.Lease, g.Upstream.LeaseUntil = out.lease, at(m.Now).add(leaseLife)
	g.prune(m)
	return &g, out, nil
}

// renew takes the provider's answer in: claims and groups anew. Another issuer or subject is another person, and ends
// the grant (OpenID Connect Core section 12.2).
func (g Grant) renew(m Moment, r renewal, dataKey []byte) (*Grant, refreshed, error) {
	before, err := g.openIdentity(dataKey)
	if err != nil {
		return nil, refreshed{}, err
	}
	if !samePerson(before, r.Identity) {
		return g.tombstone(m), refreshed{outcome: ended, identity: before}, errSessionEnded
	}
	if err := g.sealIdentity(dataKey, r.Identity); err != nil {
		return nil, refreshed{}, err
	}
	if r.RefreshToken != "" {
		g.Upstream.Token = g.box(dataKey, purposeUpstream, []byte(r.RefreshToken))
	}
	g.Upstream.Checked, g.Upstream.Lease, g.Upstream.LeaseUntil = at(m.Now), "", 0
	return &g, refreshed{outcome: rotated}, nil
}

// endSession is the transition on the provider's refusal. A caller whose lease is no longer in force changes nothing:
// another one has asked since, and may have been given a newer token.
func (g Grant) endSession(m Moment, lease string) *Grant {
	if !g.live(m) || g.Upstream.Lease != lease {
		return nil
	}
	return g.tombstone(m)
}

// releaseLease is the transition on a passing fault of the provider: as if it had not been asked. Only a refresh token
// that the provider rotated before things went wrong is kept, or the next question would be asked with a dead one.
func (g Grant) releaseLease(m Moment, lease, presented, rotatedTo string) *Grant {
	if !g.live(m) || g.Upstream.Lease != lease {
		return nil
	}
	if dataKey, err := g.dataKey(presented); err == nil && rotatedTo != "" {
		g.Upstream.Token = g.box(dataKey, purposeUpstream, []byte(rotatedTo))
	}
	g.Upstream.Lease, g.Upstream.LeaseUntil = "", 0
	g.prune(m)
	return &g
}

func samePerson(a, b policy.Identity) bool { return a.Issuer == b.Issuer && a.Subject == b.Subject }
