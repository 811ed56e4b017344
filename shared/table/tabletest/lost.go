package tabletest

import (
	"testing"

	"mcp-access-oauth/shared/table"
)

// Here the answer to a write is lost after the write was stored. The backend tries again, finds its own attempt in the
// way, and must know it for its own.

func testLostAnswer(t *testing.T, b Backend) {
	if b.LoseAnswer == nil {
		t.Skip("this backend has no wire that could lose an answer")
	}
	key := newKey("a")
	b.LoseAnswer(nil)
	first := create(t, b, table.Item{Key: key, Data: []byte("one")})
	wantData(t, b, key, "one", first)

	b.LoseAnswer(nil)
	second, err := b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("two"), Version: first})
	if err != nil {
		t.Fatalf("Replace whose answer was lost: %v", err)
	}
	wantData(t, b, key, "two", second)

	// Refusals stay refusals when their answer is lost.
	b.LoseAnswer(nil)
	_, err = b.Table.Create(t.Context(), table.Item{Key: key, Data: []byte("other")})
	wantError(t, "Create of an existing item", err, table.ErrExists)
	b.LoseAnswer(nil)
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("other"), Version: first})
	wantError(t, "Replace of an old version", err, table.ErrConflict)
	b.LoseAnswer(nil)
	wantError(t, "Delete of an old version", b.Table.Delete(t.Context(), key, first), table.ErrConflict)
	wantData(t, b, key, "two", second)

	b.LoseAnswer(nil)
	if err := b.Table.Delete(t.Context(), key, second); err != nil {
		t.Errorf("Delete whose answer was lost: %v", err)
	}
	wantAbsent(t, b, key)
}

func testLostAnswerOvertaken(t *testing.T, b Backend) {
	if b.LoseAnswer == nil {
		t.Skip("this backend has no wire that could lose an answer")
	}
	// overwrite is another writer, who reads what it finds and replaces it.
	overwrite := func(key table.Key, data string) func() {
		return func() {
			item := get(t, b, key)
			item.Data = append(item.Data, data...)
			if _, err := b.Table.Replace(t.Context(), *item); err != nil {
				t.Errorf("the other writer: %v", err)
			}
		}
	}

	// Overwritten once: the item names its predecessor, so the write is still known to have counted.
	key := newKey("a")
	b.LoseAnswer(overwrite(key, "+"))
	first := create(t, b, table.Item{Key: key, Data: []byte("one")})
	if got := get(t, b, key); string(got.Data) != "one+" || got.Version == first {
		t.Errorf("after the other writer: %q", got.Data)
	}
	current := get(t, b, key)
	b.LoseAnswer(overwrite(key, "+"))
	second, err := b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("two"), Version: current.Version})
	if err != nil {
		t.Errorf("Replace, overwritten once: %v", err)
	}
	if got := get(t, b, key); string(got.Data) != "two+" {
		t.Errorf("after the other writer: %q", got.Data)
	}
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Version: second})
	wantError(t, "Replace of the overwritten version", err, table.ErrConflict)

	// Overwritten twice: nobody can tell, and the answer is just that.
	current = get(t, b, key)
	b.LoseAnswer(func() { overwrite(key, "+")(); overwrite(key, "+")() })
	_, err = b.Table.Replace(t.Context(), table.Item{Key: key, Data: []byte("three"), Version: current.Version})
	wantError(t, "Replace, overwritten twice", err, table.ErrUnavailable)

	// Deleted by another: the retry finds the key free and creates the item anew, under the same attempt id.
	key = newKey("b")
	b.LoseAnswer(func() {
		if err := b.Table.Delete(t.Context(), key, get(t, b, key).Version); err != nil {
			t.Errorf("the other writer: %v", err)
		}
	})
	version, err := b.Table.Create(t.Context(), table.Item{Key: key, Data: []byte("one")})
	if err != nil {
		t.Errorf("Create, deleted by another: %v", err)
	}
	wantData(t, b, key, "one", version)
}
