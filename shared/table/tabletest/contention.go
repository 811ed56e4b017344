package tabletest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/table"
)

const workers = 32

// racing lets 32 writers do the same at once and wants one success, the rest refused by want.
func racing(t *testing.T, want error, write func(i int) error) {
	t.Helper()
	var won atomic.Int64
	race(workers, func(i int) {
		switch err := write(i); {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, want):
			t.Errorf("loser: %v, want %v", err, want)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d of %d racing writers won", won.Load(), workers)
	}
}

func testRacingCreates(t *testing.T, b Backend) {
	for range 5 {
		key := newKey("a")
		versions := make([]string, workers)
		racing(t, table.ErrExists, func(i int) (err error) {
			versions[i], err = b.Table.Create(t.Context(), table.Item{Key: key, Data: fmt.Append(nil, i)})
			return err
		})
		wantWinner(t, b, key, versions)
	}
}

func testRacingCreatesOverExpired(t *testing.T, b Backend) {
	key := newKey("a")
	create(t, b, table.Item{Key: key, Expires: b.Clock.Now().Add(time.Second)})
	b.Clock.Advance(time.Second)
	versions := make([]string, workers)
	racing(t, table.ErrExists, func(i int) (err error) {
		versions[i], err = b.Table.Create(t.Context(), table.Item{Key: key, Data: fmt.Append(nil, i)})
		return err
	})
	wantWinner(t, b, key, versions)
}

func testRacingReplaces(t *testing.T, b Backend) {
	key := newKey("a")
	for range 5 {
		var first string
		if item := get(t, b, key); item != nil {
			first = item.Version
		} else {
			first = create(t, b, table.Item{Key: key})
		}
		versions := make([]string, workers)
		racing(t, table.ErrConflict, func(i int) (err error) {
			versions[i], err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: fmt.Append(nil, i), Version: first})
			return err
		})
		wantWinner(t, b, key, versions)
	}
}

func testRacingDeletes(t *testing.T, b Backend) {
	key := newKey("a")
	version := create(t, b, table.Item{Key: key})
	racing(t, table.ErrConflict, func(int) error { return b.Table.Delete(t.Context(), key, version) })
	wantAbsent(t, b, key)
}

// wantWinner wants the item to be the one that the single winner wrote.
func wantWinner(t *testing.T, b Backend, key table.Key, versions []string) {
	t.Helper()
	for i, version := range versions {
		if version != "" {
			wantData(t, b, key, fmt.Sprint(i), version)
		}
	}
}

func testCounters(t *testing.T, b Backend) {
	increments := b.Increments
	if increments == 0 {
		increments = 20
	}
	key := newKey("a")
	create(t, b, table.Item{Key: key, Data: []byte("0")})
	var conflicts atomic.Int64
	race(workers, func(int) {
		for range increments {
			n, err := increment(t.Context(), b.Table, key)
			if err != nil {
				t.Errorf("increment: %v", err)
				return
			}
			conflicts.Add(int64(n))
		}
	})
	if item := get(t, b, key); string(item.Data) != fmt.Sprint(workers*increments) {
		t.Errorf("%d workers counted to %s, want %d", workers, item.Data, workers*increments)
	}
	t.Logf("%d increments met %d conflicts", workers*increments, conflicts.Load())
}
