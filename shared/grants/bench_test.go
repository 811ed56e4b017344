package grants

import (
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// BenchmarkAuthenticate is the whole of what the MCP endpoint pays for a bearer, the table's read included.
func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b)
	first := f.signedIn("upstream")
	f.works(first.AccessToken)
	ctx := b.Context()
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.Authenticate(ctx, first.AccessToken); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered, parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := f.Authenticate(ctx, first.AccessToken); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("read alone", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.table.Get(ctx, Key(first.GrantID)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decoded and opened", func(b *testing.B) {
		sum := digest(first.AccessToken)
		for b.Loop() {
			f.memory.forget(sum)
			if _, err := f.Authenticate(ctx, first.AccessToken); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRefreshChain refreshes one grant again and again; BenchmarkDurableUpdate is one durable bbolt update of 2 KB
// by itself, the floor that the chain is measured against.
func BenchmarkRefreshChain(b *testing.B) {
	f := newFixture(b)
	f.Lifetimes.AgeUnchecked = 1000 * time.Hour
	last := f.signedIn("")
	for b.Loop() {
		f.clock.advance(time.Second)
		last = f.mustRefresh(last.RefreshToken)
	}
}

func BenchmarkDurableUpdate(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	bucket, data := []byte("b"), make([]byte, 2048)
	for b.Loop() {
		data[0]++
		err := db.Update(func(tx *bbolt.Tx) error {
			items, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			return items.Put([]byte("key"), data)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
