package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// clock is a clock that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return start.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// source is a Source that tests change, break and hold up.
type source struct {
	mu    sync.Mutex
	set   Keyset
	err   error
	loads int
	hold  chan struct{} // when not nil, Load waits for it
}

func (s *source) Load(ctx context.Context) (Keyset, error) {
	s.mu.Lock()
	s.loads++
	set, err, hold := s.set, s.err, s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Keyset{}, ctx.Err()
		}
	}
	return set, err
}

func (s *source) change(f func(*source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

func testKey(n byte, primaryFrom time.Time) Key {
	return Key{ID: fmt.Sprintf("key%05d", n), Secret: [32]byte{n}, PrimaryFrom: primaryFrom}
}

func newTestSealer(t *testing.T, keys ...Key) (*Sealer, *source, *clock) {
	t.Helper()
	if len(keys) == 0 {
		keys = []Key{testKey(1, start)}
	}
	src, clk := &source{set: Keyset{Keys: keys}}, &clock{}
	return New(src, clk.now), src, clk
}

func mustSeal(t *testing.T, s *Sealer, purpose Purpose, bind, plaintext string) string {
	t.Helper()
	sealed, err := s.Seal(t.Context(), purpose, bind, []byte(plaintext))
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return sealed
}

func TestSealOpen(t *testing.T) {
	s, src, _ := newTestSealer(t)
	for _, plaintext := range []string{"", "x", strings.Repeat("long ", 2000), "\x00\xff\n"} {
		sealed := mustSeal(t, s, "cookie", "tx", plaintext)
		if id, ok := KeyID(sealed); !ok || id != "key00001" {
			t.Errorf("KeyID = %q, %v", id, ok)
		}
		if strings.Trim(sealed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("sealed value is not base64url: %q", sealed)
		}
		opened, err := s.Open(t.Context(), "cookie", "tx", sealed)
		if err != nil || string(opened) != plaintext {
			t.Errorf("Open = %q, %v; want %q", opened, err, plaintext)
		}
	}
	if a, b := mustSeal(t, s, "cookie", "tx", "same"), mustSeal(t, s, "cookie", "tx", "same"); a == b {
		t.Error("the same plaintext sealed twice gives the same text")
	}
	if n := src.count(); n != 1 {
		t.Errorf("source was read %d times, want once", n)
	}
}

func TestH07_CiphertextSwap(t *testing.T) {
	old := testKey(2, start.Add(-time.Hour))
	s, _, _ := newTestSealer(t, testKey(1, start), old)
	sealed := mustSeal(t, s, "cookie", "tx-a", "secret")
	flip := func(i int) string { // one bit of one character's value
		alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		b := []byte(sealed)
		b[i] = alphabet[strings.IndexByte(alphabet, b[i])^1]
		return string(b)
	}
	tests := []struct {
		name         string
		purpose      Purpose
		bind, sealed string
		opens        bool
	}{
		{name: "as it was", purpose: "cookie", bind: "tx-a", sealed: sealed, opens: true},
		{name: "other purpose", purpose: "form", bind: "tx-a", sealed: sealed},
		{name: "other place", purpose: "cookie", bind: "tx-b", sealed: sealed},
		{name: "no place", purpose: "cookie", bind: "", sealed: sealed},
		{name: "border of purpose and place moved", purpose: "cookiet", bind: "x-a", sealed: sealed},
		{name: "other live key's id in front", purpose: "cookie", bind: "tx-a", sealed: old.ID + sealed[8:]},
		{name: "unknown key's id in front", purpose: "cookie", bind: "tx-a", sealed: "zzzzzzzz" + sealed[8:]},
		{name: "flipped bit of the nonce", purpose: "cookie", bind: "tx-a", sealed: flip(9)},
		{name: "flipped bit of the text", purpose: "cookie", bind: "tx-a", sealed: flip(26)},
		{name: "flipped bit of the tag", purpose: "cookie", bind: "tx-a", sealed: flip(len(sealed) - 2)},
		{name: "truncated", purpose: "cookie", bind: "tx-a", sealed: sealed[:len(sealed)-4]},
		{name: "extended", purpose: "cookie", bind: "tx-a", sealed: sealed + "AAAA"},
		{name: "padded", purpose: "cookie", bind: "tx-a", sealed: sealed + "="},
		{name: "line break within", purpose: "cookie", bind: "tx-a", sealed: sealed[:20] + "\n" + sealed[20:]},
		{name: "empty", purpose: "cookie", bind: "tx-a", sealed: ""},
		{name: "key id alone", purpose: "cookie", bind: "tx-a", sealed: sealed[:8]},
		{name: "huge", purpose: "cookie", bind: "tx-a", sealed: sealed[:8] + strings.Repeat("A", 1<<20)},
		{name: "not text", purpose: "cookie", bind: "tx-a", sealed: "\xff\xfe\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opened, err := s.Open(t.Context(), tt.purpose, tt.bind, tt.sealed)
			if tt.opens {
				if err != nil || string(opened) != "secret" {
					t.Errorf("Open = %q, %v", opened, err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || opened != nil {
				t.Errorf("Open = %q, %v; want ErrInvalid", opened, err)
			}
		})
	}
}

func TestH09_Rotation(t *testing.T) {
	a, b := testKey(1, start), testKey(2, start.Add(24*time.Hour))
	s, src, clk := newTestSealer(t, a)
	before := mustSeal(t, s, "cookie", "tx", "before")

	src.change(func(src *source) { src.set = Keyset{Keys: []Key{a, b}} })
	clk.advance(25 * time.Hour)
	after := mustSeal(t, s, "cookie", "tx", "after")
	if id, _ := KeyID(after); id != b.ID {
		t.Errorf("sealed with %s, want the new primary key %s", id, b.ID)
	}
	if opened, err := s.Open(t.Context(), "cookie", "tx", before); err != nil || string(opened) != "before" {
		t.Errorf("the old key no longer opens: %q, %v", opened, err)
	}
	a.Expires = start.Add(26 * time.Hour)
	src.change(func(src *source) { src.set = Keyset{Keys: []Key{a, b}} })
	clk.advance(12 * time.Hour)
	if _, err := s.Open(t.Context(), "cookie", "tx", before); !errors.Is(err, ErrInvalid) {
		t.Errorf("an expired key opens: %v", err)
	}
}

func TestH09_OutageWarm(t *testing.T) {
	s, src, clk := newTestSealer(t)
	sealed := mustSeal(t, s, "cookie", "tx", "text")
	down := errors.New("KMS is down")
	src.change(func(src *source) { src.err = down })
	clk.advance(100 * time.Hour)
	for range 10 {
		if opened, err := s.Open(t.Context(), "cookie", "tx", sealed); err != nil || string(opened) != "text" {
			t.Fatalf("Open on a warm sealer = %q, %v", opened, err)
		}
		mustSeal(t, s, "cookie", "tx", "more")
	}
	if n := src.count(); n != 2 {
		t.Errorf("source was read %d times, want twice: the first load and one refused re-read", n)
	}
	// A key id that this sealer has not read yet may be genuine: that is for the source to say.
	if _, err := s.Open(t.Context(), "cookie", "tx", "zzzzzzzz"+sealed[8:]); !errors.Is(err, ErrUnavailable) || !errors.Is(err, down) {
		t.Errorf("unknown key id while the source is down: %v, want ErrUnavailable and its cause", err)
	}
	src.change(func(src *source) { src.err = nil })
	clk.advance(time.Minute)
	if _, err := s.Open(t.Context(), "cookie", "tx", "zzzzzzzz"+sealed[8:]); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown key id after the outage: %v, want ErrInvalid", err)
	}
}

func TestH09_OutageCold(t *testing.T) {
	s, src, clk := newTestSealer(t)
	src.change(func(src *source) { src.err = errors.New("KMS is down") })
	for range 5 {
		if sealed, err := s.Seal(t.Context(), "cookie", "tx", []byte("text")); !errors.Is(err, ErrUnavailable) || sealed != "" {
			t.Fatalf("Seal = %q, %v; want ErrUnavailable", sealed, err)
		}
		if _, err := s.Derive(t.Context(), "cookie", "", "info"); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Derive = %v, want ErrUnavailable", err)
		}
	}
	if n := src.count(); n != 1 {
		t.Errorf("source was read %d times within a second, want once", n)
	}
	src.change(func(src *source) { src.err = nil })
	clk.advance(time.Second)
	mustSeal(t, s, "cookie", "tx", "text")

	for name, set := range map[string]Keyset{"empty": {}, "expired": {Keys: []Key{{ID: "key00001", Expires: start}}}} {
		t.Run(name, func(t *testing.T) {
			s := New(&source{set: set}, (&clock{}).now)
			if _, err := s.Seal(t.Context(), "cookie", "tx", nil); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Seal = %v, want ErrUnavailable", err)
			}
		})
	}
}

func TestGarbageReadsOnceAMinute(t *testing.T) {
	s, src, clk := newTestSealer(t)
	for range 50 { // malformed: not even a cold sealer reads for it
		if _, err := s.Open(t.Context(), "cookie", "tx", "not a sealed value"); !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
	}
	if n := src.count(); n != 0 {
		t.Fatalf("malformed text caused %d reads", n)
	}
	sealed := mustSeal(t, s, "cookie", "tx", "text")
	for i := range 600 { // one made-up key id per second, ten minutes long
		clk.advance(time.Second)
		made := fmt.Sprintf("%08d%s", i, sealed[8:])
		if _, err := s.Open(t.Context(), "cookie", "tx", made); !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
		if _, err := s.Derive(t.Context(), "cookie", made[:8], "info"); !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
	}
	if n := src.count(); n != 11 {
		t.Errorf("ten minutes of made-up key ids caused %d reads after the first, want 10", n-1)
	}
}

func TestUnknownKeyIsReadOnDemand(t *testing.T) {
	a, b := testKey(1, start), testKey(2, start)
	s, src, clk := newTestSealer(t, a)
	mustSeal(t, s, "cookie", "tx", "text")
	other, _, _ := newTestSealer(t, b)
	sealed := mustSeal(t, other, "cookie", "tx", "by another instance")
	src.change(func(src *source) { src.set = Keyset{Keys: []Key{a, b}} })
	clk.advance(time.Minute)
	if opened, err := s.Open(t.Context(), "cookie", "tx", sealed); err != nil || string(opened) != "by another instance" {
		t.Errorf("Open = %q, %v", opened, err)
	}
}

func TestOneReadForAll(t *testing.T) {
	s, src, _ := newTestSealer(t)
	hold := make(chan struct{})
	src.change(func(src *source) { src.hold = hold })

	// A request that gives up does not take the read with it.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Seal(gone, "cookie", "tx", nil); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("Seal with a cancelled context = %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.Seal(t.Context(), "cookie", "tx", nil); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wg.Wait()
	if n := src.count(); n != 1 {
		t.Errorf("source was read %d times, want once", n)
	}
}

func TestWarmDoesNotWaitForAHangingSource(t *testing.T) {
	s, src, clk := newTestSealer(t)
	sealed := mustSeal(t, s, "cookie", "tx", "text")
	hold := make(chan struct{})
	defer close(hold)
	src.change(func(src *source) { src.hold = hold })
	clk.advance(13 * time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	// The one who starts the read waits until its own context ends, and is served all the same.
	if _, err := s.Open(ctx, "cookie", "tx", sealed); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // nobody else waits at all
		if _, err := s.Open(t.Context(), "cookie", "tx", sealed); err != nil {
			t.Fatal(err)
		}
	}
	if n := src.count(); n != 2 {
		t.Errorf("source was read %d times, want 2", n)
	}
}

func TestDerive(t *testing.T) {
	a, b := testKey(1, start), testKey(2, start.Add(time.Hour))
	s, _, clk := newTestSealer(t, a, b)
	derive := func(purpose Purpose, id, info string) [32]byte {
		t.Helper()
		out, err := s.Derive(t.Context(), purpose, id, info)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := derive("verifier", "", "tx")
	if first != derive("verifier", a.ID, "tx") {
		t.Error("the empty key id is not the primary key")
	}
	for name, other := range map[string][32]byte{
		"other purpose": derive("nonce", "", "tx"), "other info": derive("verifier", "", "ty"), "other key": derive("verifier", b.ID, "tx"),
	} {
		if first == other {
			t.Errorf("%s gives the same bytes", name)
		}
	}
	clk.advance(2 * time.Hour)
	if first == derive("verifier", "", "tx") || first != derive("verifier", a.ID, "tx") {
		t.Error("after rotation the primary key must change and the old key must still derive the same")
	}
	for _, id := range []string{"zzzzzzzz", "short", "key-0001"} {
		if _, err := s.Derive(t.Context(), "verifier", id, "tx"); !errors.Is(err, ErrInvalid) {
			t.Errorf("Derive(%q) = %v, want ErrInvalid", id, err)
		}
	}
}

func TestBox(t *testing.T) {
	key := DeriveKey([]byte("secret"), "grant")
	if key == DeriveKey([]byte("secret"), "other") || key == DeriveKey([]byte("secreu"), "grant") {
		t.Fatal("DeriveKey ignores a part of its input")
	}
	boxed := Box(key, []byte("grant 1"), []byte("claims"))
	if opened, err := OpenBox(key, []byte("grant 1"), boxed); err != nil || string(opened) != "claims" {
		t.Fatalf("OpenBox = %q, %v", opened, err)
	}
	for i := range boxed {
		bad := bytes.Clone(boxed)
		bad[i] ^= 1
		if _, err := OpenBox(key, []byte("grant 1"), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	for n := range boxed {
		if _, err := OpenBox(key, []byte("grant 1"), boxed[:n]); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := OpenBox(key, []byte("grant 2"), boxed); !errors.Is(err, ErrInvalid) {
		t.Errorf("other aad: %v", err)
	}
	if _, err := OpenBox([32]byte{}, []byte("grant 1"), boxed); !errors.Is(err, ErrInvalid) {
		t.Errorf("other key: %v", err)
	}
}

// FuzzOpen holds the promise of non-malleability: text that parses has exactly one spelling, and what opens seals to
// the very same text again under its own nonce. Whatever is tried, the source is read once a minute at most.
func FuzzOpen(f *testing.F) {
	key := testKey(1, start)
	src, clk := &source{set: Keyset{Keys: []Key{key}}}, &clock{}
	s := New(src, clk.now)
	for _, plaintext := range []string{"", "a", "ab", "abc", "a longer plaintext"} {
		text, err := s.Seal(context.Background(), "cookie", "tx", []byte(plaintext))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text + "\n")
		f.Add(text + "=")
		f.Add(text[:len(text)-1])
		f.Add("zzzzzzzz" + text[8:])
	}
	f.Add("")
	derived := DeriveKey(key.Secret[:], "mcp-access-oauth seal cookie")
	block, err := aes.NewCipher(derived[:])
	if err != nil {
		f.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, boxed, ok := parse(text)
		if ok && format(id, boxed) != text {
			t.Errorf("parse accepts %q, which is spelled %q", text, format(id, boxed))
		}
		plaintext, err := s.Open(t.Context(), "cookie", "tx", text)
		switch {
		case err == nil:
			nonce := boxed[:gcm.NonceSize()]
			again := gcm.Seal(bytes.Clone(nonce), nonce, plaintext, associate(id, "cookie", "tx"))
			if format(id, again) != text {
				t.Errorf("%q opens, and seals again to %q", text, format(id, again))
			}
		case !errors.Is(err, ErrInvalid):
			t.Errorf("Open(%q) = %v", text, err)
		}
		if n := src.count(); n > 2 {
			t.Errorf("%d source reads within a minute", n)
		}
	})
}

func BenchmarkSealOpen(b *testing.B) {
	s := New(&source{set: Keyset{Keys: []Key{testKey(1, start)}}}, time.Now)
	plaintext := make([]byte, 1024)
	_, _ = rand.Read(plaintext)
	b.ReportAllocs()
	for b.Loop() {
		sealed, err := s.Seal(b.Context(), "cookie", "tx", plaintext)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Open(b.Context(), "cookie", "tx", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
