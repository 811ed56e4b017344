package state

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"mcp-access-oauth/shared/table"
)

// Bounds of what a tool may keep.
const (
	MaxNameBytes  = 64
	MaxValueBytes = 64 << 10
	MaxList       = 100 // entries of one list
)

// maxTries bounds how often Update is tried against other writers of the same value.
const maxTries = 16

var (
	// ErrTooLarge is returned for a value or entry over MaxValueBytes.
	ErrTooLarge = errors.New("state: larger than 64 KB")
	// ErrName is returned for a name that is empty, over MaxNameBytes, or holds other characters than letters, digits,
	// '.', '_' and '-'.
	ErrName = errors.New("state: bad name")
	// ErrBusy is returned by Update when other writers kept winning. It passes.
	ErrBusy = fmt.Errorf("state: %w: too many writers of one value", table.ErrUnavailable)
)

// Store keeps people's state on a table. Its methods are safe for concurrent use.
//
// All errors other than those above are passing faults, most often table.ErrUnavailable.
type Store struct {
	Table table.Table
	Now   func() time.Time // nil means time.Now
	Rand  io.Reader        // nil means crypto/rand; safe for concurrent use
}

// For names one person's state; user is policy.Identity.User. It reads nothing.
func (s *Store) For(user string) User { return User{store: s, name: user} }

// User is the state of one person. The zero User has none: every method fails.
type User struct {
	store *Store
	name  string
}

// Get reads a value. It is nil when there is none, and only then.
func (u User) Get(ctx context.Context, name string) ([]byte, error) {
	item, err := u.get(ctx, name)
	if err != nil || item == nil {
		return nil, err
	}
	return item.Data, nil
}

// Set stores a value, whatever stood there before. Use Update for a value that depends on the one before it.
func (u User) Set(ctx context.Context, name string, value []byte) error {
	return u.Update(ctx, name, func([]byte) ([]byte, error) { return value, nil })
}

// Update changes a value by compare-and-swap: change is given the present value (nil when there is none) and returns
// the next; nil removes it. When another writer was faster, it is called again. Its error ends Update unchanged.
func (u User) Update(ctx context.Context, name string, change func(value []byte) ([]byte, error)) error {
	for range maxTries {
		item, err := u.get(ctx, name)
		if err != nil {
			return err
		}
		var present []byte
		if item != nil {
			present = item.Data
		}
		next, err := change(present)
		if err != nil {
			return err
		}
		switch err := u.put(ctx, name, item, next); {
		case err == nil:
			return nil
		case !errors.Is(err, table.ErrConflict) && !errors.Is(err, table.ErrExists):
			return err
		}
	}
	return ErrBusy
}

func (u User) put(ctx context.Context, name string, item *table.Item, next []byte) error {
	var err error
	switch {
	case len(next) > MaxValueBytes:
		return ErrTooLarge
	case next == nil && item == nil:
		return nil
	case next == nil:
		err = u.store.Table.Delete(ctx, item.Key, item.Version)
	case item == nil:
		_, err = u.store.Table.Create(ctx, table.Item{Key: u.valueKey(name), Data: next})
	case bytes.Equal(item.Data, next):
		return nil
	default:
		item.Data = next
		_, err = u.store.Table.Replace(ctx, *item)
	}
	if err != nil {
		return fmt.Errorf("writing state %s: %w", name, err)
	}
	return nil
}

func (u User) get(ctx context.Context, name string) (*table.Item, error) {
	if err := u.check(name); err != nil {
		return nil, err
	}
	items, err := u.store.Table.Get(ctx, u.valueKey(name))
	if err != nil {
		return nil, fmt.Errorf("reading state %s: %w", name, err)
	}
	if items[0] != nil && items[0].Data == nil {
		items[0].Data = []byte{} // DynamoDB's spelling of an empty value
	}
	return items[0], nil
}

// Entry is one entry of a list.
type Entry struct {
	Time time.Time
	Data []byte
}

// Append adds an entry to a list, of which the newest keep (at most MaxList) stay. It never waits for or loses against
// another writer: each entry is an item of its own, ordered by time.
func (u User) Append(ctx context.Context, list string, data []byte, keep int) error {
	if err := u.check(list); err != nil {
		return err
	}
	if len(data) > MaxValueBytes {
		return ErrTooLarge
	}
	id, err := u.store.orderedID()
	if err != nil {
		return err
	}
	key := table.Key{Partition: u.listPartition(list), Sort: id}
	if _, err := u.store.Table.Create(ctx, table.Item{Key: key, Data: data}); err != nil {
		return fmt.Errorf("appending to %s: %w", list, err)
	}
	return u.trim(ctx, list, min(max(keep, 1), MaxList))
}

// trim removes the entries past keep. Normally that is one; another writer may be removing the same.
func (u User) trim(ctx context.Context, list string, keep int) error {
	options := table.ListOptions{Descending: true, Limit: keep + 16}
	for {
		page, err := u.store.Table.List(ctx, u.listPartition(list), options)
		if err != nil {
			return fmt.Errorf("trimming %s: %w", list, err)
		}
		stay := min(keep, len(page.Items))
		for _, item := range page.Items[stay:] {
			if err := u.store.Table.Delete(ctx, item.Key, item.Version); err != nil && !errors.Is(err, table.ErrConflict) {
				return fmt.Errorf("trimming %s: %w", list, err)
			}
		}
		if page.Cursor == "" {
			return nil
		}
		keep -= stay
		options.Cursor = page.Cursor
	}
}

// List reads the newest entries of a list, newest first, at most limit (and at most MaxList) of them.
func (u User) List(ctx context.Context, list string, limit int) ([]Entry, error) {
	if err := u.check(list); err != nil {
		return nil, err
	}
	limit = min(max(limit, 1), MaxList)
	var entries []Entry
	options := table.ListOptions{Descending: true, Limit: limit}
	for {
		page, err := u.store.Table.List(ctx, u.listPartition(list), options)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", list, err)
		}
		for _, item := range page.Items {
			if entries = append(entries, Entry{timeOf(item.Key.Sort), item.Data}); len(entries) == limit {
				return entries, nil
			}
		}
		if page.Cursor == "" {
			return entries, nil
		}
		options.Cursor = page.Cursor
	}
}

func (u User) check(name string) error {
	if u.store == nil || u.name == "" {
		return errors.New("state: the zero User has no state")
	}
	if name == "" || len(name) > MaxNameBytes {
		return ErrName
	}
	for i := range len(name) {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '.' && c != '_' && c != '-' {
			return ErrName
		}
	}
	return nil
}

func (u User) valueKey(name string) table.Key {
	return table.Key{Partition: "state/" + hash("user", u.name), Sort: name}
}

func (u User) listPartition(list string) string {
	return "state/" + hash("user", u.name) + "/" + list
}

// hash joins its parts unambiguously and hashes them.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// orderedID is 16 hexadecimal digits of time and 16 of randomness; it sorts bytewise by time.
func (s *Store) orderedID() (string, error) {
	var random [8]byte
	if err := s.random(random[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%016x", s.now().UnixNano()) + hex.EncodeToString(random[:]), nil
}

func (s *Store) random(b []byte) error {
	source := s.Rand
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, b); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	return nil
}

func timeOf(id string) time.Time {
	var nanos int64
	if len(id) < 16 {
		return time.Time{}
	}
	if _, err := fmt.Sscanf(id[:16], "%016x", &nanos); err != nil {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}
