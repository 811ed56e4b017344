package grants

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
)

const (
	testClient   = "client-1"
	testRedirect = "http://127.0.0.1:4711/callback"
	testVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	testResource = "http://localhost:8788/mcp"
)

var ada = policy.Identity{Issuer: "https://idp.example", Subject: "ada", Email: "ada@example.com", Groups: []string{"designers"}}

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// counting counts the calls that a table takes, and may stand in for a fault.
type counting struct {
	table.Table
	reads, writes atomic.Int64
	before        func(op string) error // nil: no fault
}

func (c *counting) fault(op string) error {
	if c.before != nil {
		return c.before(op)
	}
	return nil
}

func (c *counting) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	c.reads.Add(1)
	if err := c.fault("get"); err != nil {
		return nil, err
	}
	return c.Table.Get(ctx, keys...)
}

func (c *counting) Create(ctx context.Context, item table.Item) (string, error) {
	c.writes.Add(1)
	return c.Table.Create(ctx, item)
}

func (c *counting) Replace(ctx context.Context, item table.Item) (string, error) {
	c.writes.Add(1)
	if err := c.fault("replace"); err != nil {
		return "", err
	}
	return c.Table.Replace(ctx, item)
}

// fixture is a store on a bolt table of its own.
type fixture struct {
	*Store
	t     testing.TB
	clock *clock
	table *counting
	audit *bytes.Buffer
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	c := newClock()
	tbl, err := bolt.Open(filepath.Join(t.TempDir(), "store.db"), c.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tbl.Close() })
	counted := &counting{Table: tbl}
	var log bytes.Buffer
	return &fixture{
		Store: &Store{Table: counted, Now: c.Now, Audit: audit.New(slog.New(slog.NewJSONHandler(&lockedWriter{w: &log}, nil)))},
		t:     t, clock: c, table: counted, audit: &log,
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func newGrant(upstream string) NewGrant {
	return NewGrant{
		ID: NewID(nil), ClientID: testClient, ClientName: "Client", RedirectURI: testRedirect,
		CodeChallenge: oauth.S256Challenge(testVerifier), Scopes: []string{"mcp", "offline_access"}, Resource: testResource,
		Identity: ada, UpstreamRefreshToken: upstream,
	}
}

func redemption(code string) Redemption {
	return Redemption{Code: code, ClientID: testClient, RedirectURI: testRedirect, Verifier: testVerifier, Refreshable: true}
}

func refreshOf(token string) RefreshRequest {
	return RefreshRequest{Token: token, ClientID: testClient, Resource: testResource}
}

func (f *fixture) create(n NewGrant) string {
	f.t.Helper()
	code, err := f.Create(f.t.Context(), n)
	if err != nil {
		f.t.Fatal(err)
	}
	return code
}

// item reads what the token endpoint would hand to the store.
func (f *fixture) item(token string) *table.Item {
	f.t.Helper()
	_, id, ok := split(token)
	if !ok {
		return nil
	}
	items, err := f.table.Get(f.t.Context(), Key(id))
	if err != nil {
		f.t.Fatal(err)
	}
	return items[0]
}

func (f *fixture) redeem(r Redemption) (Issued, error) {
	return f.Redeem(f.t.Context(), f.item(r.Code), r)
}

func (f *fixture) refresh(token string) (Issued, error) { return f.refreshAsking(token, nil) }

func (f *fixture) refreshAsking(token string, ask Renew) (Issued, error) {
	return f.Refresh(f.t.Context(), f.item(token), refreshOf(token), ask)
}

// signedIn is a redeemed grant.
func (f *fixture) signedIn(upstream string) Issued {
	f.t.Helper()
	issued, err := f.redeem(redemption(f.create(newGrant(upstream))))
	if err != nil {
		f.t.Fatal(err)
	}
	return issued
}

func (f *fixture) mustRefresh(token string) Issued {
	f.t.Helper()
	issued, err := f.refresh(token)
	if err != nil {
		f.t.Fatalf("refresh: %v", err)
	}
	return issued
}

// works reports whether an access token is good for a call.
func (f *fixture) works(token string) bool {
	f.t.Helper()
	_, err := f.Authenticate(f.t.Context(), token)
	if err != nil && !errors.Is(err, ErrInvalidToken) {
		f.t.Fatalf("authenticate: %v", err)
	}
	return err == nil
}

func (f *fixture) audited(action string) bool {
	return strings.Contains(f.audit.String(), `"action":"`+action+`"`)
}

// budget runs do and wants exactly these table calls of it.
func (f *fixture) budget(name string, reads, writes int64, do func()) {
	f.t.Helper()
	f.table.reads.Store(0)
	f.table.writes.Store(0)
	do()
	if r, w := f.table.reads.Load(), f.table.writes.Load(); r != reads || w != writes {
		f.t.Errorf("%s: %d reads and %d writes, want %d and %d", name, r, w, reads, writes)
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	oerr, ok := errors.AsType[*oauth.Error](err)
	if !ok || oerr.Code != code {
		t.Fatalf("error %v, want %s", err, code)
	}
}
