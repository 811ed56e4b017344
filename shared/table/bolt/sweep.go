package bolt

import (
	"bytes"
	"context"
	"time"

	"go.etcd.io/bbolt"
)

// sweepStep bounds how many items one step of a sweep looks at, and so how many one transaction removes.
const sweepStep = 512

// Sweep removes all items that have expired and returns their number. It goes in short steps, between which other
// calls have their turn. The table sweeps itself every minute; no reader ever sees an expired item in any case.
func (t *Table) Sweep(ctx context.Context) (removed int, err error) {
	var after []byte
	for {
		expired, last, err := t.expired(ctx, after)
		if err != nil {
			return removed, err
		}
		if len(expired) > 0 {
			n, err := t.removeExpired(ctx, expired)
			removed += n
			if err != nil {
				return removed, err
			}
		}
		if last == nil {
			return removed, nil
		}
		after = last
	}
}

// expired looks at the next items after a key. It returns copies of the keys of those expired, and where to go on.
func (t *Table) expired(ctx context.Context, after []byte) (keys [][]byte, last []byte, err error) {
	err = t.view(ctx, func(tx *bbolt.Tx) error {
		now := t.now()
		cursor := tx.Bucket(itemsBucket).Cursor()
		key, value := cursor.Seek(after)
		if after != nil && bytes.Equal(key, after) {
			key, value = cursor.Next()
		}
		for looked := 0; key != nil; key, value = cursor.Next() {
			// A record of a format that this version does not know is not ours to remove.
			if r := record(value); r.check() == nil && !r.live(now) {
				keys = append(keys, bytes.Clone(key))
			}
			if looked++; looked == sweepStep {
				last = bytes.Clone(key)
				return nil
			}
		}
		return nil
	})
	return keys, last, err
}

// removeExpired removes those of keys that are still expired: since they were read, Create may have reused a key.
func (t *Table) removeExpired(ctx context.Context, keys [][]byte) (removed int, err error) {
	err = t.queue.do(ctx, func(tx *bbolt.Tx) (refused, fault error) {
		now := t.now()
		items := tx.Bucket(itemsBucket)
		for _, key := range keys {
			stored, found, fault := lookUp(items, key)
			if fault != nil {
				return nil, fault
			}
			if !found || stored.live(now) {
				continue
			}
			if fault := remove(tx, key, stored); fault != nil {
				return nil, fault
			}
			removed++
		}
		return nil, nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// sweepEvery sweeps until ctx ends. A sweep that fails leaves its work to the next: expired items are invisible, and
// a store that cannot be written shows it to every other call.
func (t *Table) sweepEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_, _ = t.Sweep(ctx)
		}
	}
}
