package tabletest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/table"
)

func testListOrder(t *testing.T, b Backend) {
	p := partition()
	// Bytewise: capitals before small letters, ASCII before the rest, and by bytes of UTF-8, not of UTF-16.
	ordered := []string{"\x00", "0", "00", "10", "9", "A", "a", "a\x00", "aa", "b", "é", "\uffff", "\U0001d11e"}
	for _, i := range []int{7, 2, 12, 0, 9, 4, 11, 1, 10, 5, 8, 3, 6} {
		create(t, b, table.Item{Key: table.Key{Partition: p, Sort: ordered[i]}, Data: []byte(ordered[i])})
	}
	// Neighbours on both sides stay out of it.
	create(t, b, table.Item{Key: table.Key{Partition: p + "x", Sort: "0"}})
	create(t, b, table.Item{Key: table.Key{Partition: p[:len(p)-1], Sort: p[len(p)-1:] + "0"}})

	got, _ := sorts(t, b, p, table.ListOptions{})
	wantSorts(t, got, ordered)
	got, _ = sorts(t, b, p, table.ListOptions{Descending: true})
	slices.Reverse(got)
	wantSorts(t, got, ordered)

	page, err := b.Table.List(t.Context(), p, table.ListOptions{Limit: 1})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("List: %v, %v", page, err)
	}
	item := page.Items[0]
	item.Data = []byte("changed")
	if _, err := b.Table.Replace(t.Context(), item); err != nil {
		t.Errorf("Replace of a listed item as it is: %v", err)
	}
	page, err = b.Table.List(t.Context(), partition(), table.ListOptions{})
	if err != nil || len(page.Items) != 0 || page.Cursor != "" {
		t.Errorf("List of an empty partition: %v, %v", page, err)
	}
}

func testListPages(t *testing.T, b Backend) {
	p := partition()
	var all []string
	for i := range 25 {
		all = append(all, fmt.Sprintf("%02d", i))
		create(t, b, table.Item{Key: table.Key{Partition: p, Sort: all[i]}})
	}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	for _, limit := range []int{-1, 0, 1, 7, 24, 25, 26, 5000} {
		got, pages := sorts(t, b, p, table.ListOptions{Limit: limit})
		wantSorts(t, got, all)
		if limit > 0 && pages < len(all)/limit {
			t.Errorf("limit %d: %d pages", limit, pages)
		}
		got, _ = sorts(t, b, p, table.ListOptions{Limit: limit, Descending: true})
		wantSorts(t, got, backwards)
	}

	// A cursor is a place: it still serves when the item it was made from is gone.
	page, err := b.Table.List(t.Context(), p, table.ListOptions{Limit: 10})
	if err != nil || len(page.Items) != 10 {
		t.Fatalf("List: %d items, %v", len(page.Items), err)
	}
	last := page.Items[9]
	if err := b.Table.Delete(t.Context(), last.Key, last.Version); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	got, _ := sorts(t, b, p, table.ListOptions{Cursor: page.Cursor})
	wantSorts(t, got, all[10:])
}

func testListAfter(t *testing.T, b Backend) {
	p := partition()
	all := []string{"a", "b", "c", "d", "e"}
	for _, sort := range all {
		create(t, b, table.Item{Key: table.Key{Partition: p, Sort: sort}})
	}
	for _, c := range []struct {
		opts table.ListOptions
		want string
	}{
		{table.ListOptions{After: "b"}, "cde"},
		{table.ListOptions{After: "b", Limit: 1}, "cde"},
		{table.ListOptions{After: "bb"}, "cde"},
		{table.ListOptions{After: "A"}, "abcde"},
		{table.ListOptions{After: "e"}, ""},
		{table.ListOptions{After: "f"}, ""},
		{table.ListOptions{After: "b", Descending: true}, "edc"},
		{table.ListOptions{After: "b", Descending: true, Limit: 2}, "edc"},
		{table.ListOptions{After: "e", Descending: true}, ""},
	} {
		got, _ := sorts(t, b, p, c.opts)
		if strings.Join(got, "") != c.want {
			t.Errorf("List(%+v): %q, want %q", c.opts, got, c.want)
		}
	}

	// After may move on between the pages of one list.
	page, err := b.Table.List(t.Context(), p, table.ListOptions{Limit: 2})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	got, _ := sorts(t, b, p, table.ListOptions{Cursor: page.Cursor, After: "d"})
	wantSorts(t, got, []string{"e"})
	page, err = b.Table.List(t.Context(), p, table.ListOptions{Limit: 2, Descending: true})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	got, _ = sorts(t, b, p, table.ListOptions{Cursor: page.Cursor, After: "d", Descending: true})
	wantSorts(t, got, nil)

	for _, after := range []string{strings.Repeat("x", table.MaxKeyBytes+1), "\xff"} {
		_, err := b.Table.List(t.Context(), p, table.ListOptions{After: after})
		wantError(t, "List after an impossible sort", err, table.ErrKey)
	}
}

func testListExpired(t *testing.T, b Backend) {
	p := partition()
	var lasting []string
	for i := range 30 {
		item := table.Item{Key: table.Key{Partition: p, Sort: fmt.Sprintf("%02d", i)}}
		if i%3 == 0 {
			lasting = append(lasting, item.Key.Sort)
		} else {
			item.Expires = b.Clock.Now().Add(time.Minute)
		}
		create(t, b, item)
	}
	if got, _ := sorts(t, b, p, table.ListOptions{}); len(got) != 30 {
		t.Errorf("%d items before the expiry", len(got))
	}
	b.Clock.Advance(time.Minute)
	got, _ := sorts(t, b, p, table.ListOptions{Limit: 4})
	wantSorts(t, got, lasting)
	got, _ = sorts(t, b, p, table.ListOptions{Limit: 4, Descending: true})
	slices.Reverse(got)
	wantSorts(t, got, lasting)
}

// indexed walks a whole index list by its cursors and returns the sorts it met, sorted.
func indexed(t *testing.T, b Backend, index table.Index, value string, limit int) []string {
	t.Helper()
	var met []string
	opts := table.ListOptions{Limit: limit}
	for range 1000 {
		page, err := b.Table.ListIndex(t.Context(), index, value, opts)
		if err != nil {
			t.Fatalf("ListIndex(%s, %q): %v", index, value, err)
		}
		if limit > 0 && len(page.Items) > limit {
			t.Fatalf("ListIndex: %d items in a page of at most %d", len(page.Items), limit)
		}
		for _, item := range page.Items {
			met = append(met, item.Key.Sort)
		}
		if opts.Cursor = page.Cursor; opts.Cursor == "" {
			slices.Sort(met)
			return met
		}
	}
	t.Fatal("ListIndex: the cursors never end")
	return nil
}

// eventually asks until the index shows what it must, as it is only eventually consistent.
func eventually(t *testing.T, b Backend, index table.Index, value string, limit int, want []string) {
	t.Helper()
	var got []string
	for range 50 {
		if got = indexed(t, b, index, value, limit); slices.Equal(got, want) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("ListIndex(%s, %q): %q, want %q", index, value, got, want)
}

func testListIndex(t *testing.T, b Backend) {
	user, other, client := "user "+table.NewVersion(), "other "+table.NewVersion(), "client "+table.NewVersion()
	p := partition()
	item := func(sort string, indexes map[table.Index]string) table.Item {
		return table.Item{Key: table.Key{Partition: p, Sort: sort}, Data: []byte(sort), Indexes: indexes}
	}
	var mine, all []string
	for i := range 7 {
		sort := fmt.Sprint("m", i)
		create(t, b, item(sort, map[table.Index]string{table.ByUser: user, table.ByClient: client}))
		mine, all = append(mine, sort), append(all, sort)
	}
	create(t, b, item("o0", map[table.Index]string{table.ByUser: other, table.ByClient: client}))
	create(t, b, item("plain", nil))
	// The same sort in another partition is another item; and no value is another's prefix.
	elsewhere := table.Item{Key: newKey("m0"), Indexes: map[table.Index]string{table.ByUser: user + "x"}}
	create(t, b, elsewhere)
	all = append(all, "o0")

	for _, limit := range []int{0, 1, 3, 7, 100, 5000} {
		eventually(t, b, table.ByUser, user, limit, mine)
		eventually(t, b, table.ByClient, client, limit, all)
	}
	eventually(t, b, table.ByUser, other, 0, []string{"o0"})
	eventually(t, b, table.ByUser, client, 0, nil)
	eventually(t, b, table.ByUser, user+"x", 0, []string{"m0"})

	// A listed item is whole, and fit for Replace and Delete as it is.
	page, err := b.Table.ListIndex(t.Context(), table.ByUser, other, table.ListOptions{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("ListIndex: %+v, %v", page, err)
	}
	listed := page.Items[0]
	if string(listed.Data) != "o0" || listed.Indexes[table.ByClient] != client {
		t.Errorf("listed item: %+v", listed)
	}
	// A replace moves an item from one value to another, and out of an index.
	listed.Indexes = map[table.Index]string{table.ByUser: user}
	if _, err := b.Table.Replace(t.Context(), listed); err != nil {
		t.Fatalf("Replace of a listed item: %v", err)
	}
	eventually(t, b, table.ByUser, other, 0, nil)
	eventually(t, b, table.ByUser, user, 2, append(slices.Clone(mine), "o0"))
	eventually(t, b, table.ByClient, client, 0, mine)

	// Deleted and expired items are gone from it, and Create over an expired one moves it too.
	moved := get(t, b, listed.Key)
	if err := b.Table.Delete(t.Context(), moved.Key, moved.Version); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	eventually(t, b, table.ByUser, user, 0, mine)
	brief := item("brief", map[table.Index]string{table.ByUser: other})
	brief.Expires = b.Clock.Now().Add(time.Minute)
	create(t, b, brief)
	eventually(t, b, table.ByUser, other, 0, []string{"brief"})
	b.Clock.Advance(time.Minute)
	eventually(t, b, table.ByUser, other, 0, nil)
	brief.Expires, brief.Indexes = time.Time{}, map[table.Index]string{table.ByUser: user}
	create(t, b, brief)
	eventually(t, b, table.ByUser, user, 0, append([]string{"brief"}, mine...))
	eventually(t, b, table.ByUser, other, 0, nil)

	_, err = b.Table.ListIndex(t.Context(), "colour", "red", table.ListOptions{})
	wantError(t, "ListIndex of an unknown index", err, table.ErrKey)
	_, err = b.Table.ListIndex(t.Context(), table.ByUser, strings.Repeat("u", table.MaxIndexBytes+1), table.ListOptions{})
	wantError(t, "ListIndex of an impossible value", err, table.ErrKey)
}

func testBadCursors(t *testing.T, b Backend) {
	p, user := partition(), "user "+table.NewVersion()
	for _, sort := range []string{"a", "b"} {
		create(t, b, table.Item{
			Key:     table.Key{Partition: p, Sort: sort},
			Indexes: map[table.Index]string{table.ByUser: user, table.ByClient: user},
		})
	}
	eventually(t, b, table.ByUser, user, 0, []string{"a", "b"})
	page, err := b.Table.List(t.Context(), p, table.ListOptions{Limit: 1})
	if err != nil || page.Cursor == "" {
		t.Fatalf("List: %+v, %v", page, err)
	}
	byUser, err := b.Table.ListIndex(t.Context(), table.ByUser, user, table.ListOptions{Limit: 1})
	if err != nil || byUser.Cursor == "" {
		t.Fatalf("ListIndex: %+v, %v", byUser, err)
	}

	for name, cursor := range map[string]string{
		"garbage":              "garbage!",
		"not ours":             "AAAAAAAAAAAAAAAA",
		"cut short":            page.Cursor[:4],
		"padded":               page.Cursor + "=",
		"of an index":          byUser.Cursor,
		"of another partition": table.PartitionCursor(table.Key{Partition: p + "x", Sort: "a"}),
		"of an impossible key": table.PartitionCursor(table.Key{Partition: p}),
	} {
		_, err := b.Table.List(t.Context(), p, table.ListOptions{Cursor: cursor})
		wantError(t, "List by a cursor "+name, err, table.ErrCursor)
	}
	for name, cursor := range map[string]string{
		"garbage":          "garbage!",
		"of a partition":   page.Cursor,
		"of another index": table.IndexCursor(table.ByClient, user, table.Key{Partition: p, Sort: "a"}),
		"of another value": table.IndexCursor(table.ByUser, user+"x", table.Key{Partition: p, Sort: "a"}),
	} {
		_, err := b.Table.ListIndex(t.Context(), table.ByUser, user, table.ListOptions{Cursor: cursor})
		wantError(t, "ListIndex by a cursor "+name, err, table.ErrCursor)
	}
}
