package signin

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/upstream"
)

const (
	testIssuer   = "https://login.example.com"
	testResource = "https://mcp.example.com/mcp"
	webRedirect  = "https://client.example/cb?tenant=7"
	loopRedirect = "http://localhost:41234/callback"
	appRedirect  = "cursor://anysphere.cursor-retrieval/cb"
	testVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// rig is a sign-in with real parts around it: bbolt, the sealer, the relying party, and a provider over HTTP.
type rig struct {
	t        *testing.T
	now      time.Time
	h        *Handler
	table    *countingTable
	keys     *keySource
	provider *provider
	log      *strings.Builder
	web      string // client ids
	native   string
	app      string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), log: &strings.Builder{}}
	now := func() time.Time { return r.now }
	store, err := bolt.Open(t.TempDir()+"/test.db", now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	r.table = &countingTable{Table: store}
	key, err := seal.NewKey(rand.Reader, r.now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r.keys = &keySource{set: seal.Keyset{Keys: []seal.Key{key}}}
	r.provider = newProvider(t, now)
	rp, err := upstream.New(upstream.Config{
		Issuer: r.provider.URL, ClientID: "relying-party", Secret: upstream.StaticSecret("upstream secret"),
		RedirectURL: testIssuer + "/callback", Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	resource, err := oauth.NewResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.New("ann@example.com", `{"generateImage": {"emails": ["ann@example.com"], "scope": "images"}}`)
	if err != nil {
		t.Fatal(err)
	}
	auditLog := audit.New(slog.New(slog.NewJSONHandler(r.log, nil)))
	r.h = &Handler{
		Issuer: testIssuer, Resource: resource, NativeSchemes: []string{"cursor"}, Policy: rules,
		Tools: []string{"add", "generateImage"}, Operator: "Example Company", ProviderHost: "idp.example.com",
		Clients: &clients.Store{Table: r.table, Now: now, PreRegistered: map[string]clients.Client{
			"listed": {
				ID: "listed", Kind: clients.PreRegistered, Name: "Listed", RedirectURIs: []string{"https://listed.example/cb"},
				GrantTypes: []string{"authorization_code"}, Scope: "mcp", AuthMethod: "none",
			},
			"machine": {
				ID: "machine", Kind: clients.PreRegistered, RedirectURIs: []string{"https://machine.example/cb"},
				GrantTypes: []string{"client_credentials"}, AuthMethod: "client_secret_basic",
			},
			"other-listed": {
				ID: "other-listed", Kind: clients.PreRegistered, RedirectURIs: []string{"https://listed.example/cb"},
				GrantTypes: []string{"authorization_code"}, Scope: "elsewhere", AuthMethod: "none",
			},
		}},
		Sealer: seal.New(r.keys, now), Upstream: rp,
		Grants: &grants.Store{Table: r.table, Now: now, Audit: auditLog},
		Audit:  auditLog, Now: now,
	}
	r.web = r.register(`{"client_name":"Web <b>Client</b>","client_uri":"https://client.example/","redirect_uris":["` + webRedirect + `","https://client.example/other"]}`)
	r.native = r.register(`{"client_name":"Native","redirect_uris":["http://localhost/callback","http://127.0.0.1/callback"],"application_type":"native"}`)
	r.app = r.register(`{"client_name":"Cursor","redirect_uris":["` + appRedirect + `"],"application_type":"native"}`)
	r.table.reset()
	return r
}

func (r *rig) register(metadata string) string {
	r.t.Helper()
	withMethod := strings.Replace(metadata, "{", `{"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],`, 1)
	registrar := &clients.Registrar{
		Table: r.table, Now: r.h.Now, Rand: rand.Reader, NativeSchemes: []string{"cursor"},
		Scopes: oauth.SupportedScopes([]string{"images"}),
	}
	registration, err := registrar.Register(context.Background(), []byte(withMethod))
	if err != nil {
		r.t.Fatal(err)
	}
	return registration.ClientID
}

// params is a good request of the web client, with changes; an empty value leaves a parameter out.
func (r *rig) params(changes ...string) url.Values {
	v := url.Values{
		"response_type": {"code"}, "client_id": {r.web}, "redirect_uri": {webRedirect}, "state": {"the client's state"},
		"code_challenge": {oauth.S256Challenge(testVerifier)}, "code_challenge_method": {"S256"},
		"scope": {"mcp"}, "resource": {testResource},
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			v.Del(changes[i])
		} else {
			v.Set(changes[i], changes[i+1])
		}
	}
	return v
}

func (r *rig) nativeParams(changes ...string) url.Values {
	return r.params(append([]string{"client_id", r.native, "redirect_uri", loopRedirect}, changes...)...)
}

// browser keeps cookies as browsers do, and remembers every Set-Cookie.
type browser struct {
	r       *rig
	cookies map[string]string
	set     []*http.Cookie
}

func (r *rig) browser() *browser { return &browser{r: r, cookies: map[string]string{}} }

func (b *browser) do(req *http.Request) *http.Response {
	b.r.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		req.AddCookie(&http.Cookie{Name: name, Value: b.cookies[name]})
	}
	w := httptest.NewRecorder()
	handler := b.r.h.Authorize()
	if req.URL.Path == oauth.PathCallback {
		handler = b.r.h.Callback()
	}
	audit.Requests(slog.New(slog.NewJSONHandler(b.r.log, nil)), b.r.h.Now, func(*http.Request) string { return "req" }, handler).ServeHTTP(w, req)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		b.set = append(b.set, c)
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
			b.r.t.Errorf("cookie %s lacks an attribute", c)
		}
	}
	return resp
}

func (b *browser) get(target string) *http.Response {
	req := httptest.NewRequest(http.MethodGet, target, nil)
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return b.do(req)
}

func (b *browser) authorize(v url.Values) *http.Response { return b.get("/authorize?" + v.Encode()) }

var sealedField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// consent asks and returns the sealed request of the page.
func (b *browser) consent(v url.Values) string {
	b.r.t.Helper()
	resp := b.authorize(v)
	page := text(b.r.t, resp)
	m := sealedField.FindStringSubmatch(page)
	if resp.StatusCode != http.StatusOK || m == nil {
		b.r.t.Fatalf("no consent page: %d %s", resp.StatusCode, page)
	}
	return m[1]
}

// post answers the consent page as a browser does that tells the site.
func (b *browser) post(form url.Values) *http.Response {
	return b.postWith(form, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": testIssuer})
}

func (b *browser) postWith(form url.Values, headers map[string]string) *http.Response {
	req := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "text/html")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	return b.do(req)
}

func (b *browser) approve(sealed string) *http.Response {
	return b.post(url.Values{"request": {sealed}, "decision": {"approve"}})
}

// toProvider asks, approves, and returns the address at the provider.
func (b *browser) toProvider(v url.Values) *url.URL {
	b.r.t.Helper()
	return location(b.r.t, b.approve(b.consent(v)), http.StatusSeeOther)
}

// signIn is the whole way; it returns the answer at /callback.
func (b *browser) signIn(v url.Values, subject string) *http.Response {
	b.r.t.Helper()
	return b.get(b.r.provider.signIn(b.toProvider(v), subject))
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func location(t *testing.T, resp *http.Response, status int) *url.URL {
	t.Helper()
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, status, text(t, resp))
	}
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wantPage asserts an error page that sends the browser nowhere.
func wantPage(t *testing.T, resp *http.Response, status int, has ...string) string {
	t.Helper()
	page := text(t, resp)
	_, shown, _ := strings.Cut(page, "</style>")
	if resp.StatusCode != status || resp.Header.Get("Location") != "" {
		t.Errorf("status %d to %q, want a page with %d: %s", resp.StatusCode, resp.Header.Get("Location"), status, shown)
	}
	for _, s := range has {
		if !strings.Contains(page, s) {
			t.Errorf("the page lacks %q: %s", s, shown)
		}
	}
	return page
}

// countingTable counts calls and can fail.
type countingTable struct {
	table.Table
	mu            sync.Mutex
	reads, writes int
	fault         error
}

func (c *countingTable) reset() { c.reads, c.writes = 0, 0 }

func (c *countingTable) count(n *int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
	return c.fault
}

func (c *countingTable) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	if err := c.count(&c.reads); err != nil {
		return nil, err
	}
	return c.Table.Get(ctx, keys...)
}

func (c *countingTable) Create(ctx context.Context, item table.Item) (string, error) {
	if err := c.count(&c.writes); err != nil {
		return "", err
	}
	return c.Table.Create(ctx, item)
}

func (c *countingTable) Replace(ctx context.Context, item table.Item) (string, error) {
	if err := c.count(&c.writes); err != nil {
		return "", err
	}
	return c.Table.Replace(ctx, item)
}

// keySource is a keyset that a test can change or take away.
type keySource struct {
	mu    sync.Mutex
	set   seal.Keyset
	fault error
}

func (k *keySource) Load(context.Context) (seal.Keyset, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set, k.fault
}

// provider is a small OpenID provider: discovery, keys and the token endpoint. Its sign-in page is signIn.
type provider struct {
	*httptest.Server
	t   *testing.T
	now func() time.Time
	key *rsa.PrivateKey

	mu     sync.Mutex
	codes  map[string]pending
	status int // of the token endpoint, when not 0
	// change alters the claims of the next ID tokens.
	change func(claims map[string]any)
}

type pending struct{ subject, nonce, challenge string }

var providerKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newProvider(t *testing.T, now func() time.Time) *provider {
	key, err := providerKey()
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, now: now, key: key, codes: map[string]pending{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid", "email", "profile", "offline_access"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { p.token(w, r, answer) })
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// signIn signs a person in at the address that the browser was sent to, and returns where it is sent next.
func (p *provider) signIn(at *url.URL, subject string) string {
	q := at.Query()
	if q.Get("redirect_uri") != testIssuer+"/callback" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" {
		p.t.Errorf("upstream request %s", at)
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = pending{subject, q.Get("nonce"), q.Get("code_challenge")}
	p.mu.Unlock()
	return "/callback?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
}

func (p *provider) token(w http.ResponseWriter, r *http.Request, answer func(http.ResponseWriter, any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != 0 {
		w.WriteHeader(p.status)
		return
	}
	code, ok := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	if !ok || oauth.S256Challenge(r.FormValue("code_verifier")) != code.challenge {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{
		"iss": p.URL, "aud": "relying-party", "sub": code.subject, "nonce": code.nonce, "email": code.subject + "@example.com",
		"iat": p.now().Unix(), "exp": p.now().Add(time.Hour).Unix(),
	}
	if p.change != nil {
		p.change(claims)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k1"}}, nil)
	if err != nil {
		panic(err)
	}
	idToken, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	answer(w, map[string]any{"access_token": "opaque", "token_type": "Bearer", "id_token": idToken, "refresh_token": "upstream-rt", "expires_in": 3600})
}

var errOutage = errors.Join(errors.New("test outage"), table.ErrUnavailable)
