package clients

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
)

const issuer = "https://login.example.org"

var nativeSchemes = []string{"cursor", "vscode"}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

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

// counted is a table that counts its calls, and can be down.
type counted struct {
	table.Table
	reads, writes atomic.Int32
	down          atomic.Bool
}

func (c *counted) fault() error {
	if c.down.Load() {
		return table.ErrUnavailable
	}
	return nil
}

func (c *counted) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	c.reads.Add(1)
	if err := c.fault(); err != nil {
		return nil, err
	}
	return c.Table.Get(ctx, keys...)
}

func (c *counted) Create(ctx context.Context, item table.Item) (string, error) {
	c.writes.Add(1)
	if err := c.fault(); err != nil {
		return "", err
	}
	return c.Table.Create(ctx, item)
}

func (c *counted) Replace(ctx context.Context, item table.Item) (string, error) {
	c.writes.Add(1)
	if err := c.fault(); err != nil {
		return "", err
	}
	return c.Table.Replace(ctx, item)
}

// calls answers the reads and writes since the last time.
func (c *counted) calls() (reads, writes int32) { return c.reads.Swap(0), c.writes.Swap(0) }

func newTable(t testing.TB, now func() time.Time) *counted {
	t.Helper()
	b, err := bolt.Open(filepath.Join(t.TempDir(), "store"), now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return &counted{Table: b}
}

// site is the web as the server sees it: every name resolves to the same public address, where a TLS server answers.
type site struct {
	mu       sync.Mutex
	paths    map[string]http.HandlerFunc
	hits     map[string]int
	resolves map[string]string
	fetcher  *Fetcher
}

func (s *site) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address, ok := s.resolves[strings.TrimSuffix(host, ".")]; ok {
		return []netip.Addr{netip.MustParseAddr(address)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{
		paths: make(map[string]http.HandlerFunc), hits: make(map[string]int),
		resolves: map[string]string{"example.com": "93.184.215.14"},
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.hits[r.URL.Path]++
		handler, ok := s.paths[r.URL.Path]
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		handler(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	s.fetcher = NewFetcher(&safehttp.Client{
		Resolver: s,
		RootCAs:  roots,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
	})
	return s
}

func (s *site) handle(path string, handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[path] = handler
}

// serve answers a path with JSON; header is Cache-Control, if any.
func (s *site) serve(path, body, cacheControl string) {
	s.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		_, _ = io.WriteString(w, body)
	})
}

func (s *site) fail(path string, status int) {
	s.handle(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func (s *site) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[path]
}

// house is everything of this package on one table and one clock.
type house struct {
	*clock
	table     *counted
	site      *site
	store     *Store
	registrar *Registrar
	auth      *Authenticator
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{clock: newClock(), site: newSite(t)}
	h.table = newTable(t, h.Now)
	h.store = &Store{Table: h.table, Now: h.Now, PreRegistered: map[string]Client{}, Documents: NewDocuments(h.site.fetcher, nativeSchemes, h.Now)}
	h.registrar = &Registrar{
		Table: h.table, Now: h.Now, Rand: rand.Reader, NativeSchemes: nativeSchemes,
		Scopes: []string{oauth.ScopeMCP, oauth.ScopeOfflineAccess}, CheckURL: h.site.fetcher.CheckURL,
	}
	h.auth = &Authenticator{Table: h.table, Issuer: issuer, KeySets: NewKeySets(h.site.fetcher, h.Now), Now: h.Now}
	return h
}

// restart forgets what a process remembers.
func (h *house) restart() {
	fetcher := NewFetcher(h.site.fetcher.client)
	h.site.fetcher = fetcher
	h.store.Documents = NewDocuments(fetcher, nativeSchemes, h.Now)
	h.auth.KeySets = NewKeySets(fetcher, h.Now)
}

// wantError checks the code and status of an OAuth error.
func wantError(t *testing.T, err error, code string, status int) *oauth.Error {
	t.Helper()
	oerr, ok := errors.AsType[*oauth.Error](err)
	if !ok || oerr.Code != code || oerr.HTTPStatus() != status {
		t.Fatalf("err = %v (%T), want %s with status %d", err, err, code, status)
	}
	return oerr
}
