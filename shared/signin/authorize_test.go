package signin

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mcp-access-oauth/shared/oauth"
)

// refused asserts that a request is refused by a page, and that nothing was written or set.
func (r *rig) refused(v url.Values, status int, has ...string) {
	r.t.Helper()
	r.refusedRaw("/authorize?"+v.Encode(), status, has...)
}

func (r *rig) refusedRaw(target string, status int, has ...string) {
	r.t.Helper()
	b := r.browser()
	wantPage(r.t, b.get(target), status, has...)
	if len(b.set) != 0 || r.table.writes != 0 {
		r.t.Errorf("a refused request set %v and wrote %d times", b.set, r.table.writes)
	}
}

func TestA01_A03_A04_RedirectURIMustBeRegistered(t *testing.T) {
	r := newRig(t)
	for _, uri := range []string{
		webRedirect + "x", webRedirect + "&x=1", "https://client.example/cb", "https://client.example/cb/", "https://client.example/cb/../cb?tenant=7",
		"https://client.example/%63b?tenant=7", "https://client.example%2fcb?tenant=7", "https://CLIENT.example/cb?tenant=7",
		"https://client.example./cb?tenant=7", "https://client.example:443/cb?tenant=7", "HTTPS://client.example/cb?tenant=7",
		"https://evil.example/cb", "https://client.example@evil.example/cb?tenant=7", "https://client.example\\@evil.example/cb",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://client.example/x",
		webRedirect + "#", webRedirect + "#frag", "https://user:pass@client.example/cb?tenant=7", "/cb", "//evil.example/cb", "client.example/cb",
		"https://client.example/" + strings.Repeat("a", 600),
	} {
		r.refused(r.params("redirect_uri", uri), 400, "redirect_uri")
	}
	r.refused(r.params("redirect_uri", ""), 400, "redirect_uri is missing")
	r.refusedRaw("/authorize?"+strings.Replace(r.params().Encode(), "redirect_uri=https", "redirect_uri=java%00script:https", 1), 400, "NUL")
}

func TestA02_LoopbackAbuse(t *testing.T) {
	r := newRig(t)
	for _, uri := range []string{
		"http://127.0.0.1.evil.com/callback", "http://localhost.evil.com/callback", "http://localhost@evil.com/callback", "http://localhost:80@evil.com/callback",
		"https://localhost:1/callback", "http://localhost:1/other", "http://localhost:1/callback/", "http://LOCALHOST:1/callback", "http://[::1]:1/callback",
		"http://127.0.0.2:1/callback", "http://0.0.0.0:1/callback", "http://localhost:1/callback?x=1", "http://localhost:0/callback", "http://localhost:99999/callback",
		"http://2130706433:1/callback", "http://localhost.:1/callback",
	} {
		r.refused(r.nativeParams("redirect_uri", uri), 400, "redirect_uri")
	}
	for _, uri := range []string{"http://localhost:1/callback", "http://localhost:65535/callback", "http://localhost/callback", "http://127.0.0.1:5/callback"} {
		r.browser().consent(r.nativeParams("redirect_uri", uri))
	}
}

func TestA03_SettingsAreAskedAgain(t *testing.T) {
	r := newRig(t)
	appParams := r.params("client_id", r.app, "redirect_uri", appRedirect)
	b := r.browser()
	sealed := b.consent(appParams)
	back := r.provider.signIn(b.toProvider(appParams), "ann")

	r.h.NativeSchemes = nil // the operator takes the scheme away
	r.refused(appParams, 400, "scheme")
	wantPage(t, b.get(back), 400, "scheme")
	wantPage(t, b.post(url.Values{"request": {sealed}, "decision": {"cancel"}}), 400, "scheme")
}

func TestA05_RepeatedParameters(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"client_id", "redirect_uri", "state", "code_challenge", "response_type", "scope", "prompt"} {
		r.refusedRaw("/authorize?"+r.params().Encode()+"&"+name+"=x&"+name+"=y", 400, "repeated")
	}
	r.refusedRaw("/authorize?"+r.params().Encode()+"&a;b=%zz", 400, "well-formed")
}

func TestA06_UnknownClient(t *testing.T) {
	r := newRig(t)
	pages := map[string]bool{}
	for _, id := range []string{"nobody", "dyn_" + strings.Repeat("x", 43), "dyn_../x", strings.Repeat("x", 5000), "https://client.example/not-fetched"} {
		b := r.browser()
		page := wantPage(t, b.authorize(r.params("client_id", id)), 400, "not known here", oauth.InvalidClient)
		pages[page] = true
	}
	if len(pages) != 1 {
		t.Errorf("%d different answers for clients that do not exist", len(pages))
	}
	r.now = r.now.Add(25 * time.Hour) // never used: gone
	b := r.browser()
	if page := wantPage(t, b.authorize(r.params()), 400); !pages[page] {
		t.Error("a client that was deleted is answered otherwise than one that never was")
	}
	r.refused(r.params("client_id", ""), 400, "client_id is missing")
}

// refusals are requests that are wrong in one way, and the error they must get.
func refusals() []struct {
	name    string
	changes []string
	code    string
} {
	return []struct {
		name    string
		changes []string
		code    string
	}{
		{"A07 no challenge", []string{"code_challenge", ""}, oauth.InvalidRequest},
		{"A07 plain", []string{"code_challenge_method", "plain"}, oauth.InvalidRequest},
		{"A07 method omitted", []string{"code_challenge_method", ""}, oauth.InvalidRequest},
		{"A07 unknown method", []string{"code_challenge_method", "s256"}, oauth.InvalidRequest},
		{"A07 short challenge", []string{"code_challenge", "abc"}, oauth.InvalidRequest},
		{"A07 long challenge", []string{"code_challenge", strings.Repeat("a", 44)}, oauth.InvalidRequest},
		{"A07 alphabet", []string{"code_challenge", strings.Repeat("+", 43)}, oauth.InvalidRequest},
		{"A08 token", []string{"response_type", "token"}, oauth.UnsupportedResponseType},
		{"A08 hybrid", []string{"response_type", "code token"}, oauth.UnsupportedResponseType},
		{"A08 missing", []string{"response_type", ""}, oauth.InvalidRequest},
		{"A08 fragment", []string{"response_mode", "fragment"}, oauth.UnsupportedResponseType},
		{"A08 form_post", []string{"response_mode", "form_post"}, oauth.UnsupportedResponseType},
		{"A09 fragment", []string{"resource", testResource + "#x"}, oauth.InvalidTarget},
		{"A09 other origin", []string{"resource", "https://evil.example/mcp"}, oauth.InvalidTarget},
		{"A09 sibling", []string{"resource", "https://mcp.example.com/other"}, oauth.InvalidTarget},
		{"A09 longer", []string{"resource", testResource + "-v2"}, oauth.InvalidTarget},
		{"A10 characters", []string{"scope", "mcp \"x\""}, oauth.InvalidScope},
		{"A10 line break", []string{"scope", "mcp\r\nx"}, oauth.InvalidScope},
		{"A10 too long", []string{"scope", strings.Repeat("mcp ", 2000)}, oauth.InvalidScope},
		{"A11 request", []string{"request", "eyJhbGciOiJub25lIn0.e30."}, oauth.RequestNotSupported},
		{"A11 request_uri", []string{"request_uri", "http://169.254.169.254/"}, oauth.RequestURINotSupported},
		{"A12 prompt none", []string{"prompt", "none"}, "consent_required"},
		{"A12 prompt none and more", []string{"prompt", "none consent"}, oauth.InvalidRequest},
		{"state too long", []string{"state", strings.Repeat("s", 769)}, oauth.InvalidRequest},
		{"state broken", []string{"state", "\xff"}, oauth.InvalidRequest},
	}
}

// TestRefusals holds A07 to A12 for each kind of client: on this computer and for a listed client the error goes to the
// client by itself, for everyone else there is a page with a link (RFC 9700 section 4.11.2).
func TestRefusals(t *testing.T) {
	r := newRig(t)
	for _, c := range refusals() {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			b := r.browser()
			for _, direct := range []url.Values{
				r.nativeParams(c.changes...),
				r.params(append([]string{"client_id", "listed", "redirect_uri", "https://listed.example/cb"}, c.changes...)...),
			} {
				u := location(t, b.authorize(direct), http.StatusFound)
				q := u.Query()
				if u.Scheme+"://"+u.Host+u.Path != direct.Get("redirect_uri") || q.Get("error") != c.code || u.Fragment != "" {
					t.Errorf("sent to %s, want error %s", u, c.code)
				}
				wantIssuerOnce(t, u)
				if good := direct.Get("state"); len(good) <= maxStateBytes && good != "\xff" && q.Get("state") != good {
					t.Errorf("state %q, want %q", q.Get("state"), good)
				}
			}
			page := wantPage(t, b.authorize(r.params(c.changes...)), 400, c.code)
			if link := linkOf(t, page); link.Query().Get("error") != c.code || !strings.HasPrefix(link.String(), webRedirect+"&") {
				t.Errorf("the link leads to %s", link)
			} else {
				wantIssuerOnce(t, link)
			}
			if len(b.set) != 0 || r.table.writes != 0 {
				t.Errorf("a refused request set %v and wrote %d times", b.set, r.table.writes)
			}
		})
	}
}

// RFC 6749 section 3.1: a parameter without a value counts as omitted.
func TestEmptyParametersAreOmitted(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"request", "request_uri", "response_mode", "scope", "resource", "prompt", "max_age", "state"} {
		wantPage(t, r.browser().get("/authorize?"+r.params(name, "").Encode()+"&"+name+"="), 200, "Approve")
	}
}

func TestA09_ResourceSpellings(t *testing.T) {
	r := newRig(t)
	for _, resource := range []string{"", "https://mcp.example.com", "https://mcp.example.com/", "HTTPS://MCP.example.com/mcp/", "https://mcp.example.com:443/sse"} {
		r.browser().consent(r.params("resource", resource))
	}
	r.refusedRaw("/authorize?"+r.params().Encode()+"&resource="+url.QueryEscape(testResource), 400, oauth.InvalidTarget)
}

func TestA10_Scopes(t *testing.T) {
	r := newRig(t)
	r.now = r.now.Add(time.Second)
	narrow := r.register(`{"client_name":"Narrow","redirect_uris":["https://narrow.example/cb"],"scope":"mcp images"}`)
	r.table.reset()
	for _, c := range []struct{ name, client, redirect, asked, want string }{
		{"as asked", r.web, webRedirect, "mcp images offline_access", "mcp images offline_access"},
		{"unknown ones are dropped", r.web, webRedirect, "mcp admin *", "mcp"},
		{"none left means the default", r.web, webRedirect, "admin", "mcp"},
		{"none asked means the client's default", narrow, "https://narrow.example/cb", "", "mcp images"},
		{"a registered scope is no ceiling", narrow, "https://narrow.example/cb", "offline_access mcp", "offline_access mcp"},
		{"a listed client's is one", "listed", "https://listed.example/cb", "mcp images offline_access", "mcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			b := r.browser()
			sealed := b.consent(r.params("client_id", c.client, "redirect_uri", c.redirect, "scope", c.asked))
			if got := oauth.JoinScope(r.opened(b, sealed).scopes); got != c.want {
				t.Errorf("scopes %q, want %q", got, c.want)
			}
		})
	}
	u := location(t, r.browser().authorize(r.params("client_id", "other-listed", "redirect_uri", "https://listed.example/cb")), http.StatusFound)
	if u.Query().Get("error") != oauth.InvalidScope {
		t.Errorf("a client without any scope left is sent to %s", u)
	}
}

// opened is what a form holds.
func (r *rig) opened(b *browser, sealed string) transaction {
	r.t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/authorize", nil)
	req.AddCookie(&http.Cookie{Name: csrfCookie, Value: b.cookies[csrfCookie]})
	csrf, err := r.h.csrf(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	tx, err := r.h.openForm(r.t.Context(), sealed, csrf)
	if err != nil {
		r.t.Fatal(err)
	}
	return tx
}

func TestA13_IssuerOnceOnEveryAnswer(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	success := location(t, b.signIn(r.params(), "ann"), http.StatusFound)
	wantIssuerOnce(t, success)
	denied := location(t, b.post(url.Values{"request": {b.consent(r.params("scope", "mcp images"))}, "decision": {"cancel"}}), http.StatusSeeOther)
	wantIssuerOnce(t, denied)

	// A redirect URI with such a parameter of its own would make two.
	twice := r.register(`{"client_name":"Twice","redirect_uris":["https://twice.example/cb?iss=https://evil.example","https://twice.example/cb?code=x"]}`)
	r.table.reset()
	r.refused(r.params("client_id", twice, "redirect_uri", "https://twice.example/cb?iss=https://evil.example"), 400, "iss")
	r.refused(r.params("client_id", twice, "redirect_uri", "https://twice.example/cb?code=x"), 400, "code")
}

func wantIssuerOnce(t *testing.T, u *url.URL) {
	t.Helper()
	if iss := u.Query()["iss"]; len(iss) != 1 || iss[0] != testIssuer {
		t.Errorf("iss %v in %s", iss, u)
	}
}

func linkOf(t *testing.T, page string) *url.URL {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<a class="button" href="`)
	href, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("the page has no link: %s", page)
	}
	u, err := url.Parse(html.UnescapeString(href))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestAuthorizeForPrograms is what mcp-remote does before it opens a browser with a remembered registration.
func TestAuthorizeForPrograms(t *testing.T) {
	r := newRig(t)
	ask := func(v url.Values, accept string) (*http.Response, map[string]string) {
		req := httptest.NewRequest(http.MethodGet, "/authorize?"+v.Encode(), nil)
		req.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		r.h.Authorize().ServeHTTP(w, req)
		answer := map[string]string{}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("not JSON: %s", w.Body)
		}
		if len(w.Result().Cookies()) != 0 || w.Header().Get("Location") != "" {
			t.Errorf("a program was given %v", w.Header())
		}
		return w.Result(), answer
	}
	if resp, answer := ask(r.params("client_id", "nobody"), "application/json"); resp.StatusCode != 400 && resp.StatusCode != 401 || answer["error"] != "invalid_client" {
		t.Errorf("unknown client: %d %v", resp.StatusCode, answer)
	}
	if resp, answer := ask(r.nativeParams("code_challenge", ""), "application/json, */*"); resp.StatusCode != 400 || answer["error"] != "invalid_request" {
		t.Errorf("bad request: %d %v", resp.StatusCode, answer)
	}
	if resp, answer := ask(r.params(), "application/json"); resp.StatusCode != 200 || answer["client_id"] != r.web {
		t.Errorf("good request: %d %v", resp.StatusCode, answer)
	}
	r.table.fault = errOutage
	if resp, answer := ask(r.params(), "application/json"); resp.StatusCode != 503 || answer["error"] != "temporarily_unavailable" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("outage: %d %v", resp.StatusCode, answer)
	}
	if r.table.writes != 0 {
		t.Errorf("%d writes", r.table.writes)
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t)
	for path, allow := range map[string]string{"/authorize": "GET, POST", "/callback": "GET"} {
		for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "get"} {
			b := r.browser()
			resp := b.do(httptest.NewRequest(method, path+"?"+r.params().Encode(), nil))
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != allow || len(b.set) != 0 {
				t.Errorf("%s %s: %d, Allow %q", method, path, resp.StatusCode, resp.Header.Get("Allow"))
			}
		}
	}
}

func TestAuthorizeWritesNothing(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	for range 50 {
		b.consent(r.params())
	}
	if r.table.writes != 0 || r.table.reads != 50 {
		t.Errorf("%d writes and %d reads for 50 requests", r.table.writes, r.table.reads)
	}
}

func TestCookieOfTheLargestRequestFits(t *testing.T) {
	r := newRig(t)
	long := "https://long.example/" + strings.Repeat("p", oauth.MaxRedirectURIBytes-len("https://long.example/"))
	client := r.register(`{"client_name":"A client with quite a long name that must be cut","redirect_uris":["` + long + `"]}`)
	b := r.browser()
	v := r.params("client_id", client, "redirect_uri", long, "state", strings.Repeat("ß", maxStateBytes/2), "scope", "mcp offline_access images")
	b.toProvider(v)
	for name, value := range b.cookies {
		if strings.HasPrefix(name, transactionPrefix) && len(name)+1+len(value) > 2048 {
			t.Errorf("the cookie has %d bytes", len(name)+1+len(value))
		}
	}
	u := location(t, b.signIn(v, "ann"), http.StatusFound)
	if u.Query().Get("state") != v.Get("state") {
		t.Error("the state came back changed")
	}
}

func TestTransactionFit(t *testing.T) {
	for name := range 70 {
		tx := transaction{
			id: strings.Repeat("i", transactionIDLength), clientID: strings.Repeat("c", 60), clientName: strings.Repeat("é", name), kind: 1,
			redirectURI: strings.Repeat("r", 512), state: strings.Repeat("s", 700), challenge: oauth.S256Challenge("x"), scopes: []string{"mcp"},
		}
		if !tx.fit() || !utf8.ValidString(tx.clientName) {
			t.Errorf("name of %d letters: %q", name, tx.clientName)
		}
		tx.key, tx.approval = "12345678", strings.Repeat("a", hashBytes)
		if len(tx.encode()) > maxEncoded {
			t.Errorf("name of %d letters: %d bytes", name, len(tx.encode()))
		}
	}
	tooLong := transaction{kind: 1, clientID: strings.Repeat("c", 800), state: strings.Repeat("s", 768)}
	if tooLong.fit() {
		t.Error("it cannot fit")
	}
}
