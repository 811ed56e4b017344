package state

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/table/dynamo/dynamotest"
	"mcp-access-oauth/shared/table/tabletest"
)

// fixture is a store whose clock stands still until it is moved.
type fixture struct {
	*Store
	clock *tabletest.Clock
	table *watched
}

// watched counts the calls that a table takes, and may stand in for a fault.
type watched struct {
	table.Table
	reads, writes atomic.Int64
	before        func(op string, key table.Key) error // nil: no fault
}

func (w *watched) fault(op string, key table.Key) error {
	if w.before != nil {
		return w.before(op, key)
	}
	return nil
}

func (w *watched) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	w.reads.Add(1)
	if err := w.fault("get", keys[0]); err != nil {
		return nil, err
	}
	return w.Table.Get(ctx, keys...)
}

func (w *watched) List(ctx context.Context, partition string, options table.ListOptions) (table.Page, error) {
	w.reads.Add(1)
	if err := w.fault("list", table.Key{Partition: partition}); err != nil {
		return table.Page{}, err
	}
	return w.Table.List(ctx, partition, options)
}

func (w *watched) Create(ctx context.Context, item table.Item) (string, error) {
	w.writes.Add(1)
	if err := w.fault("create", item.Key); err != nil {
		return "", err
	}
	return w.Table.Create(ctx, item)
}

func (w *watched) Replace(ctx context.Context, item table.Item) (string, error) {
	w.writes.Add(1)
	if err := w.fault("replace", item.Key); err != nil {
		return "", err
	}
	return w.Table.Replace(ctx, item)
}

func (w *watched) Delete(ctx context.Context, key table.Key, version string) error {
	w.writes.Add(1)
	if err := w.fault("delete", key); err != nil {
		return err
	}
	return w.Table.Delete(ctx, key, version)
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	clock := tabletest.NewClock()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "store.db"), clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return fixtureOn(store, clock)
}

func fixtureOn(store table.Table, clock *tabletest.Clock) *fixture {
	w := &watched{Table: store}
	return &fixture{Store: &Store{Table: w, Now: clock.Now}, clock: clock, table: w}
}

// onBoth runs a test on the embedded table and on DynamoDB.
func onBoth(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Run("bolt", func(t *testing.T) { test(t, newFixture(t)) })
	t.Run("dynamo", func(t *testing.T) {
		clock := tabletest.NewClock()
		test(t, fixtureOn(dynamotest.Open(t, clock.Now), clock))
	})
}

// budget runs do and wants exactly these table calls of it.
func (f *fixture) budget(t *testing.T, what string, reads, writes int64, do func()) {
	t.Helper()
	f.table.reads.Store(0)
	f.table.writes.Store(0)
	do()
	if r, w := f.table.reads.Load(), f.table.writes.Load(); r != reads || w != writes {
		t.Errorf("%s: %d reads and %d writes, want %d and %d", what, r, w, reads, writes)
	}
}

// tick moves the clock on, for what is ordered by time.
func (f *fixture) tick() { f.clock.Advance(time.Second) }
