package bolt

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"mcp-access-oauth/shared/table"
)

const (
	// maxPage is the largest page of List.
	maxPage = 1000
	// maxExpired bounds how many expired items one page steps over, so that no call holds a read transaction long.
	maxExpired = 1000
)

// List implements table.Table.
func (t *Table) List(ctx context.Context, partition string, opts table.ListOptions) (table.Page, error) {
	if err := opts.Check(); err != nil {
		return table.Page{}, err
	}
	if len(partition) > table.MaxKeyBytes {
		return table.Page{}, nil // nothing can stand there, and its length would not fit a key
	}
	prefix := partitionPrefix(partition, table.MaxKeyBytes)
	// Keys strictly between low and high are listed; high nil means up to the partition's end.
	low, high := append(bytes.Clone(prefix), opts.After...), []byte(nil)
	if opts.Cursor != "" {
		last, err := table.ParsePartitionCursor(partition, opts.Cursor)
		if err != nil {
			return table.Page{}, err
		}
		switch place := encodeKey(last); {
		case opts.Descending:
			high = place
		case bytes.Compare(place, low) > 0:
			low = place
		}
	}
	w := walk{prefix: prefix, low: low, high: high, descending: opts.Descending, limit: opts.PageSize(maxPage)}
	now := t.now()
	var page table.Page
	err := t.view(ctx, func(tx *bbolt.Tx) error {
		last, err := w.run(tx.Bucket(itemsBucket), func(at, value []byte) (bool, error) {
			r := record(value)
			if err := r.check(); err != nil || !r.live(now) {
				return false, err
			}
			key, err := decodeKey(at)
			if err != nil {
				return false, err
			}
			page.Items = append(page.Items, *r.item(key))
			return true, nil
		})
		if err == nil && last != nil {
			var key table.Key
			if key, err = decodeKey(last); err == nil {
				page.Cursor = table.PartitionCursor(key)
			}
		}
		return faulty(err)
	})
	if err != nil {
		return table.Page{}, err
	}
	return page, nil
}

// ListIndex implements table.Table. Here, index and items are of one transaction.
func (t *Table) ListIndex(ctx context.Context, index table.Index, value string, opts table.ListOptions) (table.Page, error) {
	if err := table.CheckIndex(index, value); err != nil {
		return table.Page{}, err
	}
	var prefix []byte
	for _, i := range indexes {
		if i.index == index {
			prefix = indexPrefix(i.letter, value)
		}
	}
	low := prefix
	if opts.Cursor != "" {
		last, err := table.ParseIndexCursor(index, value, opts.Cursor)
		if err != nil {
			return table.Page{}, err
		}
		low = append(bytes.Clone(prefix), encodeKey(last)...)
	}
	w := walk{prefix: prefix, low: low, limit: opts.PageSize(table.MaxGet)}
	now := t.now()
	var page table.Page
	err := t.view(ctx, func(tx *bbolt.Tx) error {
		items := tx.Bucket(itemsBucket)
		last, err := w.run(tx.Bucket(indexBucket), func(at, _ []byte) (bool, error) {
			key, err := decodeKey(at[len(prefix):])
			if err != nil {
				return false, err
			}
			item, err := read(items, key)
			if err != nil || item == nil || !item.Live(now) {
				return false, err
			}
			page.Items = append(page.Items, *item)
			return true, nil
		})
		if err == nil && last != nil {
			var key table.Key
			if key, err = decodeKey(last[len(prefix):]); err == nil {
				page.Cursor = table.IndexCursor(index, value, key)
			}
		}
		return faulty(err)
	})
	if err != nil {
		return table.Page{}, err
	}
	return page, nil
}

func faulty(err error) error {
	if err == nil {
		return nil
	}
	return unavailable(err)
}

// walk visits the keys of a bucket that begin with prefix and stand strictly between low and high.
type walk struct {
	prefix, low, high []byte
	descending        bool
	limit             int
}

// run visits keys in order until limit visits said true. If there is more to visit it returns the last key visited.
func (w walk) run(bucket *bbolt.Bucket, visit func(key, value []byte) (bool, error)) (last []byte, err error) {
	cursor := bucket.Cursor()
	step := cursor.Next
	if w.descending {
		step = cursor.Prev
	}
	taken, passed := 0, 0
	for key, value := w.first(cursor); w.holds(key); key, value = step() {
		if taken == w.limit || passed == maxExpired {
			return last, nil
		}
		taking, err := visit(key, value)
		if err != nil {
			return nil, err
		}
		if taking {
			taken++
		} else {
			passed++
		}
		last = key
	}
	return nil, nil
}

// first seeks the first key in the walk's direction. A descending walk begins before high, or at the partition's end.
func (w walk) first(cursor *bbolt.Cursor) (key, value []byte) {
	if !w.descending {
		key, value = cursor.Seek(w.low)
		if bytes.Equal(key, w.low) {
			return cursor.Next()
		}
		return key, value
	}
	end := w.high
	if end == nil {
		end = successor(w.prefix)
	}
	if key, _ = cursor.Seek(end); key == nil {
		return cursor.Last()
	}
	return cursor.Prev()
}

func (w walk) holds(key []byte) bool {
	if !bytes.HasPrefix(key, w.prefix) {
		return false
	}
	if w.descending {
		return bytes.Compare(key, w.low) > 0
	}
	return true
}

// successor is the least key greater than every key that begins with prefix. A prefix begins with a length far below
// 0xffff, so there always is one.
func successor(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}
