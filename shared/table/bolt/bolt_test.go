package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/tabletest"
)

func open(t testing.TB, path string, now func() time.Time) *Table {
	t.Helper()
	tbl, err := Open(path, now)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := tbl.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return tbl
}

func TestTable(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) tabletest.Backend {
		clock := tabletest.NewClock()
		return tabletest.Backend{Table: open(t, filepath.Join(t.TempDir(), "store.db"), clock.Now), Clock: clock}
	})
}

func BenchmarkTable(b *testing.B) {
	tabletest.Benchmark(b, func(b *testing.B) table.Table {
		return open(b, filepath.Join(b.TempDir(), "store.db"), time.Now)
	})
}

// BenchmarkBareUpdate is the measure for Replace: one durable bbolt update of 2 KB.
func BenchmarkBareUpdate(b *testing.B) {
	tbl := open(b, filepath.Join(b.TempDir(), "store.db"), time.Now)
	data := make([]byte, 2<<10)
	for b.Loop() {
		err := tbl.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(itemsBucket).Put([]byte("a"), data) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func TestReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "store.db")
	key := table.Key{Partition: "p", Sort: "s"}
	first, err := Open(path, time.Now)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	version, err := first.Create(t.Context(), table.Item{Key: key, Data: []byte("kept")})
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatalf("Close, twice: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}

	// A closed table says that it is unavailable, rather than panic.
	_, getting := first.Get(t.Context(), key)
	_, creating := first.Create(t.Context(), table.Item{Key: key})
	for _, err := range []error{getting, creating} {
		if !errors.Is(err, table.ErrUnavailable) {
			t.Errorf("after Close: %v, want ErrUnavailable", err)
		}
	}

	items, err := open(t, path, time.Now).Get(t.Context(), key)
	if err != nil || items[0] == nil || string(items[0].Data) != "kept" || items[0].Version != version {
		t.Errorf("after reopening: %+v, %v", items, err)
	}
}

func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	open(t, path, time.Now)
	start := time.Now()
	_, err := Open(path, time.Now)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second Open: %v, want an error that names the file and the reason", err)
	}
	if waited := time.Since(start); waited > 3*time.Second {
		t.Errorf("second Open waited %v, want a second", waited)
	}
}

func TestOpenBadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no store ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, time.Now); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open of a file that is no store: %v, want an error that names it", err)
	}
}

// entries counts what stands in a bucket, expired or not.
func entries(t *testing.T, tbl *Table, bucket []byte) (n int) {
	t.Helper()
	err := tbl.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSweep(t *testing.T) {
	clock := tabletest.NewClock()
	tbl := open(t, filepath.Join(t.TempDir(), "store.db"), clock.Now)
	const expiring, lasting = 2*sweepStep + 10, 30
	var wait sync.WaitGroup
	for i := range expiring + lasting {
		wait.Go(func() {
			item := table.Item{
				Key:     table.Key{Partition: fmt.Sprint("p", i%7), Sort: fmt.Sprint(i)},
				Indexes: map[table.Index]string{table.ByUser: "u", table.ByClient: fmt.Sprint(i)},
				Expires: clock.Now().Add(time.Minute),
			}
			if i >= expiring {
				item.Expires = clock.Now().Add(time.Hour)
			}
			if _, err := tbl.Create(t.Context(), item); err != nil {
				t.Errorf("Create: %v", err)
			}
		})
	}
	wait.Wait()

	sweep := func(want int) {
		t.Helper()
		if n, err := tbl.Sweep(t.Context()); err != nil || n != want {
			t.Errorf("Sweep: %d, %v; want %d", n, err, want)
		}
	}
	sweep(0)
	clock.Advance(time.Minute)
	sweep(expiring)
	sweep(0)
	if n := entries(t, tbl, itemsBucket); n != lasting {
		t.Errorf("%d items left, want %d", n, lasting)
	}
	if n := entries(t, tbl, indexBucket); n != 2*lasting {
		t.Errorf("%d index entries left, want %d", n, 2*lasting)
	}
	clock.Advance(time.Hour)
	sweep(lasting)
	if n := entries(t, tbl, indexBucket); n != 0 {
		t.Errorf("%d index entries left, want none", n)
	}
}

// A key that was read as expired may be live again by the time the sweep comes to remove it.
func TestSweepSparesTheRecreated(t *testing.T) {
	clock := tabletest.NewClock()
	tbl := open(t, filepath.Join(t.TempDir(), "store.db"), clock.Now)
	item := table.Item{Key: table.Key{Partition: "p", Sort: "s"}, Expires: clock.Now()}
	if _, err := tbl.Create(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	keys, _, err := tbl.expired(t.Context(), nil)
	if err != nil || len(keys) != 1 {
		t.Fatalf("expired: %q, %v", keys, err)
	}
	item.Expires = time.Time{}
	if _, err := tbl.Create(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	if n, err := tbl.removeExpired(t.Context(), keys); n != 0 || err != nil {
		t.Errorf("removed %d, %v; want none", n, err)
	}
	if items, err := tbl.Get(t.Context(), item.Key); err != nil || items[0] == nil {
		t.Errorf("Get: %v, %v", items, err)
	}
}

// TestSweepsItself waits for the background sweeping, at a short interval.
func TestSweepsItself(t *testing.T) {
	clock := tabletest.NewClock()
	tbl := open(t, filepath.Join(t.TempDir(), "store.db"), clock.Now)
	item := table.Item{Key: table.Key{Partition: "p", Sort: "s"}, Expires: clock.Now()}
	if _, err := tbl.Create(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var sweeping sync.WaitGroup
	sweeping.Go(func() { tbl.sweepEvery(ctx, time.Millisecond) })
	for deadline := time.Now().Add(5 * time.Second); entries(t, tbl, itemsBucket) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the expired item was never removed")
		}
	}
	cancel()
	sweeping.Wait()
}

// A fault of the store fails every write of its transaction, and the writers after it go on.
func TestFaultOfTheStore(t *testing.T) {
	tbl := open(t, filepath.Join(t.TempDir(), "store.db"), time.Now)
	disk := errors.New("disk full")
	kept := func(tx *bbolt.Tx) (refused, fault error) {
		return nil, tx.Bucket(itemsBucket).Put([]byte("k"), []byte("v"))
	}
	batch := []*write{
		{ctx: t.Context(), apply: kept, done: make(chan struct{})},
		{ctx: t.Context(), apply: func(*bbolt.Tx) (error, error) { return table.ErrConflict, nil }, done: make(chan struct{})},
		{ctx: t.Context(), apply: func(*bbolt.Tx) (error, error) { return nil, disk }, done: make(chan struct{})},
	}
	commit(tbl.db, batch)
	for i, w := range batch {
		<-w.done
		if !errors.Is(w.err, table.ErrUnavailable) || !errors.Is(w.err, disk) {
			t.Errorf("write %d: %v, want the fault", i, w.err)
		}
	}
	if n := entries(t, tbl, itemsBucket); n != 0 {
		t.Errorf("%d items were kept of a transaction that failed", n)
	}
	if _, err := tbl.Create(t.Context(), table.Item{Key: table.Key{Partition: "p", Sort: "s"}}); err != nil {
		t.Errorf("Create after the fault: %v", err)
	}
}

func TestUnknownFormat(t *testing.T) {
	tbl := open(t, filepath.Join(t.TempDir(), "store.db"), time.Now)
	key := table.Key{Partition: "p", Sort: "s"}
	for name, value := range map[string][]byte{
		"newer": {2, 0, 0}, "empty": {}, "cut": encode(table.Item{}, table.NewVersion())[:20],
	} {
		err := tbl.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(itemsBucket).Put(encodeKey(key), value) })
		if err != nil {
			t.Fatal(err)
		}
		_, getting := tbl.Get(t.Context(), key)
		_, listing := tbl.List(t.Context(), "p", table.ListOptions{})
		_, creating := tbl.Create(t.Context(), table.Item{Key: key})
		for _, err := range []error{getting, listing, creating} {
			if !errors.Is(err, errFormat) {
				t.Errorf("%s: %v, want %v", name, err, errFormat)
			}
		}
	}
}
