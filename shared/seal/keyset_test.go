package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPrimary(t *testing.T) {
	hour := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	expiring := func(k Key, at time.Time) Key { k.Expires = at; return k }
	tests := []struct {
		name string
		keys []Key
		want string // "" for none
	}{
		{"none", nil, ""},
		{"one", []Key{testKey(1, hour(-1))}, "key00001"},
		{"from this very instant", []Key{testKey(1, hour(-1)), testKey(2, hour(0))}, "key00002"},
		{"the next one only opens", []Key{testKey(1, hour(-1)), testKey(2, hour(1))}, "key00001"},
		{"order in the set is of no account", []Key{testKey(2, hour(-1)), testKey(1, hour(-2))}, "key00002"},
		{"equal times go by id", []Key{testKey(2, hour(-1)), testKey(1, hour(-1))}, "key00002"},
		{"an expired one never seals", []Key{testKey(1, hour(-2)), expiring(testKey(2, hour(-1)), hour(0))}, "key00001"},
		{"made by a clock ahead of ours", []Key{testKey(2, hour(2)), testKey(1, hour(1))}, "key00001"},
		{"all expired", []Key{expiring(testKey(1, hour(-2)), hour(-1))}, ""},
		{"no time at all", []Key{testKey(1, time.Time{})}, "key00001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Keyset{tt.keys}.Primary(start)
			if got.ID != tt.want || ok != (tt.want != "") {
				t.Errorf("Primary = %q, %v; want %q", got.ID, ok, tt.want)
			}
		})
	}
}

func TestRotate(t *testing.T) {
	fresh := func(primaryFrom time.Time) (Key, error) { return testKey(9, primaryFrom), nil }
	day := 24 * time.Hour
	one := Keyset{[]Key{testKey(1, start)}}

	same, done, err := one.Rotate(start.Add(29*day-time.Second), fresh)
	if err != nil || done.Changed() || len(same.Keys) != 1 {
		t.Errorf("rotated before its time: %+v, %v", done, err)
	}
	two, done, err := one.Rotate(start.Add(29*day), fresh)
	if err != nil || done.Added != "key00009" || len(two.Keys) != 2 {
		t.Fatalf("Rotate = %+v, %v", done, err)
	}
	if got := two.Keys[1].PrimaryFrom; !got.Equal(start.Add(30 * day)) {
		t.Errorf("the new key becomes primary at %v, want a day later", got)
	}
	if got := two.Keys[0].Expires; !got.Equal(start.Add(61 * day)) {
		t.Errorf("the old key expires at %v, want %v and a day after the new one took over", got, Longest)
	}
	if one.Keys[0].Expires != (time.Time{}) {
		t.Error("Rotate changed the keyset it was called on")
	}
	if _, done, _ = two.Rotate(start.Add(58*day), fresh); done.Changed() {
		t.Errorf("rotated again too early: %+v", done)
	}
	last, done, _ := two.Rotate(start.Add(61*day), fresh)
	if len(done.Removed) != 1 || done.Removed[0] != "key00001" || len(last.Keys) != 2 {
		t.Errorf("Rotate = %+v, want the expired key removed and a successor added", done)
	}
	if set, done, err := (Keyset{}).Rotate(start, fresh); err != nil || done.Added == "" || !set.Keys[0].PrimaryFrom.Equal(start) {
		t.Errorf("an empty keyset must get a key that seals at once: %+v, %v", done, err)
	}
	fault := errors.New("no randomness")
	if _, _, err := one.Rotate(start.Add(29*day), func(time.Time) (Key, error) { return Key{}, fault }); !errors.Is(err, fault) {
		t.Errorf("Rotate = %v, want the fault of fresh", err)
	}
}

// A value sealed at any time opens until the end of its life, however often the janitor ran and however stale the copy
// that sealed it (up to maxAge).
func TestRotateBreaksNothingInFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := byte(0)
		fresh := func(primaryFrom time.Time) (Key, error) { n++; return testKey(n, primaryFrom), nil }
		now := start
		set, _, _ := Keyset{}.Rotate(now, fresh)
		seen, seenAt := set, now // what a function remembers
		type value struct {
			key     string
			expires time.Time
		}
		var values []value
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 40*24).Draw(t, "hours")) * time.Hour / 4)
			if rapid.Bool().Draw(t, "janitor") {
				set, _, _ = set.Rotate(now, fresh)
			}
			if now.Sub(seenAt) >= maxAge {
				seen, seenAt = set, now
			}
			key, ok := seen.Primary(now)
			if !ok {
				t.Fatalf("no key to seal with at %v", now)
			}
			values = append(values, value{key.ID, now.Add(Longest)})
			for _, v := range values {
				if _, ok := set.Openable(v.key, now); !ok && now.Before(v.expires) {
					t.Fatalf("at %v key %s is gone, but a value lives until %v", now, v.key, v.expires)
				}
			}
			if len(set.Keys) > 5 {
				t.Fatalf("%d keys pile up", len(set.Keys))
			}
		}
	})
}

func TestEncodeDecode(t *testing.T) {
	key, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 40)), start)
	if err != nil || !validKeyID(key.ID) {
		t.Fatalf("NewKey = %v, %v", key, err)
	}
	small, _ := NewKey(bytes.NewReader(make([]byte, 40)), start)
	if !validKeyID(small.ID) {
		t.Errorf("id %q of a small number is not 8 characters long", small.ID)
	}
	if _, err := NewKey(bytes.NewReader(make([]byte, 39)), start); err == nil {
		t.Error("NewKey accepts too little randomness")
	}
	want := Keyset{[]Key{key, {ID: "abcDEF12", Secret: [32]byte{1}, PrimaryFrom: start.Add(time.Hour), Expires: start.Add(2 * time.Hour)}}}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeKeyset(data)
	if err != nil || len(got.Keys) != 2 || got.Keys[0] != want.Keys[0] || got.Keys[1] != want.Keys[1] {
		t.Errorf("DecodeKeyset = %v, %v", got, err)
	}
	for _, bad := range []string{
		``, `null`, `{}`, `[]`, `{"version":1}`, `{"version":2,"keys":[]}`, `{"version":1,"keys":[{"id":"short","secret":""}]}`,
		`{"version":1,"keys":[{"id":"abcdefgh","secret":"AAAA"}]}`, strings.Replace(string(data), "abcDEF12", key.ID, 1),
	} {
		if _, err := DecodeKeyset([]byte(bad)); err == nil {
			t.Errorf("DecodeKeyset accepts %s", bad)
		}
	}
}

func TestH05_KeysDoNotPrint(t *testing.T) {
	key := Key{ID: "abcdefgh", Secret: [32]byte(bytes.Repeat([]byte("S"), 32))}
	set := Keyset{[]Key{key}}
	out := fmt.Sprintf("%v %+v %#v %s %d %x %v %+v", key, key, key, key, key, key, set, &set)
	asJSON, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{out, string(asJSON)} {
		if strings.Contains(text, "SSSS") || strings.Contains(text, "83") || strings.Contains(text, "5353") {
			t.Errorf("a key prints its secret: %s", text)
		}
	}
}
