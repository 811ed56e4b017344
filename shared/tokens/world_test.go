package tokens

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/upstream"
)

const (
	issuer   = "http://localhost:8788"
	redirect = "http://127.0.0.1:4711/callback"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

var ada = policy.Identity{Issuer: "https://idp.example", Subject: "ada", Email: "ada@example.com"}

// counting counts the calls that a table takes, and may stand in for a fault.
type counting struct {
	table.Table
	reads, writes atomic.Int64
	fault         atomic.Pointer[error]
}

func (c *counting) down(err error) { c.fault.Store(&err) }
func (c *counting) up()            { c.fault.Store(nil) }

func (c *counting) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	c.reads.Add(1)
	if err := c.fault.Load(); err != nil {
		return nil, *err
	}
	return c.Table.Get(ctx, keys...)
}

func (c *counting) Create(ctx context.Context, item table.Item) (string, error) {
	c.writes.Add(1)
	return c.Table.Create(ctx, item)
}

func (c *counting) Replace(ctx context.Context, item table.Item) (string, error) {
	c.writes.Add(1)
	return c.Table.Replace(ctx, item)
}

// world is the token endpoint on a bolt table, with clients of every kind that concerns it.
type world struct {
	*Handler
	t     testing.TB
	mux   *http.ServeMux
	table *counting
	log   *bytes.Buffer

	mu  sync.Mutex
	now time.Time

	asked    atomic.Int64
	upstream func(refreshToken string) (upstream.Session, error)

	public, public2, confidential, noRefresh string
	secret                                   string
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

const robotSecret = "robot-secret-0123456789abcdef"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), log: &bytes.Buffer{}}
	dir := t.TempDir()
	tbl, err := bolt.Open(filepath.Join(dir, "store.db"), w.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tbl.Close() })
	w.table = &counting{Table: tbl}
	logger := slog.New(slog.NewJSONHandler(&locked{w: w.log}, nil))
	resource, err := oauth.NewResource(issuer + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(robotSecret))
	file := filepath.Join(dir, "clients.json")
	robot := fmt.Sprintf(`{"clients":[{"client_id":"robot","client_name":"Robot","grant_types":["client_credentials"],"response_types":[],
		"token_endpoint_auth_method":"client_secret_basic","client_secret_sha256":"%s","scope":"mcp"}]}`, hex.EncodeToString(hash[:]))
	if err := os.WriteFile(file, []byte(robot), 0o600); err != nil {
		t.Fatal(err)
	}
	pre, err := clients.LoadFile(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := audit.New(logger)
	w.upstream = func(string) (upstream.Session, error) { return upstream.Session{Identity: ada}, nil }
	w.Handler = &Handler{
		Grants:        &grants.Store{Table: w.table, Now: w.Now, Audit: log},
		Clients:       &clients.Store{Table: w.table, Now: w.Now, PreRegistered: pre},
		Authenticator: &clients.Authenticator{Table: w.table, Issuer: issuer, Now: w.Now},
		Upstream: func(_ context.Context, token string, _ policy.Identity) (upstream.Session, error) {
			w.asked.Add(1)
			return w.upstream(token)
		},
		Issuer: issuer, Resource: resource, Limiter: NewLimiter(), Now: w.Now,
	}
	w.mux = http.NewServeMux()
	w.Mount(w.mux)

	registrar := &clients.Registrar{Table: w.table, Now: w.Now, Rand: randomReader{}, Scopes: oauth.SupportedScopes(nil)}
	register := func(members string) clients.Registration {
		t.Helper()
		r, err := registrar.Register(t.Context(), []byte(`{"redirect_uris":["`+redirect+`"],`+members+`}`))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	both := `"grant_types":["authorization_code","refresh_token"]`
	w.public = register(`"client_name":"A","token_endpoint_auth_method":"none",` + both).ClientID
	w.public2 = register(`"client_name":"B","token_endpoint_auth_method":"none",` + both).ClientID
	w.noRefresh = register(`"client_name":"C","token_endpoint_auth_method":"none","grant_types":["authorization_code"]`).ClientID
	c := register(`"client_name":"D","token_endpoint_auth_method":"client_secret_post",` + both)
	w.confidential, w.secret = c.ClientID, c.ClientSecret
	for _, id := range []string{w.public, w.public2, w.noRefresh, w.confidential} {
		client, err := w.Clients.Lookup(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Clients.Approved(t.Context(), client); err != nil { // as sign-in does
			t.Fatal(err)
		}
	}
	return w
}

type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// randomReader counts, which is random enough for ids of test clients.
type randomReader struct{}

var counter atomic.Uint64

func (randomReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(counter.Add(1))
	}
	return len(p), nil
}

// code is what sign-in would have given to the client.
func (w *world) code(client, upstreamToken string) string {
	w.t.Helper()
	code, err := w.Grants.Create(w.t.Context(), grants.NewGrant{
		ID: grants.NewID(nil), ClientID: client, ClientName: "Client", RedirectURI: redirect,
		CodeChallenge: oauth.S256Challenge(verifier), Scopes: []string{"mcp", "offline_access"}, Resource: w.Resource.String(),
		Identity: ada, UpstreamRefreshToken: upstreamToken,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// answer is an answer as a client sees it.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.mux.ServeHTTP(recorder, r)
	a := answer{status: recorder.Code, header: recorder.Header(), raw: recorder.Body.String()}
	if a.raw != "" {
		if err := json.Unmarshal(recorder.Body.Bytes(), &a.body); err != nil {
			w.t.Fatalf("%s %s answered %d with something that is not JSON: %q", r.Method, r.URL.Path, a.status, a.raw)
		}
	}
	return a
}

func (w *world) post(path string, form url.Values) answer {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.send(r)
}

// form makes a form of names and values; an empty value leaves the name out.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

func redeemForm(client, code string) url.Values {
	return form("grant_type", "authorization_code", "client_id", client, "code", code, "redirect_uri", redirect, "code_verifier", verifier)
}

func refreshForm(client, token string) url.Values {
	return form("grant_type", "refresh_token", "client_id", client, "refresh_token", token)
}

func with(v url.Values, pairs ...string) url.Values {
	out := url.Values{}
	for name, values := range v {
		out[name] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		out.Set(pairs[i], pairs[i+1])
	}
	return out
}

// signedIn is a redeemed code of the public client.
func (w *world) signedIn(upstreamToken string) answer {
	w.t.Helper()
	return w.must(w.post("/token", redeemForm(w.public, w.code(w.public, upstreamToken))))
}

func (w *world) must(a answer) answer {
	w.t.Helper()
	if a.status != http.StatusOK {
		w.t.Fatalf("answered %d %s", a.status, a.raw)
	}
	return a
}

func (w *world) refused(a answer, status int, code string) {
	w.t.Helper()
	if a.status != status || a.text("error") != code {
		w.t.Errorf("answered %d %s, want %d %s", a.status, a.raw, status, code)
	}
}

func (w *world) works(token string) bool {
	w.t.Helper()
	_, err := w.Grants.Authenticate(w.t.Context(), token)
	return err == nil
}
