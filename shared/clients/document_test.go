package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
	"mcp-access-oauth/shared/table"
)

const docURL = "https://example.com/client.json"

// document is a good metadata document with changes; a nil value removes.
func document(change map[string]any) string {
	all := map[string]any{
		"client_id": docURL, "client_name": "Example", "client_uri": "https://example.com", "redirect_uris": []string{"https://example.com/cb"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
	}
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func (h *house) lookup(t testing.TB) Client {
	t.Helper()
	c, err := h.store.Lookup(t.Context(), docURL)
	if err != nil {
		t.Fatalf("looking the document up: %v", err)
	}
	return c
}

func TestDocument(t *testing.T) {
	h := newHouse(t)
	h.site.serve("/client.json", document(map[string]any{"redirect_uris": []string{"http://localhost/cb", "http://127.0.0.1:3000/cb", "https://example.com/cb"}}), "")
	c := h.lookup(t)
	if c.ID != docURL || c.Kind != Document || c.Name != "Example" || c.Domain() != "example.com" || !c.Public() || c.AuthMethod != oauth.AuthNone {
		t.Errorf("client = %+v", c)
	}
	// Row 7 of the field's pains: loopback without port matches any port.
	for uri, want := range map[string]bool{
		"http://localhost:51234/cb": true, "http://127.0.0.1:1/cb": true, "http://localhost/cb": true, "https://example.com/cb": true,
		"http://[::1]:1/cb": false, "http://localhost:1/other": false, "https://example.com/cb/": false, "https://evil.example/cb": false,
	} {
		if c.MatchRedirect(uri) != want {
			t.Errorf("MatchRedirect(%s) = %v", uri, !want)
		}
	}
}

func TestDocumentRefusals(t *testing.T) {
	key := testKeys()[jose.ES256]
	for _, test := range []struct{ name, body string }{
		{"F06 client_id of another", document(map[string]any{"client_id": "https://example.com/other.json"})},
		{"F06 client_id in another spelling", document(map[string]any{"client_id": "https://example.com:443/client.json"})},
		{"F06 no client_id", document(map[string]any{"client_id": nil})},
		{"F06 client_id not text", document(map[string]any{"client_id": 1})},
		{"F06 client_secret", document(map[string]any{"client_secret": "x"})},
		{"F06 client_secret_expires_at", document(map[string]any{"client_secret_expires_at": 0})},
		{"F06 a private key", document(map[string]any{"jwks": json.RawMessage(jwks(t, jose.JSONWebKey{Key: key}))})},
		{"F06 a symmetric key", document(map[string]any{"jwks": json.RawMessage(`{"keys":[{"kty":"oct","k":"AA"}]}`)})},
		{"no name", document(map[string]any{"client_name": nil})},
		{"an invisible name", document(map[string]any{"client_name": "\u200b\u202e"})},
		{"no redirect URIs", document(map[string]any{"redirect_uris": nil})},
		{"A03 a script as redirect URI", document(map[string]any{"redirect_uris": []string{"jaVascript:alert(1)"}})},
		{"A04 a fragment in the redirect URI", document(map[string]any{"redirect_uris": []string{"https://example.com/cb#"}})},
		{"shared secret", document(map[string]any{"token_endpoint_auth_method": "client_secret_basic"})},
		{"shared secret, though it offers none", document(map[string]any{"token_endpoint_auth_method": "client_secret_post", "token_endpoint_auth_methods_supported": []string{"none"}})},
		{"unknown method", document(map[string]any{"token_endpoint_auth_method": "tls_client_auth"})},
		{"only methods that we lack", document(map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"tls_client_auth"}})},
		{"private_key_jwt without keys", document(map[string]any{"token_endpoint_auth_method": "private_key_jwt"})},
		{"private_key_jwt with keys inside", document(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://10.0.0.1/k"})},
		{"client credentials alone", document(map[string]any{"grant_types": []string{"client_credentials"}, "response_types": nil})},
		{"implicit", document(map[string]any{"response_types": []string{"token"}})},
		{"not an object", `[]`},
		{"cut off", document(nil)[:50]},
		{"a member twice", `{"client_id":"` + docURL + `",` + document(nil)[1:]},
		{"too large", document(map[string]any{"x": strings.Repeat("x", 6<<10)})},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			h.site.serve("/client.json", test.body, "max-age=86400")
			_, err := h.store.Lookup(t.Context(), docURL)
			wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
			if errors.Is(err, ErrUnknown) || errors.Is(err, ErrUnavailable) {
				t.Errorf("err = %v", err)
			}
			// It is mended, and known soon after: what is wrong is not kept by its Cache-Control.
			h.site.serve("/client.json", document(nil), "")
			h.advance(backOff)
			h.lookup(t)
		})
	}
}

func TestDocumentMethods(t *testing.T) {
	keys := json.RawMessage(jwks(t, public("1", testKeys()[jose.ES256])))
	chatGPT := map[string]any{
		"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"},
		"token_endpoint_auth_signing_alg": "RS256", "jwks_uri": "https://example.com/jwks.json", "logo_uri": "https://example.com/logo.png",
	}
	for _, test := range []struct {
		name   string
		change map[string]any
		want   []string
	}{
		{"nothing said means none", map[string]any{"token_endpoint_auth_method": nil}, []string{"none"}},
		{"none", nil, []string{"none"}},
		{"private_key_jwt", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": keys}, []string{"private_key_jwt"}},
		{"ChatGPT offers both", chatGPT, []string{"private_key_jwt", "none"}},
		{"a list alone is not none", map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"private_key_jwt"}, "jwks": keys}, []string{"private_key_jwt"}},
		{"prefers none", map[string]any{"token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"}, "jwks": keys}, []string{"none", "private_key_jwt"}},
		{"what we lack is passed over", map[string]any{"token_endpoint_auth_method": "tls_client_auth", "token_endpoint_auth_methods_supported": []string{"tls_client_auth", "none"}}, []string{"none"}},
		{"unusable keys leave none", map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt", "none"}}, []string{"none"}},
		{"keys that we lack the algorithm of do not matter to none", map[string]any{"jwks": json.RawMessage(`{"keys":[{"kty":"AKP","pub":"AA"}]}`)}, []string{"none"}},
		{"nor does an empty set", map[string]any{"jwks": json.RawMessage(`{"keys":[]}`), "token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}, []string{"none"}},
		{"an algorithm that we lack leaves none", map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt", "none"}, "jwks": keys, "token_endpoint_auth_signing_alg": "PS512"}, []string{"none"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			h.site.serve("/client.json", document(test.change), "")
			if c := h.lookup(t); !slices.Equal(c.Methods(), test.want) || c.AuthMethod != test.want[0] {
				t.Errorf("methods = %v, want %v", c.Methods(), test.want)
			}
		})
	}
	t.Run("ChatGPT may use either", func(t *testing.T) {
		h := newHouse(t)
		key := testKeys()[jose.RS256]
		h.site.serve("/client.json", document(chatGPT), "")
		h.site.serve("/jwks.json", jwks(t, public("1", key)), "")
		c := h.lookup(t)
		if err := h.present(t, c, h.sign(t, jose.RS256, key, docURL, nil, nil)); err != nil {
			t.Errorf("private_key_jwt: %v", err)
		}
		if err := h.auth.Authenticate(t.Context(), c, Credentials{ClientID: docURL, Method: oauth.AuthNone}); err != nil {
			t.Errorf("none: %v", err)
		}
		err := h.auth.Authenticate(t.Context(), c, Credentials{ClientID: docURL, Method: oauth.AuthSecretPost, secret: "x"})
		wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
	})
}

func TestF04_DocumentsInside(t *testing.T) {
	h := newHouse(t)
	h.site.resolves["inside.example.com"] = "169.254.169.254"
	h.site.resolves["runtime.example.com"] = "127.0.0.1"
	h.site.serve("/client.json", document(nil), "")
	for _, id := range []string{
		"https://inside.example.com/client.json", "https://runtime.example.com/client.json", "https://169.254.169.254/latest/meta-data", "https://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
		"https://[::1]/client.json", "https://2130706433/client.json", "https://localhost/client.json", "http://localhost:9001/client.json",
		"http://example.com/client.json", "https://example.com:8443/client.json", "https://user@example.com/client.json", "https://example.com/a/../client.json",
		"https://example.com/client.json#x", "https://example.com", "https://example.com/", "https://", "http://", "https://example.com/" + strings.Repeat("x", 600),
	} {
		_, err := h.store.Lookup(t.Context(), id)
		wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
	}
	if n := h.site.count("/client.json"); n != 0 {
		t.Errorf("%d requests were made", n)
	}
	if _, writes := h.table.calls(); writes != 0 {
		t.Errorf("%d writes", writes)
	}
}

func TestF06_FetchFailures(t *testing.T) {
	h := newHouse(t)
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, document(nil))
	}
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.com/other", http.StatusFound)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, handler := range map[string]http.HandlerFunc{
		"500": status(500), "503": status(503), "404": status(404), "403 of a firewall": status(403), "a page": page, "a redirect": redirect,
	} {
		t.Run(name, func(t *testing.T) {
			h.site.handle("/client.json", handler)
			before := h.site.count("/client.json")
			for range 5 {
				_, err := h.store.Lookup(t.Context(), docURL)
				e := wantError(t, err, oauth.TemporarilyUnavailable, http.StatusServiceUnavailable)
				if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown) || e.RetryAfter <= 0 {
					t.Errorf("err = %+v", e)
				}
			}
			if n := h.site.count("/client.json") - before; n != 1 {
				t.Errorf("%d fetches, want one and a pause", n)
			}
			// It is a pause and not an answer: as soon as it is over, the document is read.
			h.advance(backOff)
			h.site.serve("/client.json", document(nil), "no-store")
			h.lookup(t)
			h.advance(2 * minDocumentLife)
		})
	}
	t.Run("a fetch as long as the pause", func(t *testing.T) {
		h.site.handle("/slow.json", func(w http.ResponseWriter, _ *http.Request) {
			h.advance(safehttp.Timeout) // the clock of the server that waits
			w.WriteHeader(http.StatusBadGateway)
		})
		for range 2 {
			_, err := h.store.Lookup(t.Context(), "https://example.com/slow.json")
			wantError(t, err, oauth.TemporarilyUnavailable, http.StatusServiceUnavailable)
		}
		if n := h.site.count("/slow.json"); n != 1 {
			t.Errorf("%d fetches, want one and a pause", n)
		}
	})
	t.Run("an unknown name", func(t *testing.T) {
		_, err := h.store.Lookup(t.Context(), "https://nowhere.example/c")
		wantError(t, err, oauth.TemporarilyUnavailable, http.StatusServiceUnavailable)
	})
}

func TestF06_CacheLifetime(t *testing.T) {
	for _, test := range []struct {
		cacheControl string
		want         time.Duration
	}{
		{"", defaultDocumentLife},
		{"public", defaultDocumentLife},
		{"max-age=7200", 2 * time.Hour},
		{`public, Max-Age="7200"`, 2 * time.Hour},
		{"max-age=31536000", maxDocumentLife}, // a year of poison is a day
		{"max-age=99999999999999999999", minDocumentLife},
		{"max-age=-1", minDocumentLife},
		{"max-age=0", minDocumentLife},
		{"no-store", minDocumentLife},
		{"max-age=7200, no-cache", minDocumentLife},
	} {
		t.Run(test.cacheControl, func(t *testing.T) {
			h := newHouse(t)
			h.site.serve("/client.json", document(nil), test.cacheControl)
			h.lookup(t)
			h.advance(test.want - time.Second)
			h.lookup(t)
			if n := h.site.count("/client.json"); n != 1 {
				t.Errorf("%d fetches within its life", n)
			}
			h.advance(time.Second)
			h.lookup(t)
			if n := h.site.count("/client.json"); n != 2 {
				t.Errorf("%d fetches after its life", n)
			}
		})
	}
}

func TestF07_ChangedDocument(t *testing.T) {
	h := newHouse(t)
	h.site.serve("/client.json", document(nil), "")
	before := h.lookup(t)
	h.advance(defaultDocumentLife)
	same := h.lookup(t)
	if same.Fingerprint() != before.Fingerprint() {
		t.Error("the same document has another fingerprint")
	}
	for name, change := range map[string]map[string]any{
		"redirect_uris": {"redirect_uris": []string{"https://evil.example/cb"}},
		"another URI":   {"redirect_uris": []string{"https://example.com/cb", "https://evil.example/cb"}},
		"name":          {"client_name": "Claude"},
		"website":       {"client_uri": "https://claude.ai"},
		"keys":          {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://evil.example/keys"},
	} {
		h.site.serve("/client.json", document(change), "")
		h.advance(defaultDocumentLife)
		if h.lookup(t).Fingerprint() == before.Fingerprint() {
			t.Errorf("%s changed, the fingerprint did not", name)
		}
	}
	// Order and loopback ports mean nothing.
	h.site.serve("/client.json", document(map[string]any{"redirect_uris": []string{"http://localhost:1/cb", "https://example.com/cb"}}), "")
	h.advance(defaultDocumentLife)
	one := h.lookup(t).Fingerprint()
	h.site.serve("/client.json", document(map[string]any{"redirect_uris": []string{"https://example.com/cb", "http://localhost:2/cb"}}), "")
	h.advance(defaultDocumentLife)
	if h.lookup(t).Fingerprint() != one {
		t.Error("order or a loopback port changed the fingerprint")
	}
}

func TestDocumentInTheTable(t *testing.T) {
	h := newHouse(t)
	h.site.serve("/client.json", document(nil), "max-age=7200")
	key, ok := Key(docURL)
	if !ok {
		t.Fatal("a document has no key")
	}
	item := func() *table.Item {
		t.Helper()
		items, err := h.table.Table.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return items[0]
	}

	c := h.lookup(t)
	if _, writes := h.table.calls(); writes != 0 || item() != nil {
		t.Error("a document that no one has approved is in the table")
	}
	for range 3 {
		if err := h.store.Approved(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		c = h.lookup(t) // as the next sign-in does
	}
	if _, writes := h.table.calls(); writes != 1 || item() == nil {
		t.Fatalf("three approvals of a document took %d writes; it is in the table: %v", writes, item() != nil)
	}

	t.Run("a new process reads the copy, and fetches nothing", func(t *testing.T) {
		h.restart()
		h.table.calls()
		c, err := h.store.Resolve(t.Context(), docURL, item())
		if err != nil || c.Fingerprint() != h.lookup(t).Fingerprint() || h.site.count("/client.json") != 1 {
			t.Errorf("client = %+v, %v, %d fetches", c, err, h.site.count("/client.json"))
		}
		if err := h.store.Used(t.Context(), c, h.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if _, writes := h.table.calls(); writes != 0 {
			t.Errorf("using it took %d writes", writes)
		}
	})
	t.Run("no longer fresh, it is fetched again", func(t *testing.T) {
		h.advance(2 * time.Hour)
		h.site.serve("/client.json", document(map[string]any{"client_name": "Renamed"}), "max-age=7200")
		c, err := h.store.Resolve(t.Context(), docURL, item())
		if err != nil || c.Name != "Renamed" {
			t.Fatalf("client = %+v, %v", c, err)
		}
		if err := h.store.Used(t.Context(), c, h.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		kept, err := Decode(*item())
		if err != nil || kept.Name != "Renamed" {
			t.Errorf("the copy is %+v, %v", kept, err)
		}
	})
	t.Run("while its site is down, it serves for a day", func(t *testing.T) {
		h.restart()
		h.site.fail("/client.json", 502)
		h.advance(3 * time.Hour)
		if c, err := h.store.Resolve(t.Context(), docURL, item()); err != nil || c.Name != "Renamed" {
			t.Errorf("client = %+v, %v", c, err)
		}
		h.advance(21 * time.Hour)
		_, err := h.store.Resolve(t.Context(), docURL, item())
		wantError(t, err, oauth.TemporarilyUnavailable, http.StatusServiceUnavailable)
	})
	t.Run("another document's copy is not taken", func(t *testing.T) {
		h.site.serve("/client.json", document(nil), "")
		h.advance(backOff)
		if err := h.store.Approved(t.Context(), h.lookup(t)); err != nil {
			t.Fatal(err)
		}
		h.restart()
		if c, err := h.store.Resolve(t.Context(), "https://example.com/other.json", item()); err == nil {
			t.Errorf("client = %+v", c)
		}
	})
	t.Run("turned off", func(t *testing.T) {
		store := &Store{Table: h.table, Now: h.Now}
		if _, err := store.Lookup(t.Context(), docURL); !errors.Is(err, ErrUnknown) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestFetchesAreShared(t *testing.T) {
	h := newHouse(t)
	var running, most, perHost, mostPerHost atomic.Int32
	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	names := make([]string, 9)
	for i := range names {
		name := fmt.Sprintf("h%d.example.com", i)
		h.site.resolves[name] = "93.184.215.14"
		names[i] = name
	}
	raise := func(n int32, most *atomic.Int32) {
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		raise(running.Add(1), &most)
		defer running.Add(-1)
		if r.Host == "example.com" {
			raise(perHost.Add(1), &mostPerHost)
			defer perHost.Add(-1)
		}
		entered <- struct{}{}
		<-gate
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	var wg sync.WaitGroup
	ask := func(id string) {
		wg.Go(func() { _, _ = h.store.Documents.fetch(t.Context(), id) })
	}
	h.site.handle("/client.json", handler)
	h.site.handle("/host.json", handler)
	for range 20 {
		ask(docURL) // one fetch for all of them
	}
	for i := range 4 {
		path := fmt.Sprintf("/c%d.json", i)
		h.site.handle(path, handler)
		ask("https://example.com" + path) // one after the other, being of one host
	}
	for _, name := range names {
		ask("https://" + name + "/host.json")
	}
	for range maxFetches { // all slots are taken before the first is given back
		<-entered
	}
	close(gate)
	wg.Wait()
	if n := h.site.count("/client.json"); n != 1 || h.site.count("/host.json") != len(names) {
		t.Errorf("20 lookups made %d fetches, %d others %d", n, len(names), h.site.count("/host.json"))
	}
	if mostPerHost.Load() != 1 || most.Load() != maxFetches {
		t.Errorf("%d at once, %d of one host", most.Load(), mostPerHost.Load())
	}
	if len(h.site.fetcher.hosts) != 0 || len(h.site.fetcher.flights) != 0 || len(h.site.fetcher.slots) != 0 {
		t.Error("something is still held")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := map[string]int{}
	for i := range 10 * maxCached {
		remember(m, fmt.Sprint(i), i, func(v int) bool { return v%2 == 0 })
		if len(m) > maxCached {
			t.Fatalf("%d entries", len(m))
		}
		if m[fmt.Sprint(i)] != i {
			t.Fatal("the newest entry is gone")
		}
	}
}

func FuzzDocument(f *testing.F) {
	d := NewDocuments(NewFetcher(&safehttp.Client{}), nativeSchemes, time.Now)
	for _, seed := range []string{document(nil), document(map[string]any{"jwks": map[string]any{"keys": []any{}}}), `{}`, `{"client_id":"` + docURL + `","client_name":"x","redirect_uris":["http://localhost/"]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := d.parse(docURL, body)
		if err != nil {
			return
		}
		if c.ID != docURL || c.Kind != Document || c.Name == "" || c.SecretHash != nil || len(c.RedirectURIs) == 0 || c.Allows(oauth.GrantClientCredentials) {
			t.Fatalf("%q makes %+v", body, c)
		}
		for _, method := range c.Methods() {
			if method != oauth.AuthNone && method != oauth.AuthPrivateKeyJWT {
				t.Fatalf("%q makes a client by %s", body, method)
			}
		}
		if slices.Contains(c.Methods(), oauth.AuthPrivateKeyJWT) && c.JWKSURI == "" && len(c.JWKS) == 0 {
			t.Fatalf("%q makes a client without keys", body)
		}
		item, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(item); err != nil || back.Fingerprint() != c.Fingerprint() {
			t.Fatalf("%+v reads back as %+v, %v", c, back, err)
		}
	})
}
