package grants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
)

// askTimeout leaves the holder of a lease the time to write down what the provider said.
const askTimeout = leaseLife - 4*time.Second

// Renew asks the identity provider with its refresh token whether it still vouches for the person it named before.
// ErrSessionEnded is its refusal; any other error is a passing fault, and only the RefreshToken of the Renewal that
// comes with it counts.
type Renew func(ctx context.Context, refreshToken string, previous policy.Identity) (Renewal, error)

// Refresh exchanges a refresh token for new tokens, or repeats the answer that it was given before. item is as for
// Redeem. ask is called at most once, when the person's session at the provider must be checked.
func (s *Store) Refresh(ctx context.Context, item *table.Item, r RefreshRequest, ask Renew) (Issued, error) {
	d, err := s.refresh(ctx, item, r)
	if err == nil && d.outcome == mustWait {
		d, err = s.await(ctx, d, r)
	}
	if err == nil && d.outcome == mustAsk {
		d, err = s.ask(ctx, d, r, ask)
	}
	if err == nil && d.outcome == mustWait { // once more: its write came late, and the next check is under way
		err = oauth.Unavailable(errors.New("awaiting the session's check: another one has begun"))
	}
	if err != nil {
		return Issued{}, orRefuse(err, errRefreshToken)
	}
	return d.issued, nil
}

// decision is a refreshed and the item it was made on.
type decision struct {
	refreshed
	item *table.Item
}

// refresh makes one decision and writes it, and an audit event where there is something to tell.
func (s *Store) refresh(ctx context.Context, item *table.Item, r RefreshRequest) (decision, error) {
	var d decision
	var g Grant
	written, err := s.advance(ctx, item, func(m Moment, loaded Grant) (next *Grant, err error) {
		g = loaded
		next, d.refreshed, err = g.Refresh(m, r)
		return next, err
	})
	if err != nil && !written.changed {
		return decision{}, err
	}
	d.item = written.item
	switch d.outcome {
	case rotated, minted:
		s.record(ctx, audit.TokenRefreshed, "allow", g, d.issued.Identity, "")
	case reused:
		s.record(ctx, audit.RefreshReused, "deny", g, policy.Identity{}, "an old refresh token was used again; the grant is revoked")
	case ended:
		s.record(ctx, audit.GrantEnded, "deny", g, d.identity, "the identity provider named another person")
	}
	return d, err
}

// ask calls the identity provider under the lease that d took, and writes down what it said. A client that has gone
// does not stop it: the provider may have rotated its own refresh token, and that must not be lost.
func (s *Store) ask(ctx context.Context, d decision, r RefreshRequest, ask Renew) (decision, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseLife)
	defer cancel()
	said, err := s.callProvider(ctx, d, ask)
	if err != nil {
		return decision{}, s.settleFault(ctx, d, r, said, err)
	}
	r.renewed = &renewal{Renewal: said, lease: d.lease}
	after, err := s.refresh(ctx, d.item, r)
	// The provider has spoken, so a fault of the table is worth two more tries. A write whose answer was lost is found
	// by the next one as our own rotation, and answered as a retry.
	for tries := 0; tries < 2 && errors.Is(err, table.ErrUnavailable) && ctx.Err() == nil; tries++ {
		after, err = s.reload(ctx, d.item, r)
	}
	if err == nil && (after.outcome == mustAsk || after.outcome == mustWait) {
		// Our lease ran out and another caller has taken its own. One question per request is enough.
		if after.outcome == mustAsk {
			_ = s.settleFault(ctx, after, r, Renewal{}, table.ErrUnavailable)
		}
		return decision{}, oauth.Unavailable(fmt.Errorf("checking session: the lease ran out"))
	}
	return after, err
}

func (s *Store) reload(ctx context.Context, item *table.Item, r RefreshRequest) (decision, error) {
	g, err := s.decode(item)
	if err != nil {
		return decision{}, err
	}
	if item, err = s.load(ctx, g.ID); err != nil {
		return decision{}, err
	}
	return s.refresh(ctx, item, r)
}

func (s *Store) callProvider(ctx context.Context, d decision, ask Renew) (Renewal, error) {
	if ask == nil {
		return Renewal{}, errors.New("no identity provider is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return ask(ctx, d.upstreamToken, d.identity)
}

// settleFault ends the grant when the provider has ended the session; on a passing fault it gives the lease back.
func (s *Store) settleFault(ctx context.Context, d decision, r RefreshRequest, said Renewal, fault error) error {
	refused := errors.Is(fault, ErrSessionEnded)
	var g Grant
	written, err := s.advance(ctx, d.item, func(m Moment, loaded Grant) (*Grant, error) {
		g = loaded
		if refused {
			return g.endSession(m, d.lease), nil
		}
		return g.releaseLease(m, d.lease, r.Token, said.RefreshToken), nil
	})
	if refused && err == nil && written.changed {
		s.record(ctx, audit.GrantEnded, "deny", g, d.identity, "the identity provider ended the session")
		return errSessionEnded
	}
	// A lease that could not be given back runs out by itself.
	return oauth.Unavailable(fmt.Errorf("checking session: %w", errors.Join(fault, err)))
}

// await looks at the grant until the caller that holds the lease has written its result. Where that was a fault, the
// waiting fail with it rather than ask the provider one after the other.
func (s *Store) await(ctx context.Context, d decision, r RefreshRequest) (decision, error) {
	const first, longest = 50 * time.Millisecond, 500 * time.Millisecond
	var waited time.Duration
	for step := first; waited < leaseLife; step = min(2*step, longest) {
		if err := s.wait(ctx, step); err != nil {
			return decision{}, oauth.Unavailable(fmt.Errorf("awaiting the session's check: %w", err))
		}
		waited += step
		g, err := s.decode(d.item)
		if err != nil {
			return decision{}, err
		}
		if d.item, err = s.load(ctx, g.ID); err != nil {
			return decision{}, err
		}
		if g, err = s.decode(d.item); err != nil {
			return decision{}, err
		}
		_, peek, err := g.Refresh(s.moment(), r)
		switch {
		case err == nil && peek.outcome == mustWait:
			continue
		case err == nil && peek.outcome == mustAsk:
			return decision{}, oauth.Unavailable(errors.New("awaiting the session's check: it came to nothing"))
		}
		return s.refresh(ctx, d.item, r)
	}
	return decision{}, oauth.Unavailable(errors.New("awaiting the session's check: it took too long"))
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
