// Package tabletest is the one behavioural suite that every backend of table.Table passes, contention included. It
// decides what the interface means where its comments leave a question; a new backend is done when Run is content.
package tabletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/table"
)

// Backend is one table to be tried.
type Backend struct {
	Table table.Table
	// Clock is the clock that Table reads.
	Clock *Clock
	// LoseAnswer, where the backend has a wire that can fail, makes the next write (not a read) that goes out be
	// stored while its answer never arrives; then, if not nil, runs in between, while the backend still waits. Nil for
	// a backend without a wire: its tests are not run.
	LoseAnswer func(then func())
	// Increments is how often each of 32 workers increments the contended counter; 0 means 20.
	Increments int
}

// Clock is a clock that moves when told.
type Clock struct{ seconds atomic.Int64 }

// NewClock returns a clock that shows the present, to the second: a real DynamoDB table removes what has expired by
// its own clock.
func NewClock() *Clock {
	c := new(Clock)
	c.seconds.Store(time.Now().Unix())
	return c
}

// Now returns the time the clock shows.
func (c *Clock) Now() time.Time { return time.Unix(c.seconds.Load(), 0).UTC() }

// Advance moves the clock on by whole seconds.
func (c *Clock) Advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }

// Run runs the suite. open is called once; every test works in partitions of its own, so the table may be shared.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	b := open(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"create, read, replace, delete", testLifecycle},
		{"several keys in one read", testGetSeveral},
		{"conflicts", testConflicts},
		{"expiry", testExpiry},
		{"indexes on items", testIndexesOnItems},
		{"keys", testKeys},
		{"sizes", testSizes},
		{"list in order", testListOrder},
		{"list in pages", testListPages},
		{"list after", testListAfter},
		{"list leaves out the expired", testListExpired},
		{"list by index", testListIndex},
		{"bad cursors", testBadCursors},
		{"ended context", testEndedContext},
		{"contention: one of racing creates wins", testRacingCreates},
		{"contention: one of racing replaces wins", testRacingReplaces},
		{"contention: one of racing deletes wins", testRacingDeletes},
		{"contention: counters lose nothing", testCounters},
		{"contention: creates over an expired item", testRacingCreatesOverExpired},
		{"lost answer: the write counts", testLostAnswer},
		{"lost answer: another writer came first", testLostAnswerOvertaken},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
}

var partitions atomic.Int64

// partition returns a partition that no other test, process or earlier run uses.
func partition() string {
	return fmt.Sprintf("tabletest %d %s", partitions.Add(1), table.NewVersion())
}

func newKey(sort string) table.Key { return table.Key{Partition: partition(), Sort: sort} }

func create(t *testing.T, b Backend, item table.Item) string {
	t.Helper()
	version, err := b.Table.Create(t.Context(), item)
	if err != nil {
		t.Fatalf("Create(%q): %v", item.Key, err)
	}
	if version == "" {
		t.Fatalf("Create(%q): empty version", item.Key)
	}
	return version
}

func get(t *testing.T, b Backend, key table.Key) *table.Item {
	t.Helper()
	items, err := b.Table.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	if len(items) != 1 {
		t.Fatalf("Get(%q): %d results", key, len(items))
	}
	return items[0]
}

func wantData(t *testing.T, b Backend, key table.Key, data, version string) {
	t.Helper()
	item := get(t, b, key)
	if item == nil {
		t.Fatalf("Get(%q): absent, want %q", key, data)
	}
	if item.Key != key {
		t.Errorf("Get(%q): key %q", key, item.Key)
	}
	if string(item.Data) != data {
		t.Errorf("Get(%q): data %q, want %q", key, item.Data, data)
	}
	if item.Version != version {
		t.Errorf("Get(%q): version %q, want %q", key, item.Version, version)
	}
}

func wantAbsent(t *testing.T, b Backend, key table.Key) {
	t.Helper()
	if item := get(t, b, key); item != nil {
		t.Errorf("Get(%q): %+v, want none", key, item)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// sorts walks a whole list by its cursors and returns the sorts it met, and the number of pages.
func sorts(t *testing.T, b Backend, partition string, opts table.ListOptions) (met []string, pages int) {
	t.Helper()
	for {
		page, err := b.Table.List(t.Context(), partition, opts)
		if err != nil {
			t.Fatalf("List(%q, %+v): %v", partition, opts, err)
		}
		pages++
		if opts.Limit > 0 && len(page.Items) > opts.Limit {
			t.Fatalf("List: %d items in a page of at most %d", len(page.Items), opts.Limit)
		}
		for _, item := range page.Items {
			if item.Key.Partition != partition {
				t.Fatalf("List(%q) holds %q", partition, item.Key)
			}
			met = append(met, item.Key.Sort)
		}
		if page.Cursor == "" {
			return met, pages
		}
		if pages > 1000 {
			t.Fatal("List: the cursors never end")
		}
		opts.Cursor = page.Cursor
	}
}

func wantSorts(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("sorts %q, want %q", got, want)
	}
}

// race runs n workers that begin together.
func race(n int, worker func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			worker(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// increment adds one to the counter at key by compare-and-swap, and returns how many conflicts it met.
func increment(ctx context.Context, tbl table.Table, key table.Key) (conflicts int, err error) {
	for {
		items, err := tbl.Get(ctx, key)
		if err != nil {
			return conflicts, err
		}
		item := *items[0]
		var n int
		if _, err := fmt.Sscan(string(item.Data), &n); err != nil {
			return conflicts, err
		}
		item.Data = fmt.Append(nil, n+1)
		switch _, err = tbl.Replace(ctx, item); {
		case err == nil:
			return conflicts, nil
		case !errors.Is(err, table.ErrConflict):
			return conflicts, err
		}
		conflicts++
	}
}
