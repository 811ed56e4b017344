package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/state"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/tools"
)

const (
	testIssuer   = "https://login.example.com"
	testOrigin   = "https://mcp.example.com"
	employee     = "at_employee"
	guest        = "at_guest"
	otherClient  = "at_employee_through_another_client"
	foreign      = "at_for_another_audience"
	narrow       = "at_without_the_default_scope"
	artist       = "at_with_the_images_scope"
	tableIsDown  = "at_table_is_down"
	testIdentity = "https://idp.example.com"
)

// fixture is a server with a few tokens.
type fixture struct {
	*Server
	log   *syncBuffer
	table table.Table

	mu     sync.Mutex
	tokens map[string]grants.Access
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (f *fixture) authenticate(_ context.Context, token string) (grants.Access, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if token == tableIsDown {
		return grants.Access{}, fmt.Errorf("reading grant: %w", table.ErrUnavailable)
	}
	access, ok := f.tokens[token]
	if !ok {
		return grants.Access{}, grants.ErrInvalidToken
	}
	return access, nil
}

func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	store, err := bolt.Open(t.TempDir()+"/table", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return newFixtureOn(t, store, change)
}

func newFixtureOn(t testing.TB, store table.Table, change func(*Config)) *fixture {
	t.Helper()
	resource, err := oauth.NewResource(testOrigin + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.New("employee@example.com", `{"generateImage": {"emails": ["employee@example.com", "artist@example.com"], "scope": ""}}`)
	if err != nil {
		t.Fatal(err)
	}
	access := func(grant, email, client string, scopes ...string) grants.Access {
		return grants.Access{
			GrantID: grant, ClientID: client, Resource: resource.String(), Scopes: scopes, Expires: time.Now().Add(time.Hour),
			Identity: policy.Identity{Issuer: testIdentity, Subject: email, Email: email},
		}
	}
	other := access("g4", "employee@example.com", "c1", "mcp")
	other.Resource = "https://elsewhere.example.com/mcp"
	f := &fixture{log: &syncBuffer{}, table: store, tokens: map[string]grants.Access{
		employee:    access("g1", "employee@example.com", "c1", "mcp"),
		otherClient: access("g2", "employee@example.com", "c2", "mcp"),
		guest:       access("g3", "guest@example.com", "c1", "mcp"),
		foreign:     other,
		narrow:      access("g5", "employee@example.com", "c1", "offline_access", "images"),
		artist:      access("g6", "artist@example.com", "c1", "mcp", "offline_access", "images"),
	}}
	config := Config{
		Issuer: testIssuer, Resource: resource, AllowedOrigins: []string{"https://app.example.com"}, Policy: rules,
		Authenticate: f.authenticate, Tools: tools.All(tools.Deps{}), State: &state.Store{Table: store},
		Audit: audit.New(slog.New(slog.NewJSONHandler(f.log, nil))), Version: "test",
	}
	if change != nil {
		change(&config)
	}
	if f.Server, err = New(config); err != nil {
		t.Fatal(err)
	}
	return f
}

// logged is the server with a log line per request, as every function has it.
func (f *fixture) logged() http.Handler {
	return audit.Requests(slog.New(slog.NewJSONHandler(f.log, nil)), time.Now, func(*http.Request) string { return "r1" }, f)
}

// request is one request and what is expected of its answer.
type request struct {
	method  string // default POST
	path    string // default /mcp
	token   string
	header  http.Header
	body    string
	host    string
	wantNot []string // of the body
	want    []string // of the body
	status  int
	headers map[string]string // a value "-" means absent
}

func (q request) run(t *testing.T, h http.Handler) *http.Response {
	t.Helper()
	if q.method == "" {
		q.method = http.MethodPost
	}
	if q.path == "" {
		q.path = "/mcp"
	}
	r := httptest.NewRequest(q.method, testOrigin+q.path, strings.NewReader(q.body))
	if q.method == http.MethodGet { // a stream where none should be does not last
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r = r.WithContext(ctx)
	}
	for name, values := range q.header {
		r.Header[name] = values
	}
	if q.host != "" {
		r.Host = q.host
	}
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.body != "" && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	response := w.Result()
	body := w.Body.String()
	if q.status == 0 {
		q.status = http.StatusOK
	}
	if response.StatusCode != q.status {
		t.Errorf("%s %s: status %d, want %d; body %s", q.method, q.path, response.StatusCode, q.status, body)
	}
	for _, want := range q.want {
		if !strings.Contains(body, want) {
			t.Errorf("%s %s: body lacks %s:\n%s", q.method, q.path, want, body)
		}
	}
	for _, not := range q.wantNot {
		if strings.Contains(body, not) {
			t.Errorf("%s %s: body holds %s:\n%s", q.method, q.path, not, body)
		}
	}
	for name, want := range q.headers {
		got := strings.Join(response.Header.Values(name), "; ")
		switch {
		case want == "-" && got != "":
			t.Errorf("%s %s: %s is %q, want none", q.method, q.path, name, got)
		case want != "-" && !strings.Contains(got, want):
			t.Errorf("%s %s: %s is %q, want %q in it", q.method, q.path, name, got, want)
		}
	}
	if response.StatusCode >= 400 && len(body) > 0 && !json.Valid([]byte(body)) {
		t.Errorf("%s %s: an error that is not JSON: %s", q.method, q.path, body)
	}
	return response
}

func rpc(method, params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
}

func callAdd(a, b string) string {
	return rpc("tools/call", `{"name":"add","arguments":{"a":`+a+`,"b":`+b+`}}`)
}

// modernRPC is a request of 2026-07-28 with its headers.
func modernRPC(method, name, params string) (string, http.Header) {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	if params == "{}" {
		params = "{" + meta + "}"
	} else {
		params = "{" + meta + "," + params[1:]
	}
	header := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {method}}
	if name != "" {
		header["Mcp-Name"] = []string{name}
	}
	return rpc(method, params), header
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
