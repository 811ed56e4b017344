package grants

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
)

// maxTries bounds how often a transition is tried against other writers of the same grant. Transitions converge: after
// one of many equal requests has won, the others find nothing left to write.
const maxTries = 32

// Store keeps grants on a table. Its methods are safe for concurrent use; do not copy it.
//
// Errors: an *oauth.Error is for the client; ErrInvalidToken, ErrExists and ErrNotFound mean what they say; all else is
// a passing fault, most often table.ErrUnavailable.
type Store struct {
	Table     table.Table
	Now       func() time.Time // nil means time.Now
	Rand      io.Reader        // nil means crypto/rand; safe for concurrent use
	Lifetimes Lifetimes
	Audit     *audit.Log
	// Settle is how long a redemption waits between reading a code and redeeming it, so that one which was sent beside it
	// is known for its twin and not taken for a replay. It is for where nothing says when requests arrived
	// (Redemption.Arrived); zero means no wait.
	Settle time.Duration

	memory memory
	// pause waits, for a redemption to settle and between looks at another caller's lease; tests move their clock in it.
	pause func(ctx context.Context, d time.Duration) error
}

func (s *Store) wait(ctx context.Context, d time.Duration) error {
	if s.pause != nil {
		return s.pause(ctx, d)
	}
	return sleep(ctx, d)
}

func (s *Store) moment() Moment {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return Moment{Now: now(), Rand: s.Rand, Lifetimes: s.Lifetimes.withDefaults()}
}

// Create stores the grant of a completed sign-in and returns its code. The id is the transaction's, so that a
// transaction becomes a grant once: ErrExists afterwards, whatever became of the grant.
func (s *Store) Create(ctx context.Context, n NewGrant) (code string, err error) {
	g, code, err := New(s.moment(), n)
	if err != nil {
		return "", err
	}
	return code, s.create(ctx, g)
}

// CreateForClient stores the grant of a client that acts for itself, and returns its one access token.
func (s *Store) CreateForClient(ctx context.Context, n NewGrant) (Issued, error) {
	g, issued, err := NewForClient(s.moment(), n)
	if err != nil {
		return Issued{}, err
	}
	if err := s.create(ctx, g); err != nil {
		return Issued{}, err
	}
	s.record(ctx, audit.ClientCredentials, "allow", g, policy.Identity{}, "")
	return issued, nil
}

func (s *Store) create(ctx context.Context, g Grant) error {
	item, err := g.item()
	if err != nil {
		return err
	}
	if _, err = s.Table.Create(ctx, item); errors.Is(err, table.ErrExists) {
		return ErrExists
	} else if err != nil {
		return fmt.Errorf("creating grant: %w", err)
	}
	return nil
}

// Redeem exchanges a code for tokens. item is the grant's item as the caller read it, together with the client's; nil
// when there was none.
func (s *Store) Redeem(ctx context.Context, item *table.Item, r Redemption) (Issued, error) {
	var issued Issued
	var g Grant
	first, err := s.decode(item)
	if err != nil {
		return Issued{}, orRefuse(err, errCode)
	}
	if r.sawUnredeemed = first.Code.Redeemed == 0; r.sawUnredeemed && s.Settle > 0 {
		if err := s.wait(ctx, s.Settle); err != nil {
			return Issued{}, oauth.Unavailable(fmt.Errorf("redeeming code: %w", err))
		}
	}
	written, err := s.advance(ctx, item, func(m Moment, loaded Grant) (next *Grant, err error) {
		g = loaded
		next, issued, err = g.Redeem(m, r)
		return next, err
	})
	switch {
	case err == nil:
		s.record(ctx, audit.CodeRedeemed, "allow", g, issued.Identity, "")
	case written.changed:
		s.record(ctx, audit.CodeReplayed, "deny", g, policy.Identity{}, "a code was redeemed twice; the grant is revoked")
	}
	return issued, orRefuse(err, errCode)
}

// Authenticate answers for an access token with one read; its first use costs one write besides. Errors:
// ErrInvalidToken, or a passing fault.
func (s *Store) Authenticate(ctx context.Context, accessToken string) (Access, error) {
	kind, id, ok := split(accessToken)
	if !ok || kind != KindAccess {
		return Access{}, ErrInvalidToken
	}
	item, err := s.load(ctx, id)
	if err != nil {
		return Access{}, orRefuse(err, ErrInvalidToken)
	}
	sum := digest(accessToken)
	if a, ok := s.memory.get(sum, item.Data, s.moment().Now); ok {
		return a, nil
	}
	var a Access
	written, err := s.advance(ctx, item, func(m Moment, g Grant) (next *Grant, err error) {
		next, a, err = g.Authenticate(m, accessToken)
		return next, err
	})
	if err != nil {
		return Access{}, orRefuse(err, ErrInvalidToken)
	}
	s.memory.remember(sum, written.item.Data, a)
	return a, nil
}

// Revoke ends a grant, whoever asks: an operator's tool. ErrNotFound when there is nothing to end.
func (s *Store) Revoke(ctx context.Context, id, reason string) error {
	return s.revoke(ctx, id, reason, func(Grant) bool { return true })
}

// RevokeOwned ends a grant of this person (policy.Identity.User). Another person's is ErrNotFound, as an unknown one is
// (ATTACKS E07).
func (s *Store) RevokeOwned(ctx context.Context, user, id string) error {
	return s.revoke(ctx, id, "by the person", func(g Grant) bool { return g.User == UserIndex(user) })
}

func (s *Store) revoke(ctx context.Context, id, reason string, mine func(Grant) bool) error {
	item, err := s.load(ctx, id)
	if err != nil {
		return err
	}
	var g Grant
	_, err = s.advance(ctx, item, func(m Moment, loaded Grant) (*Grant, error) {
		g = loaded
		if next := g.Revoke(m); next != nil && mine(g) {
			return next, nil
		}
		return nil, ErrNotFound
	})
	if err == nil {
		s.record(ctx, audit.GrantRevoked, "allow", g, policy.Identity{}, reason)
	}
	return err
}

// RevokeToken is RFC 7009: it ends what the token gives, if it is a token of this client, and does nothing otherwise.
// item is as for Redeem.
func (s *Store) RevokeToken(ctx context.Context, item *table.Item, token, clientID string) error {
	var g Grant
	written, err := s.advance(ctx, item, func(m Moment, loaded Grant) (*Grant, error) {
		g = loaded
		return g.RevokeToken(m, token, clientID), nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && written.changed {
		s.record(ctx, audit.GrantRevoked, "allow", g, policy.Identity{}, "by the client")
	}
	return err
}

// Introspect is RFC 7662 for a token of this client. item is as for Redeem.
func (s *Store) Introspect(item *table.Item, token, clientID string) (Introspection, bool, error) {
	g, err := s.decode(item)
	if errors.Is(err, ErrNotFound) {
		return Introspection{}, false, nil
	} else if err != nil {
		return Introspection{}, false, err
	}
	in, ok := g.Introspect(s.moment(), token, clientID)
	return in, ok, nil
}

// advanced is where a transition has led: the item as it now stands, and whether this call wrote it.
type advanced struct {
	item    *table.Item
	changed bool
}

// advance lets step decide on the grant and writes what it returns, until the write wins or there is nothing to write.
// step's own error is returned with the write done: a reuse is refused and revokes. It runs again, on the grant as it
// then is, when another writer was faster.
func (s *Store) advance(ctx context.Context, item *table.Item, step func(Moment, Grant) (*Grant, error)) (advanced, error) {
	for range maxTries {
		g, err := s.decode(item)
		if err != nil {
			return advanced{}, err
		}
		next, verdict := step(s.moment(), g)
		if next == nil {
			return advanced{item: item}, verdict
		}
		replacement, err := next.item()
		if err != nil {
			return advanced{}, err
		}
		replacement.Version = item.Version
		version, err := s.Table.Replace(ctx, replacement)
		if err == nil {
			replacement.Version = version
			return advanced{item: &replacement, changed: true}, verdict
		}
		if !errors.Is(err, table.ErrConflict) {
			return advanced{}, fmt.Errorf("replacing grant: %w", err)
		}
		if item, err = s.load(ctx, g.ID); err != nil {
			return advanced{}, err
		}
	}
	return advanced{}, fmt.Errorf("replacing grant: %w: other writers were faster %d times", table.ErrUnavailable, maxTries)
}

// load reads one grant's item; ErrNotFound when it is absent.
func (s *Store) load(ctx context.Context, id string) (*table.Item, error) {
	items, err := s.Table.Get(ctx, Key(id))
	if err != nil {
		return nil, fmt.Errorf("reading grant: %w", err)
	}
	if items[0] == nil {
		return nil, ErrNotFound
	}
	return items[0], nil
}

func (s *Store) decode(item *table.Item) (Grant, error) {
	if item == nil {
		return Grant{}, ErrNotFound
	}
	return Decode(*item)
}

// orRefuse gives an absent grant the refusal that an unknown secret gets.
func orRefuse(err, refusal error) error {
	if errors.Is(err, ErrNotFound) {
		return refusal
	}
	return err
}

func (s *Store) record(ctx context.Context, action, decision string, g Grant, who policy.Identity, reason string) {
	s.Audit.Record(ctx, audit.Event{
		Action: action, Decision: decision, Issuer: who.Issuer, Subject: who.Subject, Email: who.Email,
		ClientID: g.ClientID, GrantID: g.ID, Reason: reason,
	})
}
