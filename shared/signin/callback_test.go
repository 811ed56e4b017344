package signin

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
	"mcp-access-oauth/shared/seal"
)

// rotateKeys makes a new key primary and has the sealer read it.
func (r *rig) rotateKeys() {
	r.t.Helper()
	key := seal.KeyFrom([32]byte{1: 7}, []byte("some other key id seed"), r.now.Add(-time.Minute))
	r.keys.mu.Lock()
	r.keys.set.Keys = append(r.keys.set.Keys, key)
	r.keys.mu.Unlock()
	r.h.Sealer = seal.New(r.keys, r.h.Now)
}

func TestSignIn(t *testing.T) {
	r := newRig(t)
	for name, v := range map[string]url.Values{
		"web": r.params(), "native": r.nativeParams(), "app": r.params("client_id", r.app, "redirect_uri", appRedirect),
		"no state": r.params("state", ""), "redirect URI by default": r.params("client_id", "listed", "redirect_uri", ""),
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.table.reset()
			b := r.browser()
			u := location(t, b.signIn(v, "ann"), http.StatusFound)
			q := u.Query()
			if !strings.HasPrefix(u.String(), v.Get("redirect_uri")) || !strings.HasPrefix(q.Get("code"), "ac_") || q.Get("state") != v.Get("state") || q.Has("error") || q.Has("state") != v.Has("state") {
				t.Errorf("sent to %s", u)
			}
			wantIssuerOnce(t, u)
			if len(b.transactions()) != 0 {
				t.Error("the transaction's cookie was left")
			}
			if calls := r.table.reads + r.table.writes; calls > 3 || r.table.writes != 1 {
				t.Errorf("%d calls to the table, %d of them writes", calls, r.table.writes)
			}
		})
	}
	for _, secret := range []string{"ac_", "upstream-rt", "the client"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("H05: the log holds %q", secret)
		}
	}
	if !strings.Contains(r.log.String(), `"action":"sign_in","decision":"allow"`) || !strings.Contains(r.log.String(), `"action":"consent_approved"`) {
		t.Errorf("audit events: %s", r.log)
	}
}

func TestC01_State(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	at := b.toProvider(r.params())
	back := r.provider.signIn(at, "ann")
	state := at.Query().Get("state")
	for name, target := range map[string]string{
		"missing": "/callback?code=x", "empty": "/callback?code=x&state=", "forged": "/callback?code=x&state=" + strings.Repeat("A", 22),
		"no id": "/callback?code=x&state=../../x", "huge": "/callback?code=x&state=" + strings.Repeat("A", 9000),
		"longer": "/callback?code=x&state=" + state + "A", "nothing": "/callback",
	} {
		t.Run(name, func(t *testing.T) { wantPage(t, b.get(target), 403, "cannot go on") })
	}
	wantPage(t, b.get(back+"&state=x"), 400, "repeated")
	wantPage(t, r.browser().get(back), 403) // another browser

	// A cookie of one transaction under the name of another does not open (H07).
	other := b.toProvider(r.params()).Query().Get("state")
	swapped := r.browser()
	swapped.cookies[transactionPrefix+other] = b.cookies[transactionPrefix+state]
	wantPage(t, swapped.get("/callback?code=x&state="+other), 403)

	kept := maps.Clone(b.cookies)
	location(t, b.get(back), http.StatusFound)
	wantPage(t, b.get(back), 403)
	b.cookies = kept // a browser that keeps the cookie in spite of us
	wantPage(t, b.get(r.provider.signIn(at, "ann")), 403, "already finished")

	late := b.toProvider(r.params())
	r.now = r.now.Add(transactionLife)
	wantPage(t, b.get(r.provider.signIn(late, "ann")), 403)
	if r.table.writes != 2 { // one sign-in, and one that found it there
		t.Errorf("%d writes", r.table.writes)
	}
}

func TestC02_LoginCSRF(t *testing.T) {
	r := newRig(t)
	attacker, victim := r.browser(), r.browser()
	stolen, err := url.Parse(r.provider.signIn(attacker.toProvider(r.params()), "attacker"))
	if err != nil {
		t.Fatal(err)
	}
	victimState := victim.toProvider(r.params()).Query().Get("state")
	wantPage(t, victim.get(stolen.String()), 403) // the attacker's state
	inject := url.Values{"code": {stolen.Query().Get("code")}, "state": {victimState}}
	wantPage(t, victim.get("/callback?"+inject.Encode()), 403, "You were not signed in") // the attacker's code: PKCE
	if r.table.writes != 0 {
		t.Error("something was stored")
	}

	// A provider without PKCE: the nonce holds.
	r.provider.change = func(claims map[string]any) { claims["nonce"] = "of another sign-in" }
	page := wantPage(t, victim.signIn(r.params(), "attacker"), 403, "You were not signed in")
	if q := linkOf(t, page).Query(); q.Get("error") != oauth.ServerError || q.Get("iss") != testIssuer || q.Get("state") == "" {
		t.Errorf("the link carries %v", q)
	}
	if r.table.writes != 0 {
		t.Error("something was stored")
	}
}

func TestC03_UpstreamErrors(t *testing.T) {
	r := newRig(t)
	evil := `"><script>alert(1)</script> call +1 555`
	answer := func(b *browser, code string) *http.Response {
		state := b.toProvider(r.params()).Query().Get("state")
		return b.get("/callback?" + url.Values{"error": {code}, "error_description": {evil}, "state": {state}}.Encode())
	}
	t.Run("the state comes first", func(t *testing.T) {
		page := wantPage(t, r.browser().get("/callback?"+url.Values{"error": {"access_denied"}, "error_description": {evil}, "state": {strings.Repeat("A", 22)}}.Encode()), 403)
		if strings.Contains(page, "555") {
			t.Error("the page repeats the description")
		}
	})
	t.Run("access_denied goes to the client", func(t *testing.T) {
		b := r.browser()
		u := location(t, answer(b, "access_denied"), http.StatusFound)
		if q := u.Query(); q.Get("error") != "access_denied" || q.Get("state") == "" || strings.Contains(q.Get("error_description"), "555") {
			t.Errorf("sent to %s", u)
		}
		wantIssuerOnce(t, u)
		if len(b.transactions()) != 0 {
			t.Error("the cookie was left")
		}
	})
	for code, want := range map[string]struct {
		status int
		text   string
		error  string
	}{
		"login_required":           {403, "You were not signed in", oauth.ServerError},
		"temporarily_unavailable":  {503, "does not answer", oauth.TemporarilyUnavailable},
		"server_error":             {503, "does not answer", oauth.TemporarilyUnavailable},
		"invalid_scope":            {502, "not set up correctly", oauth.ServerError},
		"<script>x</script>\r\nX:": {503, "does not answer", oauth.TemporarilyUnavailable},
	} {
		t.Run(code, func(t *testing.T) {
			page := wantPage(t, answer(r.browser(), code), want.status, want.text)
			if strings.Contains(page, "555") || strings.Contains(page, "<script") {
				t.Error("the page repeats what the provider said")
			}
			if q := linkOf(t, page).Query(); q.Get("error") != want.error || q.Get("iss") != testIssuer || q.Get("state") != "the client's state" {
				t.Errorf("the link carries %v", q)
			}
		})
	}
	if r.table.writes != 0 {
		t.Error("something was stored")
	}
	b := r.browser()
	wantPage(t, b.get("/callback?state="+b.toProvider(r.params()).Query().Get("state")), 400, "neither a code nor an error")
}

func TestC05_IssuerOfTheCallback(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	back := r.provider.signIn(b.toProvider(r.params()), "ann")
	wantPage(t, b.get(back+"&iss="+url.QueryEscape("https://other.example")), 403, "could not be verified")
	location(t, b.get(back+"&iss="+url.QueryEscape(r.provider.URL)), http.StatusFound)
}

// The person is told what to do, the log what it was.
func TestRefusalsAreLogged(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	back := r.provider.signIn(b.toProvider(r.params()), "ann")
	for _, c := range []struct {
		name, error, reason string
		ask                 func()
	}{
		{"an answer that does not verify", oauth.AccessDenied, "another issuer", func() { b.get(back + "&iss=" + url.QueryEscape("https://other.example")) }},
		{"an ID token for another client", oauth.AccessDenied, "audience", func() {
			r.provider.change = func(claims map[string]any) { claims["aud"] = "somebody-else" }
			b.signIn(r.params(), "ann")
			r.provider.change = nil
		}},
		{"an unknown client", oauth.InvalidClient, "not known here", func() { b.authorize(r.params("client_id", "nobody")) }},
		{"an error that the client is told", oauth.InvalidRequest, "code_challenge is missing", func() { b.authorize(r.nativeParams("code_challenge", "")) }},
		{"a foreign form", oauth.InvalidRequest, "did not come from our page", func() { b.postWith(url.Values{}, nil) }},
		{"a state of another browser", oauth.InvalidRequest, "cannot go on", func() { r.browser().get(back) }},
		{"a person who cancels", oauth.AccessDenied, "did not approve", func() {
			b.post(url.Values{"request": {b.consent(r.params("scope", "mcp images"))}, "decision": {"cancel"}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			r.log.Reset()
			c.ask()
			lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
			var line map[string]any
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
				t.Fatal(err)
			}
			if reason, _ := line["reason"].(string); line["msg"] != "request" || line["error"] != c.error || !strings.Contains(reason, c.reason) {
				t.Errorf("the log says %v", line)
			}
		})
	}
}

func TestOutages(t *testing.T) {
	r := newRig(t)
	later := func(t *testing.T, resp *http.Response) {
		t.Helper()
		if resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		wantPage(t, resp, 503)
	}
	t.Run("table at authorize", func(t *testing.T) {
		r.table.fault = errOutage
		later(t, r.browser().authorize(r.params()))
		r.table.fault = nil
	})
	t.Run("table at callback", func(t *testing.T) {
		b := r.browser()
		at := b.toProvider(r.params())
		r.table.fault = errOutage
		later(t, b.get(r.provider.signIn(at, "ann")))
		r.table.fault = nil
		location(t, b.get(r.provider.signIn(at, "ann")), http.StatusFound) // nothing was lost
	})
	t.Run("provider", func(t *testing.T) {
		b := r.browser()
		at := b.toProvider(r.params())
		r.provider.status = http.StatusBadGateway
		later(t, b.get(r.provider.signIn(at, "ann")))
		r.provider.status = 0
		location(t, b.get(r.provider.signIn(at, "ann")), http.StatusFound)
	})
	t.Run("keys", func(t *testing.T) {
		b := r.browser()
		sealed := b.consent(r.params())
		back := r.provider.signIn(location(t, b.approve(sealed), 303), "ann")
		warm := r.h.Sealer
		r.keys.fault = errors.Join(errors.New("no KMS"), seal.ErrUnavailable)
		location(t, b.approve(sealed), 303) // a warm function goes on
		r.h.Sealer = seal.New(r.keys, r.h.Now)
		later(t, b.authorize(r.params()))
		later(t, b.approve(sealed))
		later(t, b.get(back))
		r.h.Sealer, r.keys.fault = warm, nil
		location(t, b.get(back), http.StatusFound)
	})
}

func TestProviderWithoutSubject(t *testing.T) {
	r := newRig(t)
	r.provider.change = func(claims map[string]any) { delete(claims, "sub") }
	wantPage(t, r.browser().signIn(r.params(), "ann"), 403)
	if r.table.writes != 0 {
		t.Error("something was stored")
	}
}

func TestProviderDownBeforeTheSignIn(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	sealed := b.consent(r.params())
	r.provider.Close()
	resp := b.approve(sealed)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantPage(t, resp, 503, "does not answer", "Return to the application")
	if len(b.transactions()) != 0 {
		t.Error("a transaction was begun")
	}
}

// serveDocument makes a client whose id is the URL of its own metadata document.
func (r *rig) serveDocument(name string, redirectURIs func(base string) []string) (id string, change func(func(map[string]any))) {
	r.t.Helper()
	document := map[string]any{"client_name": name, "token_endpoint_auth_method": "none"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=60")
		_ = json.NewEncoder(w).Encode(document)
	}))
	r.t.Cleanup(server.Close)
	document["client_id"], document["redirect_uris"] = server.URL+"/client.json", redirectURIs(server.URL)
	fetcher := clients.NewFetcher(&safehttp.Client{AllowLoopback: true})
	r.h.Clients.Documents = clients.NewDocuments(fetcher, r.h.NativeSchemes, r.h.Now)
	return server.URL + "/client.json", func(f func(map[string]any)) { f(document) }
}

func TestF07_DocumentClient(t *testing.T) {
	r := newRig(t)
	id, change := r.serveDocument("Document", func(string) []string { return []string{"https://document.example/cb"} })
	host := strings.TrimSuffix(strings.TrimPrefix(id, "http://"), "/client.json")
	v := r.params("client_id", id, "redirect_uri", "https://document.example/cb")
	b := r.browser()
	page := text(t, b.authorize(v))
	for _, want := range []string{"From " + host, "Access goes to another site", "document.example"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if r.table.writes != 0 {
		t.Error("a document was kept before anyone approved it")
	}
	location(t, b.signIn(v, "ann"), http.StatusFound)
	if r.table.writes != 2 {
		t.Errorf("%d writes: want the grant and the document", r.table.writes)
	}
	if b.asked(v) {
		t.Error("the approval was not remembered")
	}
	change(func(d map[string]any) {
		d["redirect_uris"] = []string{"https://document.example/cb", "https://evil.example/"}
	})
	r.now = r.now.Add(time.Hour)
	if !b.asked(v) {
		t.Error("the document has changed, and the page was skipped")
	}
	change(func(d map[string]any) { d["client_id"] = "https://evil.example/client.json" })
	r.now = r.now.Add(time.Hour)
	wantPage(t, r.browser().authorize(v), 400, "does not describe itself correctly", "its client_id")
}

func TestF06_DocumentOutOfReach(t *testing.T) {
	r := newRig(t)
	id, _ := r.serveDocument("Gone", func(base string) []string { return []string{base + "/cb"} })
	gone := strings.Replace(id, "/client.json", "/other.json", 1)
	r.refused(r.params("client_id", gone), 400)
	r.h.Clients.Documents = clients.NewDocuments(clients.NewFetcher(&safehttp.Client{AllowLoopback: true}), nil, r.h.Now)
	resp := r.browser().authorize(r.params("client_id", "http://127.0.0.1:1/client.json"))
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	page := wantPage(t, resp, 503, "could not be checked")
	if log := r.log.String(); !strings.Contains(log, "connection refused") || strings.Contains(page, "refused") {
		t.Errorf("the cause belongs to the log, not to the page; the log says %s", log)
	}
}
