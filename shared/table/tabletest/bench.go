package tabletest

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"mcp-access-oauth/shared/table"
)

// Benchmark measures what the product does most, with items of 2 KB: a read of one key (each tools/call), a durable
// replace (each refresh), and creates by 32 writers at once (a burst of registrations).
func Benchmark(b *testing.B, open func(b *testing.B) table.Table) {
	tbl := open(b)
	data := bytes.Repeat([]byte("x"), 2<<10)
	indexes := map[table.Index]string{table.ByUser: "https://idp.example|user", table.ByClient: "client"}
	item := table.Item{Key: newKey("a"), Data: data, Indexes: indexes}
	version, err := tbl.Create(b.Context(), item)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 { // a table is not empty
		neighbour := table.Item{Key: newKey(string(rune('a' + i))), Data: data, Indexes: indexes}
		if _, err := tbl.Create(b.Context(), neighbour); err != nil {
			b.Fatal(err)
		}
	}

	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if items, err := tbl.Get(b.Context(), item.Key); err != nil || items[0] == nil {
				b.Fatal(items, err)
			}
		}
	})
	b.Run("Replace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			item.Version = version
			if version, err = tbl.Replace(b.Context(), item); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("32 writers", func(b *testing.B) {
		tickets := make(chan struct{})
		failed := make(chan error, workers)
		var done sync.WaitGroup
		for range workers {
			done.Go(func() {
				for range tickets {
					if _, err := tbl.Create(b.Context(), table.Item{Key: newKey("w"), Data: data, Indexes: indexes}); err != nil {
						failed <- err
					}
				}
			})
		}
		for b.Loop() {
			tickets <- struct{}{}
		}
		close(tickets)
		done.Wait()
		close(failed)
		var errs []error
		for err := range failed {
			errs = append(errs, err)
		}
		if len(errs) > 0 {
			b.Fatal(errors.Join(errs...))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	})
}
