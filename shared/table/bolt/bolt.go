// Package bolt keeps a table.Table in one file, by bbolt: the embedded backend of a server that runs on one machine.
//
// It owns the file, its lock, the encoding of items and the removal of expired ones. Every write is on the disk when
// its call returns: a power cut loses nothing that was answered (bbolt's NoSync is never set). Writes that come at the
// same time share one transaction, and so one wait for the disk. What the data means is the caller's affair.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"mcp-access-oauth/shared/table"
)

const (
	lockTimeout   = 500 * time.Millisecond
	sweepInterval = time.Minute
)

var (
	itemsBucket = []byte("items")
	indexBucket = []byte("index")
)

// Table is a table.Table in one file. Make it with Open.
type Table struct {
	db    *bbolt.DB
	now   func() time.Time
	queue queue

	close    sync.Once
	closing  context.CancelFunc
	sweeping sync.WaitGroup
	closed   error
}

var _ table.Table = (*Table)(nil)

// Open opens the store at path, or creates it with mode 0600, its folder with 0700. Only one process can have a store
// open: if another does, Open waits half a second for it and then returns an error that says so and names the file.
func Open(path string, now func() time.Time) (*Table, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the store's folder: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening store %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{itemsBucket, indexBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing store %s: %w", path, err), db.Close())
	}

	t := &Table{db: db, now: now, queue: queue{db: db, turn: make(chan struct{}, 1)}}
	ctx, cancel := context.WithCancel(context.Background())
	t.closing = cancel
	t.sweeping.Go(func() { t.sweepEvery(ctx, sweepInterval) })
	return t, nil
}

// Close waits for calls under way, ends the sweeping and releases the file. Calls that come later find the table
// unavailable. It may be called twice.
func (t *Table) Close() error {
	t.close.Do(func() {
		t.closing()
		t.sweeping.Wait()
		t.closed = t.db.Close()
	})
	return t.closed
}

// Get implements table.Table.
func (t *Table) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	if len(keys) > table.MaxGet {
		return nil, fmt.Errorf("reading %d items in one call: the most is %d", len(keys), table.MaxGet)
	}
	found := make([]*table.Item, len(keys))
	err := t.view(ctx, func(tx *bbolt.Tx) error {
		items := tx.Bucket(itemsBucket)
		now := t.now()
		for i, key := range keys {
			if !key.Possible() {
				continue
			}
			item, err := read(items, key)
			if err != nil {
				return err
			}
			if item != nil && item.Live(now) {
				found[i] = item
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Create implements table.Table.
func (t *Table) Create(ctx context.Context, item table.Item) (string, error) {
	return t.put(ctx, item, func(stored record, found bool) error {
		if found && stored.live(t.now()) {
			return table.ErrExists
		}
		return nil
	})
}

// Replace implements table.Table.
func (t *Table) Replace(ctx context.Context, item table.Item) (string, error) {
	return t.put(ctx, item, func(stored record, found bool) error {
		if !found || !stored.live(t.now()) || string(stored.version()) != item.Version {
			return table.ErrConflict
		}
		return nil
	})
}

// put stores item under a new version if condition has nothing against what stands there.
func (t *Table) put(
	ctx context.Context, item table.Item, condition func(stored record, found bool) error,
) (version string, err error) {
	if err := item.Check(); err != nil {
		return "", err
	}
	version = table.NewVersion()
	key, value := encodeKey(item.Key), encode(item, version)
	err = t.queue.do(ctx, func(tx *bbolt.Tx) (refused, fault error) {
		items := tx.Bucket(itemsBucket)
		stored, found, fault := lookUp(items, key)
		if fault != nil {
			return nil, fault
		}
		if refused := condition(stored, found); refused != nil {
			return refused, nil
		}
		// The record is compared before Put, after which its bytes are no longer promised to stand.
		if fault := reindex(tx.Bucket(indexBucket), key, stored, value); fault != nil {
			return nil, fault
		}
		return nil, items.Put(key, value)
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// Delete implements table.Table.
func (t *Table) Delete(ctx context.Context, key table.Key, version string) error {
	if !key.Possible() {
		return table.ErrConflict
	}
	at := encodeKey(key)
	return t.queue.do(ctx, func(tx *bbolt.Tx) (refused, fault error) {
		items := tx.Bucket(itemsBucket)
		stored, found, fault := lookUp(items, at)
		if fault != nil {
			return nil, fault
		}
		if !found || !stored.live(t.now()) || string(stored.version()) != version {
			return table.ErrConflict, nil
		}
		return nil, remove(tx, at, stored)
	})
}

// remove deletes the item at key with its index entries.
func remove(tx *bbolt.Tx, key []byte, stored record) error {
	if err := reindex(tx.Bucket(indexBucket), key, stored, nil); err != nil {
		return err
	}
	return tx.Bucket(itemsBucket).Delete(key)
}

// view runs read in a read transaction. A fault of the store is ErrUnavailable to the caller, who may try again.
func (t *Table) view(ctx context.Context, read func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	tx, err := t.db.Begin(false)
	if err != nil {
		return unavailable(err)
	}
	defer tx.Rollback()
	return read(tx)
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", table.ErrUnavailable, err)
}
