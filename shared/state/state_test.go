package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"mcp-access-oauth/shared/table"
)

func TestValues(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, ada := t.Context(), f.For("ada")
		get := func(name, want string) {
			t.Helper()
			if value, err := ada.Get(ctx, name); err != nil || string(value) != want {
				t.Errorf("%s is %q, %v; want %q", name, value, err, want)
			}
		}
		f.budget(t, "a value that is not there", 1, 0, func() {
			if value, err := ada.Get(ctx, "colour"); value != nil || err != nil {
				t.Errorf("no value is %q, %v", value, err)
			}
		})
		set := func(name string, value []byte) {
			t.Helper()
			if err := ada.Set(ctx, name, value); err != nil {
				t.Fatal(err)
			}
		}
		f.budget(t, "the first value", 1, 1, func() { set("colour", []byte("red")) })
		f.budget(t, "another value", 1, 1, func() { set("colour", []byte("blue")) })
		f.budget(t, "the same value", 1, 0, func() { set("colour", []byte("blue")) })
		get("colour", "blue")
		set("Colour", []byte{0, 255, 10}) // names are told apart by case, and values are bytes
		get("Colour", "\x00\xff\n")
		get("colour", "blue")
		f.budget(t, "removing", 1, 1, func() { set("colour", nil) })
		f.budget(t, "removing what is not there", 1, 0, func() { set("colour", nil) })
		if value, err := ada.Get(ctx, "colour"); value != nil || err != nil {
			t.Errorf("a removed value is %q, %v", value, err)
		}
		set("colour", []byte{})
		if value, err := ada.Get(ctx, "colour"); value == nil || len(value) != 0 || err != nil {
			t.Errorf("an empty value is %#v, %v; it is there", value, err)
		}
		f.clock.Advance(20 * 365 * 24 * time.Hour)
		get("Colour", "\x00\xff\n") // state does not expire
	})
}

func TestUpdate(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, ada := t.Context(), f.For("ada")
		count := func(value []byte) ([]byte, error) {
			var n int
			if value != nil {
				if err := json.Unmarshal(value, &n); err != nil {
					return nil, err
				}
			}
			return json.Marshal(n + 1)
		}
		// Writers of one value at once: each counts itself, or is told that it has not.
		var group sync.WaitGroup
		var mu sync.Mutex
		counted := 0
		for range 4 {
			group.Go(func() {
				for range 5 {
					err := ada.Update(ctx, "count", count)
					if err != nil && !errors.Is(err, ErrBusy) {
						t.Error(err)
					}
					if err == nil {
						mu.Lock()
						counted++
						mu.Unlock()
					}
				}
			})
		}
		group.Wait()
		if value, err := ada.Get(ctx, "count"); err != nil || string(value) != fmt.Sprint(counted) || counted == 0 {
			t.Errorf("the count is %s after %d updates, %v", value, counted, err)
		}
		refusal := errors.New("not today")
		if err := ada.Update(ctx, "count", func([]byte) ([]byte, error) { return []byte("0"), refusal }); !errors.Is(err, refusal) {
			t.Errorf("error %v, want %v", err, refusal)
		}
		if value, _ := ada.Get(ctx, "count"); string(value) != fmt.Sprint(counted) {
			t.Errorf("a refused update left %s", value)
		}
	})
}

// A writer that always loses is told so, as a fault that passes.
func TestUpdateGivesUp(t *testing.T) {
	f := newFixture(t)
	ada, calls := f.For("ada"), 0
	err := ada.Update(t.Context(), "count", func(value []byte) ([]byte, error) {
		calls++
		other := []byte(fmt.Sprint(calls)) // another writer is faster, every time
		if err := ada.Set(t.Context(), "count", other); err != nil {
			return nil, err
		}
		return []byte("mine"), nil
	})
	if !errors.Is(err, ErrBusy) || !errors.Is(err, table.ErrUnavailable) || calls != maxTries {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

func texts(entries []Entry) (texts []string) {
	for _, entry := range entries {
		texts = append(texts, string(entry.Data))
	}
	return texts
}

func TestLists(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, ada := t.Context(), f.For("ada")
		list := func(name string, limit int, want ...string) {
			t.Helper()
			if entries, err := ada.List(ctx, name, limit); err != nil || !slices.Equal(texts(entries), want) {
				t.Errorf("%s is %q, %v; want %q", name, texts(entries), err, want)
			}
		}
		list("notes", 10)
		for n := range 5 {
			f.budget(t, "appending", 1, 1, func() {
				if err := ada.Append(ctx, "notes", fmt.Append(nil, "note ", n), 5); err != nil {
					t.Fatal(err)
				}
			})
			f.tick()
		}
		list("notes", 10, "note 4", "note 3", "note 2", "note 1", "note 0")
		list("notes", 2, "note 4", "note 3")
		list("notes", 0, "note 4")
		list("notes", -1, "note 4")
		f.budget(t, "appending to a full list", 1, 2, func() {
			if err := ada.Append(ctx, "notes", []byte("note 5"), 5); err != nil {
				t.Fatal(err)
			}
		})
		list("notes", 1000, "note 5", "note 4", "note 3", "note 2", "note 1")
		f.tick()
		appended := f.clock.Now()
		if err := ada.Append(ctx, "notes", nil, 2); err != nil { // an empty entry is one too, and fewer are kept
			t.Fatal(err)
		}
		list("notes", 1000, "", "note 5")
		if entries, err := ada.List(ctx, "notes", 1); err != nil || !entries[0].Time.Equal(appended) {
			t.Errorf("appended at %v: %v, %v", appended, entries, err)
		}
		f.tick()
		if err := ada.Append(ctx, "notes", []byte("last"), 0); err != nil { // the entry itself always stays
			t.Fatal(err)
		}
		list("notes", 1000, "last")
		// Neither another list nor a value of the same name is the same.
		if err := ada.Set(ctx, "notes", []byte("value")); err != nil {
			t.Fatal(err)
		}
		list("note", 10)
		list("notes", 10, "last")
		f.clock.Advance(20 * 365 * 24 * time.Hour)
		list("notes", 10, "last")
	})
}

// A list of the largest entries fills more than one of DynamoDB's pages, which end at 1 MB: it is read whole, and
// trimmed all the same.
func TestListOfTheLargestEntries(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, ada := t.Context(), f.For("ada")
		entry := bytes.Repeat([]byte("x"), MaxValueBytes)
		const keep = 20
		for n := range keep + 3 {
			if err := ada.Append(ctx, "large", append(fmt.Appendf(nil, "%03d", n), entry[3:]...), keep); err != nil {
				t.Fatal(err)
			}
			f.tick()
		}
		entries, err := ada.List(ctx, "large", MaxList)
		if err != nil || len(entries) != keep {
			t.Fatalf("%d entries are kept, want %d; %v", len(entries), keep, err)
		}
		for i, e := range entries {
			if want := fmt.Sprintf("%03d", keep+2-i); string(e.Data[:3]) != want || len(e.Data) != MaxValueBytes {
				t.Errorf("entry %d is %s, %d bytes; want %s", i, e.Data[:3], len(e.Data), want)
			}
		}
	})
}

// Appends never wait for or lose against each other, whatever process they come from.
func TestAppendsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		const writers, each = 6, 5
		var group sync.WaitGroup
		for w := range writers {
			instance := &Store{Table: f.table, Now: f.clock.Now}
			group.Go(func() {
				for n := range each {
					if err := instance.For("ada").Append(t.Context(), "notes", fmt.Append(nil, w, n), MaxList+1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		entries, err := f.For("ada").List(t.Context(), "notes", 1000)
		got := texts(entries)
		slices.Sort(got)
		if err != nil || len(slices.Compact(got)) != writers*each {
			t.Errorf("%d entries of %d, %v", len(got), writers*each, err)
		}
	})
}

func TestListsAreBounded(t *testing.T) {
	f := newFixture(t)
	ada := f.For("ada")
	for n := range MaxList + 5 {
		if err := ada.Append(t.Context(), "notes", fmt.Append(nil, n), 10*MaxList); err != nil {
			t.Fatal(err)
		}
		f.tick()
	}
	partition := ada.listPartition("notes")
	if page, err := f.table.List(t.Context(), partition, table.ListOptions{Limit: 10 * MaxList}); err != nil || len(page.Items) != MaxList {
		t.Errorf("%d entries are kept, %v", len(page.Items), err)
	}
	// One that another writer has just appended is there before it is trimmed.
	if _, err := f.table.Create(t.Context(), table.Item{Key: table.Key{Partition: partition, Sort: "0"}}); err != nil {
		t.Fatal(err)
	}
	if entries, err := ada.List(t.Context(), "notes", 10*MaxList); err != nil || len(entries) != MaxList || string(entries[MaxList-1].Data) != "5" {
		t.Errorf("%d entries are listed, %v", len(entries), err)
	}
}

func TestPeopleAreApart(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		people := []string{"ada", "Ada", "ada ", "ad", "adaa", "https://a.example\x00ada", "https://a.example\x00", "\x00ada", "ada/notes", "3:ada", strings.Repeat("a", 5000)}
		for _, person := range people {
			if value, err := f.For(person).Get(ctx, "name"); value != nil || err != nil {
				t.Errorf("%.20q begins with %q, %v", person, value, err)
			}
			if entries, err := f.For(person).List(ctx, "names", 10); len(entries) != 0 || err != nil {
				t.Errorf("%.20q begins with %q, %v", person, entries, err)
			}
			if err := errors.Join(f.For(person).Set(ctx, "name", []byte(person)), f.For(person).Append(ctx, "names", []byte(person), 10)); err != nil {
				t.Fatal(err)
			}
		}
		for _, person := range people {
			value, err := f.For(person).Get(ctx, "name")
			entries, err2 := f.For(person).List(ctx, "names", 10)
			if err != nil || err2 != nil || string(value) != person || !slices.Equal(texts(entries), []string{person}) {
				t.Errorf("%.20q has %.20q and %.20q, %v, %v", person, value, texts(entries), err, err2)
			}
		}
	})
}

func TestKeysDoNotNameThePerson(t *testing.T) {
	f := newFixture(t)
	f.table.before = func(op string, key table.Key) error {
		if strings.Contains(key.Partition+key.Sort, "ada") {
			t.Errorf("%s of %+v", op, key)
		}
		return nil
	}
	user := f.For("https://idp.example\x00ada@example.com")
	mailbox := NewMailbox(f.Store)
	if err := errors.Join(user.Set(t.Context(), "n", nil), user.Append(t.Context(), "l", nil, 1)); err != nil {
		t.Fatal(err)
	}
	stream, err := mailbox.OpenStream(t.Context(), "ada@example.com", "client of ada", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mailbox.Open(t.Context(), "ada@example.com", "client of ada", stream.ID); err != nil {
		t.Fatal(err)
	}
}

func TestBounds(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, ada := t.Context(), f.For("ada")
		largest := bytes.Repeat([]byte{0xff}, MaxValueBytes)
		if err := errors.Join(ada.Set(ctx, "value", largest), ada.Append(ctx, "list", largest, 1)); err != nil {
			t.Fatal(err)
		}
		larger := append(largest, 0)
		for what, err := range map[string]error{"Set": ada.Set(ctx, "value", larger), "Append": ada.Append(ctx, "list", larger, 1)} {
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: %v", what, err)
			}
		}
		value, err := ada.Get(ctx, "value")
		entries, err2 := ada.List(ctx, "list", 10)
		if err != nil || err2 != nil || !bytes.Equal(value, largest) || len(entries) != 1 || !bytes.Equal(entries[0].Data, largest) {
			t.Errorf("what was too large changed what was there: %v, %v", err, err2)
		}
	})
}

func TestNames(t *testing.T) {
	f := newFixture(t)
	all := func(user User, name string) []error {
		_, get := user.Get(t.Context(), name)
		_, list := user.List(t.Context(), name, 1)
		update := user.Update(t.Context(), name, func([]byte) ([]byte, error) { return []byte("x"), nil })
		return []error{get, list, update, user.Set(t.Context(), name, []byte("x")), user.Append(t.Context(), name, []byte("x"), 1)}
	}
	for _, name := range []string{"a", "A-b_c.9", "..", strings.Repeat("n", MaxNameBytes)} {
		if err := errors.Join(all(f.For("ada"), name)...); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	f.budget(t, "bad names", 0, 0, func() {
		for _, name := range []string{"", " ", "a b", "a/b", "a\x00", "é", "a:b", "a\n", strings.Repeat("n", MaxNameBytes+1)} {
			for i, err := range all(f.For("ada"), name) {
				if !errors.Is(err, ErrName) {
					t.Errorf("%q, method %d: %v", name, i, err)
				}
			}
		}
		for _, nobody := range []User{{}, f.For("")} {
			for i, err := range all(nobody, "name") {
				if err == nil || errors.Is(err, table.ErrUnavailable) {
					t.Errorf("nobody, method %d: %v", i, err)
				}
			}
		}
	})
}

func TestFaults(t *testing.T) {
	f := newFixture(t)
	ada := f.For("ada")
	if err := errors.Join(ada.Set(t.Context(), "name", []byte("x")), ada.Append(t.Context(), "names", nil, 1)); err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"get", "list", "create", "replace", "delete"} {
		f.table.before = func(now string, _ table.Key) error {
			if now == op {
				return fmt.Errorf("throttled: %w", table.ErrUnavailable)
			}
			return nil
		}
		_, get := ada.Get(t.Context(), "name")
		_, list := ada.List(t.Context(), "names", 1)
		faults := map[string][]error{
			"get":     {get, ada.Set(t.Context(), "name", []byte("y"))},
			"list":    {list, ada.Append(t.Context(), "names", nil, 1)},
			"create":  {ada.Set(t.Context(), "new-"+op, []byte("y")), ada.Append(t.Context(), "names", nil, 1)},
			"replace": {ada.Set(t.Context(), "name", []byte(time.Now().String()))},
			"delete":  {ada.Set(t.Context(), "name", nil), ada.Append(t.Context(), "names", nil, 1)},
		}
		for i, err := range faults[op] {
			if !errors.Is(err, table.ErrUnavailable) {
				t.Errorf("%s, %d: %v", op, i, err)
			}
		}
		f.tick()
	}
	f.table.before = nil
	f.Rand = iotest.ErrReader(errors.New("no randomness"))
	if err := ada.Append(t.Context(), "names", nil, 1); err == nil {
		t.Error("an entry without randomness was appended")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ada.Get(ended, "name"); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end a context reads: %v", err)
	}
}
