package table

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCursorsComeBack(t *testing.T) {
	half := rapid.StringN(1, 100, MaxKeyBytes)
	rapid.Check(t, func(t *rapid.T) {
		last := Key{Partition: half.Draw(t, "partition"), Sort: half.Draw(t, "sort")}
		value := half.Draw(t, "value")
		if got, err := ParsePartitionCursor(last.Partition, PartitionCursor(last)); got != last || err != nil {
			t.Errorf("partition cursor of %q: %q, %v", last, got, err)
		}
		cursor := IndexCursor(ByUser, value, last)
		if got, err := ParseIndexCursor(ByUser, value, cursor); got != last || err != nil {
			t.Errorf("index cursor of %q: %q, %v", last, got, err)
		}
		for what, parse := range map[string]func() (Key, error){
			"another index": func() (Key, error) { return ParseIndexCursor(ByClient, value, cursor) },
			"another value": func() (Key, error) { return ParseIndexCursor(ByUser, value+"x", cursor) },
			"a partition":   func() (Key, error) { return ParsePartitionCursor(last.Partition, cursor) },
		} {
			if got, err := parse(); !errors.Is(err, ErrCursor) {
				t.Errorf("an index cursor taken for one of %s: %q, %v", what, got, err)
			}
		}
	})
}

// Whatever is taken for a cursor is one, letter for letter, and leads to a key inside its partition.
func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAA")
	f.Add(PartitionCursor(Key{Partition: "p", Sort: "s"}))
	f.Add(PartitionCursor(Key{Partition: "p", Sort: strings.Repeat("s", MaxKeyBytes)}))
	f.Add(PartitionCursor(Key{Partition: "q", Sort: "s"}))
	f.Fuzz(func(t *testing.T, text string) {
		last, err := ParsePartitionCursor("p", text)
		if err != nil {
			if !errors.Is(err, ErrCursor) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if last.Partition != "p" || !last.Possible() || PartitionCursor(last) != text {
			t.Errorf("%q is taken for the place %q", text, last)
		}
	})
}

func TestLive(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		expires time.Time
		want    bool
	}{
		{time.Time{}, true},
		{now.Add(time.Second), true},
		{now, false},
		{now.Add(-time.Second), false},
	} {
		if got := (Item{Expires: c.expires}).Live(now); got != c.want {
			t.Errorf("an item that expires at %v, live at %v: %v", c.expires, now, got)
		}
	}
}

func TestNewVersion(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		v := NewVersion()
		if len(v) != VersionBytes || seen[v] {
			t.Fatalf("version %q: %d bytes, seen before: %v", v, len(v), seen[v])
		}
		seen[v] = true
	}
}

func TestPageSize(t *testing.T) {
	for _, c := range []struct{ limit, most, want int }{
		{0, 1000, 100}, {0, 50, 50}, {-5, 1000, 100}, {7, 1000, 7}, {5000, 1000, 1000},
	} {
		if got := (ListOptions{Limit: c.limit}).PageSize(c.most); got != c.want {
			t.Errorf("limit %d of at most %d: %d, want %d", c.limit, c.most, got, c.want)
		}
	}
}
