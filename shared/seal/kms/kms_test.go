package kms

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/seal/kms/kmstest"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
)

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// cloud is one stack's table and KMS, with a clock that tests move.
type cloud struct {
	t      *testing.T
	offset atomic.Int64
	table  *countingTable
	kms    *kmstest.Server
	url    string
}

// countingTable counts reads, and can lose its connection.
type countingTable struct {
	table.Table
	gets atomic.Int32
	down atomic.Bool
}

func (c *countingTable) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	c.gets.Add(1)
	if c.down.Load() {
		return nil, table.ErrUnavailable
	}
	return c.Table.Get(ctx, keys...)
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{t: t, kms: kmstest.New()}
	store, err := bolt.Open(filepath.Join(t.TempDir(), "table.db"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c.table = &countingTable{Table: store}
	server := httptest.NewServer(c.kms)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *cloud) now() time.Time          { return start.Add(time.Duration(c.offset.Load())) }
func (c *cloud) advance(d time.Duration) { c.offset.Add(int64(d)) }

func (c *cloud) client() *awskms.Client {
	return awskms.New(awskms.Options{
		BaseEndpoint: aws.String(c.url), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

// function is what one cold start makes: a source, and a sealer on it.
func (c *cloud) function(stack string) (*Source, *seal.Sealer) {
	source := New(Config{Table: c.table, Client: c.client, KeyID: kmstest.KeyARN, Stack: stack, Now: c.now, Rand: rand.Reader})
	return source, seal.New(source, c.now)
}

func mustSeal(t *testing.T, s *seal.Sealer, plaintext string) string {
	t.Helper()
	sealed, err := s.Seal(t.Context(), "cookie", "tx", []byte(plaintext))
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return sealed
}

func opens(t *testing.T, s *seal.Sealer, sealed, want string) {
	t.Helper()
	if opened, err := s.Open(t.Context(), "cookie", "tx", sealed); err != nil || string(opened) != want {
		t.Errorf("Open = %q, %v; want %q", opened, err, want)
	}
}

func TestOneDecryptPerColdStart(t *testing.T) {
	c := newCloud(t)
	_, first := c.function("prod")
	sealed := mustSeal(t, first, "text")
	if e, d := c.kms.Calls("Encrypt"), c.kms.Calls("Decrypt"); e != 1 || d != 0 {
		t.Errorf("the creator called Encrypt %d and Decrypt %d times, want 1 and 0", e, d)
	}
	_, second := c.function("prod")
	for range 20 {
		opens(t, second, sealed, "text")
		mustSeal(t, second, "more")
	}
	for _, purpose := range []seal.Purpose{"form", "approval"} {
		if _, err := second.Derive(t.Context(), purpose, "", "info"); err != nil {
			t.Fatal(err)
		}
	}
	if e, d := c.kms.Calls("Encrypt"), c.kms.Calls("Decrypt"); e != 1 || d != 1 {
		t.Errorf("after a cold start Encrypt was called %d and Decrypt %d times in all, want 1 and 1", e, d)
	}
	if n := c.table.gets.Load(); n != 2 {
		t.Errorf("two cold starts read the table %d times, want 2", n)
	}
	// Half a day later the record is read again, and KMS is not asked, for the record is the same.
	c.advance(13 * time.Hour)
	opens(t, second, sealed, "text")
	if n, d := c.table.gets.Load(), c.kms.Calls("Decrypt"); n != 3 || d != 1 {
		t.Errorf("the re-read took %d table reads and %d Decrypts in all, want 3 and 1", n, d)
	}
}

func TestClientIsBuiltOnFirstUse(t *testing.T) {
	c := newCloud(t)
	built := 0
	source := New(Config{Table: c.table, KeyID: kmstest.KeyARN, Stack: "prod", Now: c.now, Rand: rand.Reader,
		Client: func() *awskms.Client { built++; return c.client() }})
	s := seal.New(source, c.now)
	if _, err := s.Open(t.Context(), "cookie", "tx", "garbage"); !errors.Is(err, seal.ErrInvalid) || built != 0 || c.table.gets.Load() != 0 {
		t.Errorf("garbage: %v, %d clients built, %d table reads; want none", err, built, c.table.gets.Load())
	}
	mustSeal(t, s, "text")
	if _, err := source.Rotate(t.Context()); err != nil || built != 1 {
		t.Errorf("%d clients built (%v), want 1", built, err)
	}
}

func TestFirstComersAgree(t *testing.T) {
	c := newCloud(t)
	var wg sync.WaitGroup
	sealed := make([]string, 16)
	for i := range sealed {
		wg.Go(func() {
			_, s := c.function("prod")
			var err error
			if sealed[i], err = s.Seal(t.Context(), "cookie", "tx", []byte("text")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, s := c.function("prod")
	for _, text := range sealed {
		opens(t, s, text, "text")
	}
}

func TestEncryptionContext(t *testing.T) {
	c := newCloud(t)
	_, prod := c.function("prod")
	mustSeal(t, prod, "text")
	for _, context := range c.kms.Contexts() {
		if len(context) != 2 || context["purpose"] != Purpose || context["stack"] != "prod" {
			t.Errorf("encryption context %v", context)
		}
	}
	// The record of one stack put into another's table does not open, and nothing is sealed without it.
	_, other := c.function("staging")
	if _, err := other.Seal(t.Context(), "cookie", "tx", nil); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("another stack's record: %v, want ErrUnavailable", err)
	}
}

func TestH08_RecordHoldsNoKey(t *testing.T) {
	c := newCloud(t)
	source, _ := c.function("prod")
	keyset, err := source.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	items, err := c.table.Get(t.Context(), recordKey)
	if err != nil || items[0] == nil {
		t.Fatal(items, err)
	}
	if key := keyset.Keys[0]; bytes.Contains(items[0].Data, key.Secret[:]) || bytes.Contains(items[0].Data, []byte(key.ID)) {
		t.Error("the record shows a key")
	}
	bad := *items[0]
	bad.Data = bytes.Clone(bad.Data)
	bad.Data[len(bad.Data)-1] ^= 1
	if _, err := c.table.Replace(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	cold, _ := c.function("prod")
	if _, err := cold.Load(t.Context()); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("a tampered record: %v, want ErrUnavailable", err)
	}
}

func TestH09_RotationInFlight(t *testing.T) {
	c := newCloud(t)
	janitor, _ := c.function("prod")
	_, warm := c.function("prod")
	day := 24 * time.Hour
	oldest := mustSeal(t, warm, "oldest")

	if done, err := janitor.Rotate(t.Context()); err != nil || done.Changed() {
		t.Fatalf("rotation before its time: %+v, %v", done, err)
	}
	c.advance(29 * day)
	late := mustSeal(t, warm, "late") // an approval that lives another 30 days
	done, err := janitor.Rotate(t.Context())
	if err != nil || done.Added == "" || len(done.Removed) != 0 {
		t.Fatalf("Rotate = %+v, %v", done, err)
	}
	if again, err := janitor.Rotate(t.Context()); err != nil || again.Changed() {
		t.Errorf("a second run rotated again: %+v, %v", again, err)
	}
	c.kms.Rotate() // KMS's own yearly rotation of its material changes nothing for us
	_, cold := c.function("prod")
	if id, _ := seal.KeyID(mustSeal(t, cold, "x")); id == done.Added {
		t.Error("the new key seals before every function can have read it")
	}
	c.advance(day)
	_, cold = c.function("prod")
	fresh := mustSeal(t, cold, "fresh")
	if id, _ := seal.KeyID(fresh); id != done.Added {
		t.Errorf("a day later key %s seals, want %s", id, done.Added)
	}
	opens(t, warm, fresh, "fresh")
	opens(t, cold, oldest, "oldest")

	c.advance(28*day + 23*time.Hour) // just before the late approval ends
	_, cold = c.function("prod")
	opens(t, cold, late, "late")
	c.advance(time.Hour)
	if second, err := janitor.Rotate(t.Context()); err != nil || second.Added == "" || len(second.Removed) != 0 {
		t.Fatalf("Rotate = %+v, %v; want a third key, and none removed", second, err)
	}
	c.advance(3 * day)
	last, err := janitor.Rotate(t.Context())
	if err != nil || len(last.Removed) != 1 {
		t.Fatalf("Rotate = %+v, %v; want the first key removed", last, err)
	}
	for name, s := range map[string]*seal.Sealer{"warm": warm, "cold": cold} {
		if _, err := s.Open(t.Context(), "cookie", "tx", late); !errors.Is(err, seal.ErrInvalid) {
			t.Errorf("%s: a value of a removed key: %v, want ErrInvalid", name, err)
		}
	}
}

func TestRacingJanitorsRotateOnce(t *testing.T) {
	c := newCloud(t)
	source, _ := c.function("prod")
	if _, err := source.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.advance(30 * 24 * time.Hour)
	var added atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			janitor, _ := c.function("prod")
			done, err := janitor.Rotate(t.Context())
			if err != nil {
				t.Error(err)
			}
			if done.Added != "" {
				added.Add(1)
			}
		})
	}
	wg.Wait()
	keyset, err := source.Load(t.Context())
	if err != nil || added.Load() != 1 || len(keyset.Keys) != 2 {
		t.Errorf("%d janitors added a key, the set holds %v (%v); want 1 and two keys", added.Load(), keyset.Keys, err)
	}
}

func TestH09_Outage(t *testing.T) {
	for _, fault := range []kmstest.Fault{kmstest.Down, kmstest.Throttle, kmstest.Denied, kmstest.Disabled} {
		t.Run(string(fault), func(t *testing.T) {
			c := newCloud(t)
			_, warm := c.function("prod")
			sealed := mustSeal(t, warm, "text")
			c.kms.Fail(fault, -1)

			_, cold := c.function("prod")
			began := time.Now()
			if text, err := cold.Seal(t.Context(), "cookie", "tx", []byte("text")); !errors.Is(err, seal.ErrUnavailable) || text != "" {
				t.Errorf("cold Seal = %q, %v; want ErrUnavailable", text, err)
			}
			if _, err := cold.Open(t.Context(), "cookie", "tx", sealed); !errors.Is(err, seal.ErrUnavailable) {
				t.Errorf("cold Open = %v, want ErrUnavailable", err)
			}
			if d := time.Since(began); d > 3*time.Second {
				t.Errorf("the outage was told after %v", d)
			}
			calls := c.kms.Calls("Decrypt")
			c.advance(100 * time.Hour)
			opens(t, warm, sealed, "text")
			mustSeal(t, warm, "more")
			if n := c.kms.Calls("Decrypt"); n != calls {
				t.Errorf("a warm function asked KMS %d times", n-calls)
			}

			c.kms.Fail(kmstest.None, 0)
			opens(t, cold, sealed, "text")
		})
	}
}

func TestH09_OutageWhileCreating(t *testing.T) {
	c := newCloud(t)
	c.kms.Fail(kmstest.Down, -1)
	_, s := c.function("prod")
	if _, err := s.Seal(t.Context(), "cookie", "tx", nil); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("Seal = %v, want ErrUnavailable", err)
	}
	if items, err := c.table.Get(t.Context(), recordKey); err != nil || items[0] != nil {
		t.Errorf("a record was written without KMS: %v, %v", items[0], err)
	}
	c.kms.Fail(kmstest.None, 0)
	c.advance(time.Second)
	mustSeal(t, s, "text")
}

func TestH09_BriefThrottleIsRetried(t *testing.T) {
	c := newCloud(t)
	c.kms.Fail(kmstest.Throttle, 2)
	_, s := c.function("prod")
	mustSeal(t, s, "text")
}

func TestH09_RotationDuringOutage(t *testing.T) {
	c := newCloud(t)
	janitor, s := c.function("prod")
	sealed := mustSeal(t, s, "text")
	c.advance(30 * 24 * time.Hour)
	c.kms.Fail(kmstest.Denied, -1)
	if done, err := janitor.Rotate(t.Context()); !errors.Is(err, seal.ErrUnavailable) || done.Changed() {
		t.Errorf("Rotate = %+v, %v; want ErrUnavailable", done, err)
	}
	c.kms.Fail(kmstest.None, 0)
	_, cold := c.function("prod")
	opens(t, cold, sealed, "text")
	if done, err := janitor.Rotate(t.Context()); err != nil || done.Added == "" {
		t.Errorf("Rotate after the outage = %+v, %v", done, err)
	}
}

func TestTableOutage(t *testing.T) {
	c := newCloud(t)
	source, warm := c.function("prod")
	sealed := mustSeal(t, warm, "text")
	c.table.down.Store(true)
	c.advance(13 * time.Hour)
	opens(t, warm, sealed, "text")
	_, cold := c.function("prod")
	if _, err := cold.Open(t.Context(), "cookie", "tx", sealed); !errors.Is(err, seal.ErrUnavailable) || !errors.Is(err, table.ErrUnavailable) {
		t.Errorf("cold Open = %v, want ErrUnavailable of seal and table", err)
	}
	if _, err := source.Rotate(t.Context()); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("Rotate = %v, want ErrUnavailable", err)
	}
}

// Removing the record is how an operator throws all keys away: a new keyset is made by whoever comes first.
func TestRemovedRecordMakesNewKeys(t *testing.T) {
	c := newCloud(t)
	_, s := c.function("prod")
	sealed := mustSeal(t, s, "text")
	items, err := c.table.Get(t.Context(), recordKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.table.Delete(t.Context(), recordKey, items[0].Version); err != nil {
		t.Fatal(err)
	}
	_, cold := c.function("prod")
	mustSeal(t, cold, "new")
	c.advance(13 * time.Hour)
	if _, err := s.Open(t.Context(), "cookie", "tx", sealed); !errors.Is(err, seal.ErrInvalid) {
		t.Errorf("a value of the thrown-away keyset: %v, want ErrInvalid", err)
	}
}
