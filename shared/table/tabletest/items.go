package tabletest

import (
	"bytes"
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/table"
)

func testLifecycle(t *testing.T, b Backend) {
	key := newKey("a")
	wantAbsent(t, b, key)
	first := create(t, b, table.Item{Key: key, Data: []byte("one"), Version: "ignored"})
	wantData(t, b, key, "one", first)

	second, err := b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("two"), Version: first})
	if err != nil {
		t.Fatalf("Replace: %v", err)
	}
	if second == first {
		t.Error("Replace returned the version it replaced")
	}
	wantData(t, b, key, "two", second)

	// What a reader does with its copy is its own affair.
	clear(get(t, b, key).Data)
	wantData(t, b, key, "two", second)

	if err := b.Table.Delete(t.Context(), key, second); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	wantAbsent(t, b, key)

	// A deleted item's key is free, also for an item without data.
	third := create(t, b, table.Item{Key: key})
	if third == first || third == second {
		t.Error("a version came twice")
	}
	wantData(t, b, key, "", third)
}

func testGetSeveral(t *testing.T, b Backend) {
	one, two, none := newKey("1"), newKey("2"), newKey("3")
	impossible := table.Key{Partition: strings.Repeat("p", table.MaxKeyBytes+1), Sort: "s"}
	create(t, b, table.Item{Key: one, Data: []byte("one")})
	create(t, b, table.Item{Key: two, Data: []byte("two")})

	items, err := b.Table.Get(t.Context(), two, none, one, impossible, two)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	var got []string
	for _, item := range items {
		if item == nil {
			got = append(got, "-")
			continue
		}
		got = append(got, string(item.Data))
	}
	if want := "two - one - two"; strings.Join(got, " ") != want {
		t.Errorf("Get in order of keys: %q, want %q", got, want)
	}

	if items, err := b.Table.Get(t.Context()); err != nil || len(items) != 0 {
		t.Errorf("Get of no keys: %v, %v", items, err)
	}
	many := make([]table.Key, table.MaxGet)
	for i := range many {
		many[i] = table.Key{Partition: one.Partition, Sort: strings.Repeat("x", i+1)}
	}
	many[table.MaxGet-1] = one
	items, err = b.Table.Get(t.Context(), many...)
	if err != nil || len(items) != table.MaxGet || items[table.MaxGet-1] == nil {
		t.Errorf("Get of %d keys: %d results, %v", table.MaxGet, len(items), err)
	}
	if _, err := b.Table.Get(t.Context(), append(many, two)...); err == nil {
		t.Errorf("Get of %d keys: no error", table.MaxGet+1)
	}
}

func testConflicts(t *testing.T, b Backend) {
	key := newKey("a")
	_, err := b.Table.Replace(t.Context(), table.Item{Key: key, Version: table.NewVersion()})
	wantError(t, "Replace of an absent item", err, table.ErrConflict)
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key})
	wantError(t, "Replace of an absent item without a version", err, table.ErrConflict)
	wantError(t, "Delete of an absent item", b.Table.Delete(t.Context(), key, table.NewVersion()), table.ErrConflict)
	wantError(t, "Delete of an absent item without a version", b.Table.Delete(t.Context(), key, ""), table.ErrConflict)

	first := create(t, b, table.Item{Key: key, Data: []byte("one")})
	_, err = b.Table.Create(t.Context(), table.Item{Key: key, Data: []byte("other")})
	wantError(t, "Create of an existing item", err, table.ErrExists)
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("other")})
	wantError(t, "Replace without a version", err, table.ErrConflict)
	wantData(t, b, key, "one", first)

	second, err := b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("two"), Version: first})
	if err != nil {
		t.Fatalf("Replace: %v", err)
	}
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("other"), Version: first})
	wantError(t, "Replace of an old version", err, table.ErrConflict)
	wantError(t, "Delete of an old version", b.Table.Delete(t.Context(), key, first), table.ErrConflict)
	wantError(t, "Delete without a version", b.Table.Delete(t.Context(), key, ""), table.ErrConflict)
	wantData(t, b, key, "two", second)
}

func testExpiry(t *testing.T, b Backend) {
	key, forever := newKey("a"), newKey("b")
	expires := b.Clock.Now().Add(10 * time.Second)
	// Expiry counts to the second; a fraction never lengthens a life.
	first := create(t, b, table.Item{Key: key, Data: []byte("one"), Expires: expires.Add(900 * time.Millisecond)})
	eternal := create(t, b, table.Item{Key: forever, Data: []byte("ever")})
	if got := get(t, b, key).Expires; !got.Equal(expires) {
		t.Errorf("Expires %v, want %v", got, expires)
	}
	if got := get(t, b, forever).Expires; !got.IsZero() {
		t.Errorf("Expires %v, want never", got)
	}

	b.Clock.Advance(9 * time.Second)
	wantData(t, b, key, "one", first)
	_, err := b.Table.Create(t.Context(), table.Item{Key: key})
	wantError(t, "Create a second before expiry", err, table.ErrExists)

	b.Clock.Advance(time.Second)
	wantAbsent(t, b, key)
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("two"), Version: first})
	wantError(t, "Replace of an expired item", err, table.ErrConflict)
	wantError(t, "Delete of an expired item", b.Table.Delete(t.Context(), key, first), table.ErrConflict)

	// Create takes the place of an expired item, and the old version is worth nothing.
	second := create(t, b, table.Item{Key: key, Data: []byte("two"), Expires: b.Clock.Now().Add(time.Minute)})
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("three"), Version: first})
	wantError(t, "Replace of the expired predecessor", err, table.ErrConflict)
	wantData(t, b, key, "two", second)

	// A replace may move the expiry, or take it away.
	third, err := b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("three"), Version: second})
	if err != nil {
		t.Fatalf("Replace: %v", err)
	}
	b.Clock.Advance(240 * time.Hour)
	wantData(t, b, key, "three", third)
	wantData(t, b, forever, "ever", eternal)

	past := newKey("c")
	create(t, b, table.Item{Key: past, Expires: b.Clock.Now()})
	wantAbsent(t, b, past)
}

func testIndexesOnItems(t *testing.T, b Backend) {
	for name, indexes := range map[string]map[table.Index]string{
		"both":   {table.ByUser: "https://idp.example|u1", table.ByClient: "c1"},
		"user":   {table.ByUser: "u1"},
		"client": {table.ByClient: "c1"},
		"none":   nil,
	} {
		key := newKey(name)
		version := create(t, b, table.Item{Key: key, Data: []byte("x"), Indexes: indexes})
		if got := get(t, b, key).Indexes; !maps.Equal(got, indexes) {
			t.Errorf("%s: indexes %v, want %v", name, got, indexes)
		}
		wantData(t, b, key, "x", version)
	}
	key := newKey("empty values")
	create(t, b, table.Item{Key: key, Indexes: map[table.Index]string{table.ByUser: "", table.ByClient: "c1"}})
	if got := get(t, b, key).Indexes; len(got) != 1 || got[table.ByClient] != "c1" {
		t.Errorf("indexes with an empty value: %v", got)
	}
}

func testKeys(t *testing.T, b Backend) {
	long := strings.Repeat("k", table.MaxKeyBytes)
	p := partition()
	possible := []table.Key{
		{Partition: p, Sort: "with space"},
		{Partition: p, Sort: "with\x00nul"},
		{Partition: p, Sort: "https://client.example/metadata.json?a=b#c|%00"},
		{Partition: p, Sort: "snowman ☃, 𝄞, é"},
		{Partition: p, Sort: long},
		{Partition: (p + long)[:table.MaxKeyBytes], Sort: "s"},
		// Where halves are joined carelessly, these two are one.
		{Partition: p + "a", Sort: "bc"},
		{Partition: p + "ab", Sort: "c"},
		{Partition: p + "\x00", Sort: "d"},
		{Partition: p, Sort: "\x00d"},
	}
	versions := make([]string, len(possible))
	for i, key := range possible {
		versions[i] = create(t, b, table.Item{Key: key, Data: []byte(key.Sort)})
	}
	for i, key := range possible {
		wantData(t, b, key, key.Sort, versions[i])
	}

	for name, key := range map[string]table.Key{
		"no partition":      {Sort: "s"},
		"no sort":           {Partition: p},
		"long partition":    {Partition: long + "k", Sort: "s"},
		"long sort":         {Partition: p, Sort: long + "k"},
		"endless partition": {Partition: strings.Repeat("k", 1<<16+len(p)), Sort: "s"},
		"not UTF-8":         {Partition: p, Sort: "a\xff"},
	} {
		_, err := b.Table.Create(t.Context(), table.Item{Key: key})
		wantError(t, "Create, "+name, err, table.ErrKey)
		_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Version: "v"})
		wantError(t, "Replace, "+name, err, table.ErrKey)
		// To readers an impossible key is an unknown one.
		wantAbsent(t, b, key)
		wantError(t, "Delete, "+name, b.Table.Delete(t.Context(), key, "v"), table.ErrConflict)
		if page, err := b.Table.List(t.Context(), key.Partition, table.ListOptions{}); err != nil && name != "no sort" {
			t.Errorf("List, %s: %v, %v", name, page, err)
		}
	}
	for name, indexes := range map[string]map[table.Index]string{
		"unknown index":  {"colour": "red"},
		"long value":     {table.ByUser: strings.Repeat("u", table.MaxIndexBytes+1)},
		"value no UTF-8": {table.ByClient: "\xff"},
	} {
		_, err := b.Table.Create(t.Context(), table.Item{Key: newKey("s"), Indexes: indexes})
		wantError(t, "Create, "+name, err, table.ErrKey)
	}
	longest := map[table.Index]string{
		table.ByUser:   strings.Repeat("u", table.MaxIndexBytes),
		table.ByClient: strings.Repeat("c", table.MaxIndexBytes),
	}
	key := table.Key{Partition: (p + "longest" + long)[:table.MaxKeyBytes], Sort: long}
	create(t, b, table.Item{Key: key, Indexes: longest})
	if got := get(t, b, key).Indexes; !maps.Equal(got, longest) {
		t.Errorf("the longest indexes came back with %d and %d bytes", len(got[table.ByUser]), len(got[table.ByClient]))
	}
}

func testSizes(t *testing.T, b Backend) {
	key := newKey("a")
	data := bytes.Repeat([]byte{0, 0xff, 'x', '\n'}, table.MaxItemBytes/4)
	version := create(t, b, table.Item{Key: key, Data: data})
	wantData(t, b, key, string(data), version)

	_, err := b.Table.Replace(t.Context(), table.Item{Key: key, Data: append(data, 'x'), Version: version})
	wantError(t, "Replace by too much", err, table.ErrTooLarge)
	_, err = b.Table.Create(t.Context(), table.Item{Key: newKey("b"), Data: append(data, 'x')})
	wantError(t, "Create of too much", err, table.ErrTooLarge)
	wantData(t, b, key, string(data), version)
}

func testEndedContext(t *testing.T, b Backend) {
	key := newKey("a")
	version := create(t, b, table.Item{Key: key, Data: []byte("one")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, get := b.Table.Get(ctx, key)
	_, creating := b.Table.Create(ctx, table.Item{Key: newKey("b")})
	_, replacing := b.Table.Replace(ctx, table.Item{Key: key, Version: version})
	_, list := b.Table.List(ctx, key.Partition, table.ListOptions{})
	_, listIndex := b.Table.ListIndex(ctx, table.ByUser, "u", table.ListOptions{})
	for what, err := range map[string]error{
		"Get": get, "Create": creating, "Replace": replacing, "List": list, "ListIndex": listIndex,
		"Delete": b.Table.Delete(ctx, key, version),
	} {
		wantError(t, what, err, context.Canceled)
		wantError(t, what, err, table.ErrUnavailable)
	}
	wantData(t, b, key, "one", version)
}
