package signin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
)

func (b *browser) transactions() []string {
	var names []string
	for name := range b.cookies {
		if strings.HasPrefix(name, transactionPrefix) {
			names = append(names, name)
		}
	}
	return names
}

func TestB01_CSRF(t *testing.T) {
	r := newRig(t)
	b, other := r.browser(), r.browser()
	sealed, foreign := b.consent(r.params()), other.consent(r.params())
	approve := func(request string) url.Values { return url.Values{"request": {request}, "decision": {"approve"}} }

	wantPage(t, b.post(url.Values{"decision": {"approve"}}), 403, "expired")
	wantPage(t, b.post(approve("")), 403)
	wantPage(t, b.post(approve("garbage")), 403)
	wantPage(t, b.post(approve(foreign)), 403)
	wantPage(t, b.post(approve(flip(sealed, len(sealed)/2))), 403)
	wantPage(t, r.browser().post(approve(sealed)), 403, "cookies") // no cookie at all

	for name, headers := range map[string]map[string]string{
		"cross-site":                     {"Sec-Fetch-Site": "cross-site", "Origin": testIssuer},
		"same-site":                      {"Sec-Fetch-Site": "same-site", "Origin": testIssuer},
		"typed":                          {"Sec-Fetch-Site": "none", "Origin": testIssuer},
		"an older browser, other site":   {"Origin": "https://evil.example"},
		"an older browser, opaque":       {"Origin": "null"},
		"an older browser, says nothing": {},
		"an older browser, other scheme": {"Origin": "http://login.example.com"},
		"an older browser, other port":   {"Origin": testIssuer + ":8443"},
	} {
		t.Run(name, func(t *testing.T) {
			wantPage(t, b.postWith(approve(sealed), headers), 403, "did not come from our page")
		})
	}
	if len(b.transactions()) != 0 || r.table.writes != 0 {
		t.Errorf("refused answers left %v and wrote %d times", b.transactions(), r.table.writes)
	}
	location(t, b.postWith(approve(sealed), map[string]string{"Origin": testIssuer}), http.StatusSeeOther) // an older browser
	location(t, b.approve(sealed), http.StatusSeeOther)
}

// flip changes one character of a sealed value.
func flip(sealed string, i int) string {
	other := "A"
	if sealed[i] == 'A' {
		other = "B"
	}
	return sealed[:i] + other + sealed[i+1:]
}

func TestB02_AttackersFormInTheVictimsBrowser(t *testing.T) {
	r := newRig(t)
	attacker, victim := r.browser(), r.browser()
	sealed := attacker.consent(r.params())
	victim.consent(r.params())
	wantPage(t, victim.approve(sealed), 403)
	if len(victim.transactions()) != 0 || r.table.writes != 0 {
		t.Error("the victim's browser was bound")
	}
}

func TestB03_ApprovedElsewhere(t *testing.T) {
	r := newRig(t)
	attacker, victim := r.browser(), r.browser()
	at := attacker.toProvider(r.params())
	wantPage(t, victim.get(r.provider.signIn(at, "victim")), 403, "cannot go on")
	if r.table.writes != 0 {
		t.Error("something was stored")
	}
}

func TestB04_NoBindingBeforeApproval(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	sealed := b.consent(r.params())
	if len(b.set) != 1 || b.set[0].Name != csrfCookie {
		t.Fatalf("the consent page set %v", b.set)
	}
	b.approve(sealed)
	if len(b.set) != 2 || !strings.HasPrefix(b.set[1].Name, transactionPrefix) {
		t.Fatalf("the approval set %v", b.set)
	}
}

func TestB05_OnlyTheSealedRequestCounts(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	form := r.params("redirect_uri", "https://evil.example/", "client_id", r.native, "scope", "mcp images", "state", "evil", "code_challenge", strings.Repeat("e", 43))
	form.Set("request", b.consent(r.params()))
	form.Set("decision", "approve")
	u := location(t, b.get(r.provider.signIn(location(t, b.post(form), http.StatusSeeOther), "ann")), http.StatusFound)
	if !strings.HasPrefix(u.String(), webRedirect+"&") || u.Query().Get("state") != "the client's state" {
		t.Errorf("sent to %s", u)
	}
	b = r.browser()
	wantPage(t, b.post(url.Values{"request": {b.consent(r.params())}, "decision": {"maybe"}}), 400)
	wantPage(t, b.post(url.Values{"request": {b.consent(r.params())}}), 400)
	wantPage(t, b.post(url.Values{"request": {b.consent(r.params())}, "decision": {"approve", "cancel"}}), 400)
}

func TestFormLimits(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	sealed := b.consent(r.params())
	wantPage(t, b.post(url.Values{"request": {sealed}, "x": {strings.Repeat("x", 70<<10)}}), 413)
	wantPage(t, b.post(url.Values{"request": {strings.Repeat("x", 9000)}}), 403)
	wantPage(t, b.postWith(url.Values{"request": {sealed}}, map[string]string{"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}), 400)
}

func TestB08_B10_ConsentPageSaysWhoAndWhere(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	page := strings.ReplaceAll(text(t, b.authorize(r.params("scope", "mcp images offline_access"))), "<wbr>", "")
	for _, want := range []string{
		"Web &lt;b&gt;Client&lt;/b&gt;", "https://client.example/", "<strong>client.example</strong>", "Unverified", testResource,
		"Example Company", "idp.example.com", "<code>add</code>", "<code>generateImage</code>", "Stay connected", ">Approve</button>", ">Cancel</button>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<b>Client") || strings.Contains(page, "<img") {
		t.Error("the client's words are more than text")
	}
	if page := text(t, b.authorize(r.nativeParams())); !strings.Contains(page, "localhost:41234") || !strings.Contains(page, "a program on this computer") {
		t.Error("the page does not warn of a program on this computer")
	}
	if page := text(t, b.authorize(r.params("client_id", r.app, "redirect_uri", appRedirect))); !strings.Contains(page, appRedirect) || !strings.Contains(page, "<code>cursor:</code>") {
		t.Error("the page does not show the private-use scheme in full")
	}
	tricky := r.register(`{"client_name":"Cl\u202eedu\u200ba","logo_uri":"https://track.example/x.png","tos_uri":"https://terms.example/","redirect_uris":["https://tricky.example/cb"]}`)
	page = text(t, b.authorize(r.params("client_id", tricky, "redirect_uri", "https://tricky.example/cb")))
	if strings.ContainsAny(page, "\u202e\u200b") || strings.Contains(page, "track.example") {
		t.Error("B09: the page holds invisible characters or the logo's address")
	}
}

func TestB11_TwoTabsAndDoubleSubmit(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	first, second := b.consent(r.params("state", "one")), b.consent(r.params("state", "two"))
	atFirst, atSecond := location(t, b.approve(first), 303), location(t, b.approve(second), 303)
	again := location(t, b.approve(first), 303)
	if atFirst.String() != again.String() {
		t.Errorf("the second submit asks otherwise:\n%s\n%s", atFirst, again)
	}
	if atFirst.Query().Get("state") == atSecond.Query().Get("state") || atFirst.Query().Get("nonce") == atSecond.Query().Get("nonce") {
		t.Error("two tabs share a transaction")
	}
	for at, state := range map[*url.URL]string{atFirst: "one", atSecond: "two"} {
		u := location(t, b.get(r.provider.signIn(at, "ann")), http.StatusFound)
		if u.Query().Get("code") == "" || u.Query().Get("state") != state {
			t.Errorf("sent to %s", u)
		}
	}
	if r.table.writes != 2 {
		t.Errorf("%d writes for two sign-ins", r.table.writes)
	}
	// The form once more, when its grant exists: the provider signs in, and no second grant is made.
	wantPage(t, b.get(r.provider.signIn(location(t, b.approve(first), 303), "ann")), 403, "already finished")
}

func TestB11_KeyRotationBetweenTwoSubmits(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	sealed := b.consent(r.params())
	before := location(t, b.approve(sealed), 303)
	r.rotateKeys()
	after := location(t, b.approve(sealed), 303)
	if before.String() != after.String() {
		t.Error("a new primary key changed the upstream request")
	}
	if u := location(t, b.get(r.provider.signIn(after, "ann")), 302); u.Query().Get("code") == "" {
		t.Errorf("sent to %s", u)
	}
}

func TestB12_Cancel(t *testing.T) {
	r := newRig(t)
	for _, v := range []url.Values{r.params(), r.nativeParams(), r.params("client_id", r.app, "redirect_uri", appRedirect)} {
		b := r.browser()
		u := location(t, b.post(url.Values{"request": {b.consent(v)}, "decision": {"cancel"}}), http.StatusSeeOther)
		q := u.Query()
		if q.Get("error") != oauth.AccessDenied || q.Get("state") != v.Get("state") || q.Get("iss") != testIssuer || !strings.HasPrefix(u.String(), v.Get("redirect_uri")) {
			t.Errorf("sent to %s", u)
		}
		if len(b.cookies) != 1 || r.table.writes != 0 {
			t.Errorf("cancelling left %v and wrote %d times", b.cookies, r.table.writes)
		}
	}
	if !strings.Contains(r.log.String(), `"action":"consent_denied"`) {
		t.Error("no audit event")
	}
}

func TestB13_HeadersOfEveryAnswer(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	sealed := b.consent(r.params())
	cancelled := b.post(url.Values{"request": {sealed}, "decision": {"cancel"}})
	approved := b.approve(sealed)
	for name, resp := range map[string]*http.Response{
		"cancelled": cancelled, "approved": approved, "error": b.authorize(r.nativeParams("response_type", "token")),
		"callback": b.get(r.provider.signIn(location(t, approved, 303), "ann")),
	} {
		if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" || resp.Header.Get("Location") == "" {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
	if resp := r.browser().authorize(r.params()); resp.Header.Get("Referrer-Policy") != "same-origin" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page with the form: %v", resp.Header)
	}
}

func TestFormAndCookieExpire(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	sealed := b.consent(r.params())
	r.now = r.now.Add(transactionLife)
	page := wantPage(t, b.approve(sealed), 403, "expired")
	again := linkOf(t, page)
	if !strings.HasPrefix(again.String(), testIssuer+"/authorize?") {
		t.Fatalf("the link leads to %s", again)
	}
	location(t, b.signIn(again.Query(), "ann"), http.StatusFound)

	sealed = b.consent(r.params("prompt", "consent"))
	r.now = r.now.Add(csrfLife)
	wantPage(t, b.approve(sealed), 403, "cookie")
}

func TestH06_CookieLimitsAndDuplicates(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	var newest string
	for i := range 6 {
		r.now = r.now.Add(time.Second)
		newest = transactionPrefix + b.toProvider(r.params()).Query().Get("state")
		if n := len(b.transactions()); n != min(i+1, maxTransactions) {
			t.Fatalf("%d transactions after %d", n, i+1)
		}
	}
	if b.cookies[newest] == "" {
		t.Error("the newest was dropped")
	}
	total := 0
	for name, value := range b.cookies {
		total += len(name) + len(value) + 3
	}
	if total > 3*2048+1024 {
		t.Errorf("%d bytes of cookies", total)
	}

	// What is not ours is passed over, and expired when it is in the way.
	b = r.browser()
	sealed := b.consent(r.params())
	good := b.cookies[csrfCookie]
	for _, junk := range []string{"x", strings.Repeat("A", 5000), "12345678" + strings.Repeat("A", 60), flip(good, 20)} {
		b.cookies = map[string]string{transactionPrefix + "x": junk, approvalsCookie: junk}
		resp := b.postWith(url.Values{"request": {sealed}, "decision": {"approve"}}, map[string]string{
			"Sec-Fetch-Site": "same-origin", "Cookie": csrfCookie + "=" + junk + "; " + csrfCookie + "=" + good,
		})
		if resp.StatusCode != http.StatusSeeOther || b.cookies[transactionPrefix+"x"] != "" {
			t.Errorf("with a junk cookie: %d, left %v", resp.StatusCode, b.transactions())
		}
		b.cookies = map[string]string{csrfCookie: junk, approvalsCookie: junk}
		b.consent(r.params())
	}
}

func TestH01_NothingComesFromTheHost(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	v := r.params()
	req := func(method, target, body string) *http.Request {
		q, err := http.NewRequest(method, "http://evil.example"+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.RequestURI = ""
		q.Header.Set("X-Forwarded-Host", "evil.example")
		q.Header.Set("X-Forwarded-Proto", "http")
		q.Header.Set("Forwarded", "host=evil.example")
		q.Header.Set("Accept", "text/html")
		return q
	}
	page := text(t, b.do(req("GET", "/authorize?"+v.Encode(), "")))
	if strings.Contains(page, "evil.example") {
		t.Error("the page names the Host")
	}
	form := url.Values{"request": {sealedField.FindStringSubmatch(page)[1]}, "decision": {"approve"}}
	post := req("POST", "/authorize", form.Encode())
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	post.Header.Set("Origin", "http://evil.example")
	wantPage(t, b.do(post), 403)
	post = req("POST", "/authorize", form.Encode())
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	post.Header.Set("Origin", testIssuer)
	at := location(t, b.do(post), 303)
	if at.Query().Get("redirect_uri") != testIssuer+"/callback" {
		t.Errorf("upstream request %s", at)
	}
	u := location(t, b.do(req("GET", r.provider.signIn(at, "ann"), "")), 302)
	wantIssuerOnce(t, u)
	for _, c := range b.set {
		if c.Domain != "" {
			t.Errorf("cookie %s", c)
		}
	}
}

func TestH04_LineBreaksStayEncoded(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	evil := "x\r\nSet-Cookie: a=b\r\n\r\n<script>"
	resp := b.signIn(r.params("state", evil), "ann")
	if raw := resp.Header.Get("Location"); strings.ContainsAny(raw, "\r\n<>") {
		t.Errorf("Location %q", raw)
	}
	if u := location(t, resp, 302); u.Query().Get("state") != evil {
		t.Errorf("state %q", u.Query().Get("state"))
	}
	if slices.ContainsFunc(b.set, func(c *http.Cookie) bool { return c.Name == "a" }) || strings.Contains(r.log.String(), "Set-Cookie") {
		t.Error("the state reached a header or the log")
	}
	r.table.reset()
	r.refused(r.params("scope", "mcp\r\nX: y"), 400, oauth.InvalidScope)
}

func TestPromptsGoOnToTheProvider(t *testing.T) {
	r := newRig(t)
	for prompt, want := range map[string]string{"": "", "login": "login", "consent": "", "select_account login": "login select_account", "create": ""} {
		if got := r.browser().toProvider(r.params("prompt", prompt, "max_age", "0")).Query().Get("prompt"); got != want {
			t.Errorf("prompt %q goes on as %q, want %q", prompt, got, want)
		}
	}
}
