// Package table is the storage interface of the whole product: a keyed document store with compare-and-swap and
// expiry. It knows bytes, keys, versions and expiry, and nothing of grants or clients. Two backends implement it,
// table/bolt (embedded) and table/dynamo (DynamoDB); table/tabletest is the one suite that both must pass.
package table

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrExists is returned by Create when a live item already stands under the key.
	ErrExists = errors.New("table: item exists")
	// ErrConflict is returned by Replace and Delete when the stored item is absent, expired or has another version.
	ErrConflict = errors.New("table: version conflict")
	// ErrUnavailable wraps a fault that passes: throttling, a time-out, a lost connection. The write may or may not
	// have happened; nothing else is known. Endpoints answer it with 503 and Retry-After.
	ErrUnavailable = errors.New("table: unavailable")
	// ErrTooLarge is returned by Create and Replace for an item over MaxItemBytes.
	ErrTooLarge = errors.New("table: item too large")
	// ErrCursor is returned by List and ListIndex for a cursor that they did not hand out.
	ErrCursor = errors.New("table: bad cursor")
)

// MaxItemBytes bounds Item.Data. DynamoDB refuses items over 400 KB; what we store is a few KB.
const MaxItemBytes = 256 << 10

// MaxGet is the largest number of keys that one Get takes (DynamoDB's BatchGetItem allows 100).
const MaxGet = 100

// Key names one item. Partition groups the items that List walks; Sort orders them bytewise within the partition.
// Both are non-empty and at most 512 bytes.
type Key struct {
	Partition string
	Sort      string
}

// Index names a secondary index. An index is eventually consistent and is never used for an authorization decision.
type Index string

// The two indexes of the table. An item stands in an index when its Indexes map names a value for it.
const (
	ByUser   Index = "user"
	ByClient Index = "client"
)

// Item is one stored document.
type Item struct {
	Key  Key
	Data []byte
	// Version identifies the write that stored the item: a random attempt id, new with every write. Create ignores
	// it, Replace and the caller's Delete compare it, and all reads fill it in.
	Version string
	// Expires is when the item ceases to exist for every reader, to the second; the zero time means never.
	Expires time.Time
	// Indexes are the values under which ListIndex finds the item.
	Indexes map[Index]string
}

// Live reports whether the item has not expired at now. An item expires at the instant Expires names.
func (i Item) Live(now time.Time) bool { return i.Expires.IsZero() || now.Before(i.Expires) }

// Page is one stretch of a list, in ascending order of Sort (List) or in no promised order (ListIndex).
type Page struct {
	Items []Item
	// Cursor continues the list; it is empty at the end.
	Cursor string
}

// ListOptions bounds a List or ListIndex.
type ListOptions struct {
	// Limit is the largest number of items in the page; 0 means 100. A page may hold fewer and still have a Cursor.
	Limit int
	// Cursor is a previous page's Cursor.
	Cursor string
	// After lists only items whose Sort is greater; it applies to List alone.
	After string
	// Descending lists from the greatest Sort down; it applies to List alone.
	Descending bool
}

// Table is the store. Every read and write is strongly consistent, except ListIndex. All methods are safe for
// concurrent use and wrap passing faults in ErrUnavailable; a context that ended is such a fault, and its own error
// stays in the chain.
type Table interface {
	// Get reads one or several items in one call. The result is as long as keys and in their order; an absent or
	// expired item is nil.
	Get(ctx context.Context, keys ...Key) ([]*Item, error)
	// Create stores a new item and returns its version. An expired item counts as absent. ErrExists otherwise. When
	// the answer to a first attempt was lost and the retry finds our own attempt id, Create has succeeded.
	Create(ctx context.Context, item Item) (version string, err error)
	// Replace stores item if the stored version equals item.Version, and returns the new version. ErrConflict
	// otherwise. A lost answer is treated as by Create.
	Replace(ctx context.Context, item Item) (version string, err error)
	// Delete removes the item if its stored version equals version. ErrConflict otherwise. When the answer to a first
	// attempt was lost and the retry finds no item, Delete has succeeded.
	Delete(ctx context.Context, key Key, version string) error
	// List walks one partition.
	List(ctx context.Context, partition string, opts ListOptions) (Page, error)
	// ListIndex finds the items whose Indexes hold value under index, at most MaxGet a page. The index only says where
	// to look: each item is then read whole and strongly consistently, and left out when it is gone, has expired or no
	// longer bears the value. So an item of the page can be handed to Replace or Delete as it is; but an item just
	// written may still be missing.
	ListIndex(ctx context.Context, index Index, value string, opts ListOptions) (Page, error)
}
