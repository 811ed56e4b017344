package clients

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

// How long registrations live.
const (
	// NeverUsed is the life of a registration that no one has approved.
	NeverUsed = 24 * time.Hour
	// UsedLife is how long a registration outlives its last use.
	UsedLife = 90 * 24 * time.Hour
	// writeInterval keeps the moving of an expiry to one write a day.
	writeInterval = 24 * time.Hour
)

// unknownOrWrong is told alike of a client that is not there and of one that proved itself wrongly.
const unknownOrWrong = "the client is not known here, or did not authenticate as it is registered"

// ErrUnknown is answered for an id that names no client: made up, malformed, expired or deleted alike. It is an
// *oauth.Error, 401 invalid_client, which tells a client with a remembered registration to register again.
var ErrUnknown error = &oauth.Error{
	Code:        oauth.InvalidClient,
	Description: unknownOrWrong,
	Status:      http.StatusUnauthorized,
}

// ErrUnavailable marks a client that cannot be told known from unknown now: its document cannot be fetched. The error
// around it is an *oauth.Error, 503 temporarily_unavailable.
var ErrUnavailable = errors.New("clients: unavailable")

// Store finds clients.
type Store struct {
	Table table.Table
	Now   func() time.Time
	// PreRegistered are the operator's clients by id; LoadFile makes it. They win over every other record.
	PreRegistered map[string]Client
	// Documents fetches metadata documents. Nil turns them off.
	Documents *Documents
}

// Lookup finds a client. Errors: ErrUnknown; an *oauth.Error for a metadata document that is wrong; one that wraps
// ErrUnavailable for a document that cannot be fetched; one that wraps table.ErrUnavailable.
func (s *Store) Lookup(ctx context.Context, id string) (Client, error) {
	if c, ok := s.PreRegistered[id]; ok {
		return c, nil
	}
	key, ok := Key(id)
	if !ok {
		return Client{}, ErrUnknown
	}
	if s.Documents != nil && isDocumentID(id) {
		if c, ok := s.Documents.fresh(id, s.Now()); ok {
			return c, nil
		}
	}
	items, err := s.Table.Get(ctx, key)
	if err != nil {
		return Client{}, fmt.Errorf("reading client: %w", err)
	}
	return s.Resolve(ctx, id, items[0])
}

// Resolve is Lookup for a caller that has already read the item at Key(id), together with others; nil means that there
// is none. It reads no table, and fetches only for a Document client whose copy is absent or no longer fresh.
func (s *Store) Resolve(ctx context.Context, id string, item *table.Item) (Client, error) {
	if c, ok := s.PreRegistered[id]; ok {
		return c, nil
	}
	if isDocumentID(id) {
		if s.Documents == nil {
			return Client{}, ErrUnknown
		}
		return s.resolveDocument(ctx, id, item)
	}
	if item == nil || !item.Live(s.Now()) {
		return Client{}, ErrUnknown
	}
	c, err := Decode(*item)
	if err != nil {
		return Client{}, err
	}
	if c.ID != id {
		return Client{}, ErrUnknown
	}
	return c, nil
}

// resolveDocument prefers the newest copy that is still fresh, in memory or in the table, and else fetches. When the
// fetch fails for a passing reason, the table's copy serves on: it lives a day at most from when it was fetched.
func (s *Store) resolveDocument(ctx context.Context, id string, item *table.Item) (Client, error) {
	now := s.Now()
	var copied Client
	if item != nil && item.Live(now) {
		c, err := Decode(*item)
		if err != nil || c.ID != id || c.Kind != Document {
			return Client{}, errors.Join(errors.New("clients: a document's copy is unreadable"), err)
		}
		copied = c
	}
	if c, ok := s.Documents.fresh(id, now); ok && !copied.Fetched.After(c.Fetched) {
		c.stored = copied.stored
		return c, nil
	}
	if now.Before(copied.FreshUntil) {
		return copied, nil
	}
	c, err := s.Documents.fetch(ctx, id)
	if err != nil {
		if copied.ID != "" && errors.Is(err, ErrUnavailable) {
			return copied, nil
		}
		return Client{}, err
	}
	c.stored = copied.stored
	return c, nil
}

// Approved is called once a person has approved the client: a registration begins its 90 days, and a metadata document
// is kept in the table.
func (s *Store) Approved(ctx context.Context, c Client) error { return s.Used(ctx, c, s.Now()) }

// Used is called when the client has been given tokens that live until the given time. It costs nothing but one write a
// day at most: it moves a registration's expiry past its grants', and keeps a metadata document's copy current.
func (s *Store) Used(ctx context.Context, c Client, until time.Time) error {
	switch c.Kind {
	case Registered:
		now := s.Now()
		need := latest(now.Add(UsedLife-writeInterval), until)
		return s.extend(ctx, c, need, latest(now.Add(UsedLife), until.Add(writeInterval)))
	case Document:
		return s.keepDocument(ctx, c)
	}
	return nil
}

// extend moves the client's expiry to target, unless it is already at need or later.
func (s *Store) extend(ctx context.Context, c Client, need, target time.Time) error {
	return extend(ctx, s.Table, s.Now, c, need, target)
}

func extend(ctx context.Context, t table.Table, now func() time.Time, c Client, need, target time.Time) error {
	const attempts = 4 // a conflict means that someone else has moved it, most likely far enough
	for range attempts {
		if c.stored.version == "" {
			key, ok := Key(c.ID)
			if !ok {
				return ErrUnknown
			}
			items, err := t.Get(ctx, key)
			if err != nil {
				return fmt.Errorf("reading client: %w", err)
			}
			if items[0] == nil || !items[0].Live(now()) {
				return ErrUnknown
			}
			if c, err = Decode(*items[0]); err != nil {
				return err
			}
		}
		if c.stored.expires.IsZero() || !c.stored.expires.Before(need) {
			return nil
		}
		item, err := encode(c)
		if err != nil {
			return err
		}
		item.Version, item.Expires = c.stored.version, target
		switch _, err = t.Replace(ctx, item); {
		case err == nil:
			return nil
		case !errors.Is(err, table.ErrConflict):
			return fmt.Errorf("extending client: %w", err)
		}
		c.stored = stored{}
	}
	return fmt.Errorf("extending client: %w", table.ErrUnavailable)
}

// keepDocument writes the document's copy if the table has none, or one that says something else. Whoever writes first
// has written enough, and this process remembers that it is there.
func (s *Store) keepDocument(ctx context.Context, c Client) error {
	now, expires := s.Now(), c.Fetched.Add(maxDocumentLife)
	live := now.Before(c.stored.expires)
	if !now.Before(expires) || live && c.stored.fingerprint == c.Fingerprint() {
		return nil
	}
	item, err := encode(c)
	if err != nil {
		return err
	}
	item.Expires = expires
	if live {
		item.Version = c.stored.version
		item.Version, err = s.Table.Replace(ctx, item)
	} else {
		item.Version, err = s.Table.Create(ctx, item)
	}
	if err != nil && !errors.Is(err, table.ErrExists) && !errors.Is(err, table.ErrConflict) {
		return fmt.Errorf("keeping client's document: %w", err)
	}
	c.stored = stored{version: item.Version, expires: expires, fingerprint: c.Fingerprint()}
	s.Documents.kept(c)
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
