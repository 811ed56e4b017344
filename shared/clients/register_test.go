package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

// mcpRemote is the registration that mcp-remote sends.
func mcpRemote(port int) string {
	return fmt.Sprintf(`{"client_name":"MCP CLI Proxy","client_uri":"https://github.com/modelcontextprotocol/mcp-cli","application_type":"native",
		"redirect_uris":["http://localhost:%d/oauth/callback"],"token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],
		"software_id":"2e6dc280-f3c3-4e01-99a7-8181dbd1d23d","software_version":"0.15.1"}`, port)
}

func (h *house) register(t testing.TB, body string) Registration {
	t.Helper()
	answer, err := h.registrar.Register(t.Context(), []byte(body))
	if err != nil {
		t.Fatalf("registering: %v", err)
	}
	return answer
}

func TestRegisterPublicClient(t *testing.T) {
	h := newHouse(t)
	first := h.register(t, mcpRemote(3334))
	if !strings.HasPrefix(first.ClientID, "dyn_") || len(first.ClientID) != 47 || first.ClientSecret != "" || first.ClientSecretExpiresAt != nil {
		t.Errorf("answer = %+v", first)
	}
	if first.ClientIDIssuedAt != h.Now().Unix() || first.AuthMethod != "none" || first.Name != "MCP CLI Proxy" || first.ApplicationType != "native" {
		t.Errorf("answer = %+v", first)
	}
	if want := []string{"authorization_code", "refresh_token"}; !slices.Equal(first.GrantTypes, want) {
		t.Errorf("grant_types = %v", first.GrantTypes)
	}
	if reads, writes := h.table.calls(); reads != 1 || writes != 1 {
		t.Errorf("a new client took %d reads and %d writes", reads, writes)
	}

	h.advance(time.Hour)
	again := h.register(t, mcpRemote(4444))
	if again.ClientID != first.ClientID || again.ClientIDIssuedAt != first.ClientIDIssuedAt {
		t.Errorf("another port made another client: %+v", again)
	}
	if want := []string{"http://localhost:4444/oauth/callback"}; !slices.Equal(again.RedirectURIs, want) {
		t.Errorf("redirect_uris = %v, want the caller's own", again.RedirectURIs)
	}
	if reads, writes := h.table.calls(); reads != 1 || writes != 0 {
		t.Errorf("a known client took %d reads and %d writes", reads, writes)
	}

	c, err := h.store.Lookup(t.Context(), first.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	if c.Kind != Registered || !c.MatchRedirect("http://localhost:9/oauth/callback") || c.MatchRedirect("http://localhost:9/other") || !c.Public() {
		t.Errorf("client = %+v", c)
	}
}

func TestRegistrationIDCoversEveryField(t *testing.T) {
	h := newHouse(t)
	base := map[string]any{"redirect_uris": []string{"https://a.example/cb"}, "token_endpoint_auth_method": "none"}
	register := func(change map[string]any) string {
		merged := map[string]any{}
		for _, m := range []map[string]any{base, change} {
			for k, v := range m {
				merged[k] = v
			}
		}
		body, _ := json.Marshal(merged)
		return h.register(t, string(body)).ClientID
	}
	ids := map[string]string{register(nil): "base"}
	for name, value := range map[string]any{
		"client_name": "x", "client_uri": "https://a.example", "logo_uri": "https://a.example/l", "policy_uri": "https://a.example/p",
		"tos_uri": "https://a.example/t", "scope": "mcp", "application_type": "web", "grant_types": []string{"authorization_code", "refresh_token"},
		"redirect_uris": []string{"https://a.example/cb", "https://a.example/cb2"},
	} {
		id := register(map[string]any{name: value})
		if other, ok := ids[id]; ok {
			t.Errorf("changing %s leaves the id of %s", name, other)
		}
		ids[id] = name
	}
	for name, value := range map[string]any{"contacts": []string{"a@b.example"}, "software_version": "2", "unheard_of": map[string]any{"a": 1}, "client_name": nil} {
		if id := register(map[string]any{name: value}); ids[id] != "base" {
			t.Errorf("%s, which is not stored, changes the id", name)
		}
	}
}

func TestRegisterConfidentialClient(t *testing.T) {
	h := newHouse(t)
	for _, method := range []string{"", "client_secret_basic", "client_secret_post"} {
		t.Run("method "+method, func(t *testing.T) {
			body := `{"redirect_uris":["https://app.example/cb"]`
			if method != "" {
				body += `,"token_endpoint_auth_method":"` + method + `"`
			}
			a, b := h.register(t, body+"}"), h.register(t, body+"}")
			if a.ClientID == b.ClientID || a.ClientSecret == b.ClientSecret || len(a.ClientSecret) < 43 {
				t.Errorf("two registrations: %+v, %+v", a, b)
			}
			if a.ClientSecretExpiresAt == nil || *a.ClientSecretExpiresAt != 0 {
				t.Error("client_secret_expires_at is missing") // RFC 7591 section 3.2.1
			}
			if want := method; want != "" && a.AuthMethod != want || want == "" && a.AuthMethod != oauth.AuthSecretBasic {
				t.Errorf("method = %s", a.AuthMethod)
			}
			if !slices.Equal(a.GrantTypes, []string{"authorization_code"}) || !slices.Equal(a.ResponseTypes, []string{"code"}) {
				t.Errorf("defaults: %v %v", a.GrantTypes, a.ResponseTypes)
			}
			key, _ := Key(a.ClientID)
			items, err := h.table.Get(t.Context(), key)
			if err != nil || items[0] == nil {
				t.Fatal(err)
			}
			if bytes.Contains(items[0].Data, []byte(a.ClientSecret)) {
				t.Error("the table holds the secret") // H08
			}
			c, err := h.store.Lookup(t.Context(), a.ClientID)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.auth.Authenticate(t.Context(), c, Credentials{ClientID: a.ClientID, Method: a.AuthMethod, secret: a.ClientSecret}); err != nil {
				t.Errorf("authenticating: %v", err)
			}
		})
	}
}

func TestRegistrationRefusals(t *testing.T) {
	h := newHouse(t)
	manyURIs := make([]string, 1000)
	for i := range manyURIs {
		manyURIs[i] = fmt.Sprintf(`"https://a.example/%d"`, i)
	}
	public := func(members string) string {
		return `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"none",` + members + `}`
	}
	redirect := func(uri string) string {
		quoted, _ := json.Marshal(uri)
		return `{"token_endpoint_auth_method":"none","redirect_uris":[` + string(quoted) + `]}`
	}
	for _, test := range []struct{ name, body, code string }{
		{"empty", ``, oauth.InvalidClientMetadata},
		{"array", `[]`, oauth.InvalidClientMetadata},
		{"null", `null`, oauth.InvalidClientMetadata},
		{"string", `"a"`, oauth.InvalidClientMetadata},
		{"cut off", `{"redirect_uris":["https://a.example/cb"]`, oauth.InvalidClientMetadata},
		{"trailing garbage", public(`"scope":"mcp"`) + `x`, oauth.InvalidClientMetadata},
		{"second object", public(`"scope":"mcp"`) + `{}`, oauth.InvalidClientMetadata},
		{"duplicate member", public(`"redirect_uris":["https://evil.example/cb"]`), oauth.InvalidClientMetadata},
		{"duplicate deep inside", public(`"x":{"a":1,"a":2}`), oauth.InvalidClientMetadata},
		{"deep", public(`"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), oauth.InvalidClientMetadata},
		{"not UTF-8", "{\"client_name\":\"\xff\"}", oauth.InvalidClientMetadata},
		{"wrong type: name", public(`"client_name":1`), oauth.InvalidClientMetadata},
		{"wrong type: grants", public(`"grant_types":"authorization_code"`), oauth.InvalidClientMetadata},
		{"null in a list", public(`"grant_types":[null]`), oauth.InvalidClientMetadata},
		{"long name", public(`"client_name":"` + strings.Repeat("n", 101) + `"`), oauth.InvalidClientMetadata},
		{"script as website", public(`"client_uri":"javascript:alert(1)"`), oauth.InvalidClientMetadata},
		{"data as logo", public(`"logo_uri":"data:image/png;base64,AA"`), oauth.InvalidClientMetadata},
		{"user information in a link", public(`"tos_uri":"https://a@b.example"`), oauth.InvalidClientMetadata},
		{"malformed scope", public(`"scope":"a\u0000b"`), oauth.InvalidClientMetadata},
		{"huge scope", public(`"scope":"` + strings.Repeat("s ", 1000) + `"`), oauth.InvalidClientMetadata},
		{"application type", public(`"application_type":"toaster"`), oauth.InvalidClientMetadata},
		{"unknown method", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"tls_client_auth"}`, oauth.InvalidClientMetadata},
		{"secret by HMAC", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"client_secret_jwt"}`, oauth.InvalidClientMetadata},
		{"implicit", public(`"grant_types":["implicit"],"response_types":["token"]`), oauth.InvalidClientMetadata},
		{"token alone", public(`"response_types":["token"]`), oauth.InvalidClientMetadata},
		{"code without its grant", public(`"grant_types":["refresh_token"],"response_types":["code"]`), oauth.InvalidClientMetadata},
		{"refresh alone", public(`"grant_types":["refresh_token"]`), oauth.InvalidClientMetadata},
		{"no grants", public(`"grant_types":[]`), oauth.InvalidClientMetadata},
		{"D08 client credentials by registration", `{"grant_types":["client_credentials"]}`, oauth.InvalidClientMetadata},
		{"keys missing", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}`, oauth.InvalidClientMetadata},
		{"keys on this machine", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://127.0.0.1/k"}`, oauth.InvalidClientMetadata},
		{"keys by http", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://a.example/k"}`, oauth.InvalidClientMetadata},
		{"HMAC as algorithm", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"HS256","jwks_uri":"https://a.example/k"}`, oauth.InvalidClientMetadata},
		{"no redirect URIs", `{"token_endpoint_auth_method":"none"}`, oauth.InvalidRedirectURI},
		{"empty redirect URIs", `{"redirect_uris":[]}`, oauth.InvalidRedirectURI},
		{"redirect URIs not a list", `{"redirect_uris":"https://a.example/cb"}`, oauth.InvalidRedirectURI},
		{"F02 1,000 redirect URIs", `{"redirect_uris":[` + strings.Join(manyURIs, ",") + `]}`, oauth.InvalidRedirectURI},
		{"F02 a huge redirect URI", redirect("https://a.example/" + strings.Repeat("a", 600)), oauth.InvalidRedirectURI},
		{"A02 loopback by prefix", redirect("http://127.0.0.1.evil.example/cb"), oauth.InvalidRedirectURI},
		{"A02 loopback as user", redirect("http://localhost@evil.example/cb"), oauth.InvalidRedirectURI},
		{"A03 javascript", redirect("javascript:alert(1)"), oauth.InvalidRedirectURI},
		{"A03 JavaScript", redirect("JavaScript:alert(1)"), oauth.InvalidRedirectURI},
		{"A03 leading space", redirect(" javascript:alert(1)"), oauth.InvalidRedirectURI},
		{"A03 tab inside", redirect("java\tscript:alert(1)"), oauth.InvalidRedirectURI},
		{"A03 NUL inside", redirect("java\x00script:alert(1)"), oauth.InvalidRedirectURI},
		{"A03 data", redirect("data:text/html,x"), oauth.InvalidRedirectURI},
		{"A03 vbscript", redirect("vbscript:x"), oauth.InvalidRedirectURI},
		{"A03 file", redirect("file:///etc/passwd"), oauth.InvalidRedirectURI},
		{"A03 blob", redirect("blob:https://a.example/x"), oauth.InvalidRedirectURI},
		{"A04 fragment", redirect("https://a.example/cb#f"), oauth.InvalidRedirectURI},
		{"A04 user information", redirect("https://u@a.example/cb"), oauth.InvalidRedirectURI},
		{"A04 relative", redirect("/cb"), oauth.InvalidRedirectURI},
		{"http beyond loopback", redirect("http://a.example/cb"), oauth.InvalidRedirectURI},
		{"unlisted scheme", redirect("myapp://cb"), oauth.InvalidRedirectURI},
		{"one bad among good", `{"redirect_uris":["https://a.example/cb","http://a.example/cb"]}`, oauth.InvalidRedirectURI},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.registrar.Register(t.Context(), []byte(test.body))
			wantError(t, err, test.code, http.StatusBadRequest)
		})
	}
	if reads, writes := h.table.calls(); reads != 0 || writes != 0 {
		t.Errorf("refused registrations took %d reads and %d writes", reads, writes)
	}
}

func TestRegistrationAcceptsRealClients(t *testing.T) {
	h := newHouse(t)
	for name, body := range map[string]string{
		"cursor":  `{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"]}`,
		"vs code": `{"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com","grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"token_endpoint_auth_method":"none","application_type":"native"}`,
		"claude":  `{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_post","scope":"mcp"}`,
		"reverse": `{"client_name":"App","redirect_uris":["com.example.app:/cb"],"token_endpoint_auth_method":"none"}`,
		"empties": `{"client_name":"","client_uri":"","logo_uri":null,"scope":"","redirect_uris":["http://[::1]:1234/cb"],"token_endpoint_auth_method":"none"}`,
	} {
		t.Run(name, func(t *testing.T) { h.register(t, body) })
	}
}

func TestF02_MassAssignment(t *testing.T) {
	h := newHouse(t)
	answer := h.register(t, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"none","client_id":"admin","client_secret":"chosen",
		"kind":2,"trusted":true,"Client_ID":"admin","GRANT_TYPES":["client_credentials"],"scope":"mcp admin tool:everything","secret_sha256":"AAAA","issued_at":"2000-01-01T00:00:00Z",
		"client_id_issued_at":1,"client_secret_expires_at":1,"software_statement":"eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0.","grant_types":["authorization_code","client_credentials"],
		"registration_access_token":"x"}`)
	if !strings.HasPrefix(answer.ClientID, "dyn_") || answer.ClientSecret != "" || answer.Scope != "mcp" || !slices.Equal(answer.GrantTypes, []string{"authorization_code"}) {
		t.Errorf("answer = %+v", answer)
	}
	c, err := h.store.Lookup(t.Context(), answer.ClientID)
	if err != nil || c.Kind != Registered || c.SecretHash != nil || !c.IssuedAt.Equal(h.Now()) || c.ScopeCeiling() != nil {
		t.Errorf("client = %+v, %v", c, err)
	}
	if _, err := h.store.Lookup(t.Context(), "admin"); !errors.Is(err, ErrUnknown) {
		t.Errorf("the chosen id is known: %v", err)
	}
}

func TestF03_NoManagementOfRegistrations(t *testing.T) {
	h := newHouse(t)
	mux := http.NewServeMux()
	mux.Handle(oauth.PathRegister, NewRegistrationHandler(h.registrar))
	answer := h.register(t, mcpRemote(1))
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		for path, want := range map[string]int{oauth.PathRegister + "/" + answer.ClientID: 404, oauth.PathRegister: 405, oauth.PathRegister + "?client_id=" + answer.ClientID: 405} {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("{}")))
			if w.Code != want {
				t.Errorf("%s %s = %d, want %d", method, path, w.Code, want)
			}
		}
	}
}

func TestRegistrationHandler(t *testing.T) {
	h := newHouse(t)
	handler := NewRegistrationHandler(h.registrar)
	for _, test := range []struct {
		name, method, contentType, body string
		header                          map[string]string
		status                          int
		code                            string
	}{
		{name: "created", method: "POST", contentType: "application/json", body: mcpRemote(1), status: 201},
		{name: "known", method: "POST", contentType: "application/json; charset=utf-8", body: mcpRemote(2), status: 201},
		{name: "preflight", method: "OPTIONS", status: 204},
		{name: "form", method: "POST", contentType: "application/x-www-form-urlencoded", body: "a=b", status: 400, code: oauth.InvalidClientMetadata},
		{name: "no type", method: "POST", body: mcpRemote(1), status: 400, code: oauth.InvalidClientMetadata},
		{name: "two types in one", method: "POST", contentType: "application/json, text/html", body: mcpRemote(1), status: 400, code: oauth.InvalidClientMetadata},
		{name: "compressed", method: "POST", contentType: "application/json", header: map[string]string{"Content-Encoding": "gzip"}, body: mcpRemote(1), status: 400, code: oauth.InvalidClientMetadata},
		{name: "F02 1 MB", method: "POST", contentType: "application/json", body: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, status: 413, code: oauth.InvalidClientMetadata},
		{name: "bad metadata", method: "POST", contentType: "application/json", body: `{}`, status: 400, code: oauth.InvalidRedirectURI},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, oauth.PathRegister, strings.NewReader(test.body))
			r.Header.Set("Origin", "https://anywhere.example")
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			for k, v := range test.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.status || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("status %d, header %v, body %s", w.Code, w.Header(), w.Body)
			}
			if test.status == 204 {
				return
			}
			var answer struct{ Error, Client_id string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Error != test.code || (test.code == "") != (answer.Client_id != "") {
				t.Errorf("body %s, %v", w.Body, err)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
	t.Run("a refusal is logged", func(t *testing.T) {
		var log strings.Builder
		logged := audit.Requests(slog.New(slog.NewJSONHandler(&log, nil)), h.Now, func(*http.Request) string { return "req" }, handler)
		r := httptest.NewRequest("POST", oauth.PathRegister, strings.NewReader(`{"redirect_uris":["http://evil.example/"]}`))
		r.Header.Set("Content-Type", "application/json")
		logged.ServeHTTP(httptest.NewRecorder(), r)
		if !strings.Contains(log.String(), `"error":"invalid_redirect_uri","reason":"redirect_uri uses http`) {
			t.Errorf("the log says %s", log.String())
		}
	})
	t.Run("a table that is down", func(t *testing.T) {
		h.table.down.Store(true)
		r := httptest.NewRequest("POST", oauth.PathRegister, strings.NewReader(mcpRemote(1)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), oauth.TemporarilyUnavailable) {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	})
}

func TestB08_NamesAreCleaned(t *testing.T) {
	for in, want := range map[string]string{
		"Claude":                             "Claude",
		"  two \t\n words\u2028here  ":       "two words here",
		"evil\u202eedualC":                   "eviledualC",
		"a\u200bb\u200d\u2060\ufeffc":        "abc",
		"\u2066left\u2069 \u061c\u200fright": "left right",
		"nul\x00 esc\x1b[31m del\x7f":        "nul esc[31m del",
		"Zoë 日本語 🙂":                          "Zoë 日本語 🙂",
		"\u3164\u115f\u2800":                 "",
		"tag\U000e0041\U000e007f":            "tag",
		"<b>&\"'":                            "<b>&\"'", // escaping is the page's affair
	} {
		if got := cleanName(in); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRegistrationLife(t *testing.T) {
	h := newHouse(t)
	id := h.register(t, mcpRemote(1)).ClientID
	lookup := func() (Client, error) { return h.store.Lookup(t.Context(), id) }
	mustLookup := func() Client {
		t.Helper()
		c, err := lookup()
		if err != nil {
			t.Fatalf("after %s: %v", h.Now(), err)
		}
		return c
	}

	t.Run("saying it again late gives it its day again", func(t *testing.T) {
		h.advance(NeverUsed - time.Minute)
		h.table.calls()
		h.register(t, mcpRemote(2))
		if _, writes := h.table.calls(); writes != 1 {
			t.Errorf("%d writes", writes)
		}
		h.advance(NeverUsed - time.Minute)
		mustLookup()
	})
	t.Run("never used, it ends in a day", func(t *testing.T) {
		h.advance(2 * time.Minute)
		if _, err := lookup(); !errors.Is(err, ErrUnknown) {
			t.Fatalf("err = %v", err)
		}
	})
	t.Run("approved, it lives 90 days", func(t *testing.T) {
		if again := h.register(t, mcpRemote(3)).ClientID; again != id {
			t.Fatalf("another id: %s", again)
		}
		if err := h.store.Approved(t.Context(), mustLookup()); err != nil {
			t.Fatal(err)
		}
		h.advance(UsedLife - time.Minute)
		mustLookup()
	})
	t.Run("used, it slides, at one write a day", func(t *testing.T) {
		h.table.calls()
		writes := 0
		for range 10 * 24 { // every hour, ten days
			if err := h.store.Used(t.Context(), mustLookup(), h.Now().Add(30*24*time.Hour)); err != nil {
				t.Fatal(err)
			}
			_, w := h.table.calls()
			writes += int(w)
			h.advance(time.Hour)
		}
		if writes > 10 {
			t.Errorf("%d writes in ten days", writes)
		}
		h.advance(UsedLife - 2*24*time.Hour)
		mustLookup()
	})
	t.Run("it outlives a long grant", func(t *testing.T) {
		if err := h.store.Used(t.Context(), mustLookup(), h.Now().Add(365*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		h.advance(365 * 24 * time.Hour)
		mustLookup()
	})
	t.Run("racing uses all succeed", func(t *testing.T) {
		c := mustLookup()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := h.store.Used(t.Context(), c, h.Now().Add(24*time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("saying it again does not shorten a used life", func(t *testing.T) {
		h.register(t, mcpRemote(9))
		h.advance(UsedLife - time.Hour)
		mustLookup()
	})
}

func TestA06_UnknownClients(t *testing.T) {
	h := newHouse(t)
	gone := h.register(t, mcpRemote(1)).ClientID
	h.advance(2 * NeverUsed)
	texts := map[string]bool{}
	for _, id := range []string{gone, "dyn_" + strings.Repeat("0", 43), "x", "", "a b", "../x", strings.Repeat("i", 200), "doc=x", "client\x00", "\xff", "ftp://a.example/x"} {
		_, err := h.store.Lookup(t.Context(), id)
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: err = %v", id, err)
			continue
		}
		wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
		texts[err.Error()] = true
	}
	if len(texts) != 1 {
		t.Errorf("they are told apart: %v", texts)
	}
	h.table.down.Store(true)
	if _, err := h.store.Lookup(t.Context(), gone); !errors.Is(err, table.ErrUnavailable) || errors.Is(err, ErrUnknown) {
		t.Errorf("a table that is down: %v", err)
	}
}

func FuzzRegister(f *testing.F) {
	for _, seed := range []string{mcpRemote(1), `{}`, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}}`, `[[[[`, `{"a":{"a":1,"a":2}}`} {
		f.Add([]byte(seed))
	}
	r := &Registrar{NativeSchemes: nativeSchemes, Scopes: []string{"mcp"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, echo, err := r.parse(body)
		if err != nil {
			oerr := oauth.AsError(err)
			if oerr.Status != 400 || oerr.Code != oauth.InvalidClientMetadata && oerr.Code != oauth.InvalidRedirectURI {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if c.Kind != Registered || c.ID != "" || c.SecretHash != nil || c.Allows(oauth.GrantClientCredentials) || !c.Allows(oauth.GrantAuthorizationCode) {
			t.Fatalf("%q makes %+v", body, c)
		}
		if utf8.RuneCountInString(c.Name) > maxNameRunes || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Fatalf("name %q", c.Name)
		}
		for _, uri := range echo {
			if !c.MatchRedirect(uri) {
				t.Fatalf("%q was registered and does not match", uri)
			}
		}
		// What is stored reads back as itself.
		if c.ID, err = hashID(c); err != nil {
			t.Fatal(err)
		}
		item, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(item)
		if err != nil || back.Fingerprint() != c.Fingerprint() {
			t.Fatalf("%+v reads back as %+v, %v", c, back, err)
		}
		back.stored = stored{}
		if again, _ := hashID(back); again != c.ID {
			t.Fatalf("the id of what reads back is another")
		}
	})
}

func BenchmarkRegister(b *testing.B) {
	h := newHouse(b)
	h.registrar.Limit = &Limiter{Table: h.table, Now: h.Now, Rand: h.registrar.Rand, PerMinute: 1 << 30}
	bench := func(body func(i int) string) func(*testing.B) {
		return func(b *testing.B) {
			for i := range b.N {
				if _, err := h.registrar.Register(b.Context(), []byte(body(i))); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
		}
	}
	b.Run("known", bench(func(i int) string { return mcpRemote(1 + i%60_000) }))
	b.Run("new public", bench(func(i int) string {
		return fmt.Sprintf(`{"redirect_uris":["https://a.example/%d-%d"],"token_endpoint_auth_method":"none"}`, b.N, i)
	}))
	b.Run("confidential", bench(func(int) string { return `{"redirect_uris":["https://a.example/cb"]}` }))
}
