package attacks

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

const (
	transactionCookie = "__Host-tx-"
	approvalsCookie   = "__Host-approvals"
)

// cookiesSet are the cookies that a page sets or drops, by name.
func cookiesSet(page robot.Page) map[string]*http.Cookie {
	set := map[string]*http.Cookie{}
	for _, cookie := range (&http.Response{Header: page.Header}).Cookies() {
		set[cookie.Name] = cookie
	}
	return set
}

// bound counts the sign-ins that this browser has under way.
func bound(d *deployment.Deployment, b *robot.Browser) int {
	n := 0
	for _, cookie := range b.Cookies(d.Issuer) {
		if strings.HasPrefix(cookie.Name, transactionCookie) {
			n++
		}
	}
	return n
}

var sealedField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// sealed is the sealed request in the form of a consent page.
func sealed(t testing.TB, page robot.Page) string {
	t.Helper()
	found := sealedField.FindStringSubmatch(page.Body)
	if found == nil {
		t.Fatalf("the page has no sealed request: %.1500s", body(page.Body))
	}
	return found[1]
}

// decide posts a form to /authorize with a browser's cookies and these headers.
func decide(t testing.TB, d *deployment.Deployment, b *robot.Browser, form url.Values, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.Issuer+"/authorize", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	page, err := b.Send(request)
	if err != nil {
		t.Fatal(err)
	}
	return result(page)
}

func TestB01_ForgedApproval(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	victim := robot.New(deployment.Employee)
	form := url.Values{"request": {sealed(t, consent(t, victim, c.authorize()))}, "decision": {"approve"}}
	own := []string{"Origin", d.Issuer, "Sec-Fetch-Site", "same-origin"}
	for name, headers := range map[string][]string{
		"from another site":                   {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		"from a sibling site":                 {"Origin", "http://evil.localhost", "Sec-Fetch-Site", "same-site"},
		"from another port of this computer":  {"Origin", d.Demo, "Sec-Fetch-Site", "same-site"},
		"from a sandboxed frame":              {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		"as if typed":                         {"Origin", d.Issuer, "Sec-Fetch-Site", "none"},
		"from an older browser, another site": {"Origin", "https://evil.example"},
		"from an older browser, opaque":       {"Origin", "null"},
		"from a browser that says nothing":    {},
		"with the answer twice":               {"Origin", d.Issuer, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"},
	} {
		t.Run(name, func(t *testing.T) {
			decide(t, d, victim, form, headers...).localPage(t, http.StatusForbidden)
		})
	}
	for name, request := range map[string]string{"none": "", "made up": "AAAA", "altered": form.Get("request")[:40] + "A" + form.Get("request")[41:] + "A"} {
		t.Run("request "+name, func(t *testing.T) {
			decide(t, d, victim, url.Values{"request": {request}, "decision": {"approve"}}, own...).localPage(t, http.StatusForbidden)
		})
	}
	t.Run("from a browser without the cookie", func(t *testing.T) {
		decide(t, d, robot.New(deployment.Employee), form, own...).localPage(t, http.StatusForbidden)
	})
	if n := bound(d, victim); n != 0 {
		t.Errorf("the forgeries have begun %d sign-ins", n)
	}
	if a := decide(t, d, victim, form, own...); a.status != http.StatusSeeOther {
		t.Errorf("the honest approval: %d", a.status)
	}
}

// TestB02_AttackersFormInTheVictimsBrowser: a whole, valid form of the attacker's own is sent from the victim's browser, as
// CSRF protection that only compares form and store lets pass.
func TestB02_AttackersFormInTheVictimsBrowser(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	attacker, victim := robot.New(deployment.Guest), robot.New(deployment.Employee)
	form := url.Values{"request": {sealed(t, consent(t, attacker, c.authorize()))}, "decision": {"approve"}}
	consent(t, victim, c.authorize()) // so that the victim has cookies of the same kind
	decide(t, d, victim, form, "Origin", d.Issuer, "Sec-Fetch-Site", "same-origin").localPage(t, http.StatusForbidden)
	if n := bound(d, victim); n != 0 {
		t.Errorf("the victim's browser is bound to %d sign-ins", n)
	}
}

// TestB03_ApprovedByAnotherBrowser: an attacker approves their own client, and sends the identity provider's URL to a
// victim, who sees a familiar sign-in page and signs in. Where the consent is not tied to the browser, the attacker's
// client gets the victim's code (CVE-2026-27124).
func TestB03_ApprovedByAnotherBrowser(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	attacker, victim := robot.New(deployment.Guest), robot.New(deployment.Employee)
	upstream := approve(t, attacker, consent(t, attacker, c.authorize()))

	callback := provider(t, d, victim, upstream, deployment.Employee)
	page := open(t, victim, callback)
	result(page).localPage(t, http.StatusForbidden)
	if strings.Contains(page.Body, "client.example") {
		t.Error("the page offers a way to the attacker's client")
	}
	// Nor does it help that the victim has a sign-in of their own under way.
	approve(t, victim, consent(t, victim, newClient(t, d, loopback).authorize()))
	page = open(t, victim, callback)
	result(page).localPage(t, http.StatusForbidden)
}

func TestB04_NothingIsBoundBeforeApproval(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	page := consent(t, b, c.authorize())
	for name := range cookiesSet(page) {
		if name != "__Host-csrf" {
			t.Errorf("the consent page sets %s", name)
		}
	}
	approved := press(t, b, page, "Approve", nil)
	names := 0
	for name, cookie := range cookiesSet(approved) {
		names++
		if !strings.HasPrefix(name, transactionCookie) || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
			t.Errorf("the approval sets %s", cookie)
		}
	}
	if names != 1 {
		t.Errorf("the approval sets %d cookies", names)
	}
}

// TestB05_TamperedForm: whoever can alter the form on its way, such as a page that fills it in for a person, exchanges what
// they agree to. What was shown is sealed, and all else in the form counts for nothing.
func TestB05_TamperedForm(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c, evil := newClient(t, d, loopback), newClient(t, d, "https://evil.example/callback")
	b := robot.New(deployment.Employee)
	swapped := evil.with("scope", "mcp offline_access admin", "state", "evil", "resource", "https://evil.example/mcp")
	swapped.Set("csrf_token", "x")
	approved := press(t, b, consent(t, b, c.authorize()), "Approve", swapped)
	if approved.Location() == nil || !strings.HasPrefix(approved.Location().String(), d.Demo) {
		t.Fatalf("the form leads to %v", approved.Location())
	}
	q := c.response(t, b, provider(t, d, b, approved.Location().String(), deployment.Employee)) // at the redirect URI that was shown
	if q.Get("state") != "state-of-the-client" {
		t.Errorf("the client is told %v", q)
	}
	evil.redeem(t, q.Get("code")).refused(t, http.StatusBadRequest, "invalid_grant") // client and challenge
	a := c.redeem(t, q.Get("code"))
	if a.text("scope") != "mcp" {
		t.Errorf("granted %q, shown was mcp", a.text("scope"))
	}
	a.issued(t)
	// A second field of the same name is no way around.
	page := consent(t, b, c.authorize())
	other := sealed(t, consent(t, b, evil.authorize()))
	twice := press(t, b, page, "Approve", url.Values{"request": {sealed(t, page), other}})
	result(twice).localPage(t, http.StatusBadRequest, "repeated")
}

// result is a page as an answer.
func result(page robot.Page) answer { return answer{page.Status, page.Header, page.Body} }

func TestB06_RememberedApproval(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	const second = "https://client.example/second"
	c := client{d: d, id: d.Register(t, "Remembered", web, second), redirect: web, verifier: newClient(t, d, web).verifier}
	b := robot.New(deployment.Employee)
	c.response(t, b, provider(t, d, b, approve(t, b, consent(t, b, c.authorize())), deployment.Employee))

	again := open(t, b, c.authorize())
	if again.Location() == nil || !strings.HasPrefix(again.Location().String(), d.Demo) {
		t.Fatalf("the approval is not remembered: %d: %.1000s", again.Status, body(again.Body))
	}
	for name, address := range map[string]string{
		"another redirect URI": c.authorize("redirect_uri", second),
		"more scopes":          c.authorize("scope", "mcp offline_access"),
		"another client":       newClient(t, d, web).authorize(),
		"prompt=consent":       c.authorize("prompt", "consent"),
	} {
		t.Run(name, func(t *testing.T) { consent(t, b, address) })
	}
	t.Run("flipped byte", func(t *testing.T) {
		for _, cookie := range b.Cookies(d.Issuer) {
			if cookie.Name != approvalsCookie {
				continue
			}
			for _, i := range []int{0, 10, len(cookie.Value) / 2, len(cookie.Value) - 1} {
				flipped := []byte(cookie.Value)
				flipped[i] ^= 3
				a := get(t, c.authorize(), "Cookie", approvalsCookie+"="+string(flipped))
				if a.status != http.StatusOK || !strings.Contains(a.body, "Approve") {
					t.Errorf("byte %d: %d, Location %q", i, a.status, a.header.Get("Location"))
				}
			}
			return
		}
		t.Error("there is no cookie")
	})
	t.Run("another user", func(t *testing.T) {
		// Somebody else signs in at the browser that remembers: they get nothing, and are asked.
		page := open(t, b, provider(t, d, b, open(t, b, c.authorize()).Location().String(), deployment.Guest))
		target := page.Location()
		if target == nil || target.Path != "/authorize" || target.Query().Get("prompt") != "consent" || target.Query().Has("code") {
			t.Fatalf("the callback leads to %v", target)
		}
		consent(t, b, target.String())
		consent(t, b, c.authorize()) // the approval is forgotten
	})
	t.Run("loopback", func(t *testing.T) {
		native := newClient(t, d, loopback)
		for range 2 {
			native.response(t, b, provider(t, d, b, approve(t, b, consent(t, b, native.authorize())), deployment.Guest))
		}
	})
}

// TestB07_B13_HeadersOfEveryAnswer visits every kind of answer that a browser can get.
func TestB07_B13_HeadersOfEveryAnswer(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	page := consent(t, b, c.authorize())
	approved := press(t, b, page, "Approve", nil)
	callback := provider(t, d, b, approved.Location().String(), deployment.Guest)
	finished := open(t, b, callback)
	code := finished.Location().Query().Get("code")
	pages := map[string]struct {
		page     robot.Page
		referrer string
	}{
		"consent":          {page, "same-origin"}, // no-referrer would make its form say Origin: null
		"refused request":  {open(t, b, c.authorize("client_id", "x")), "no-referrer"},
		"refused callback": {open(t, b, d.Issuer+"/callback?code=x&state=y"), "no-referrer"},
		"used callback":    {open(t, b, callback), "no-referrer"},
		"refused form":     {press(t, robot.New(""), page, "Approve", nil), "no-referrer"},
		"approved":         {approved, "no-referrer"},
		"code":             {finished, "no-referrer"},
		"error":            {open(t, b, c.authorize("code_challenge", "")), "no-referrer"},
	}
	for name, p := range pages {
		h := p.page.Header
		if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != p.referrer {
			t.Errorf("%s: Cache-Control %q, Referrer-Policy %q", name, h.Get("Cache-Control"), h.Get("Referrer-Policy"))
		}
		if !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
			continue
		}
		policy := h.Get("Content-Security-Policy")
		if h.Get("X-Frame-Options") != "DENY" || !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: X-Frame-Options %q, Content-Security-Policy %q", name, h.Get("X-Frame-Options"), policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options %q", name, h.Get("X-Content-Type-Options"))
		}
	}
	for name, a := range map[string]answer{"tokens": c.redeem(t, code), "refusal": c.redeem(t, code+"x")} {
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, a.header.Get("Cache-Control"))
		}
	}
}

// TestB08_B09_HostileClientMetadata registers a client whose every text attacks the page that shows it.
func TestB08_B09_HostileClientMetadata(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	tracker, asked := listen(t)
	register := func(metadata map[string]any) answer {
		metadata["redirect_uris"], metadata["token_endpoint_auth_method"] = []string{web}, "none"
		body, err := json.Marshal(metadata)
		if err != nil {
			t.Fatal(err)
		}
		return send(t, http.MethodPost, d.Issuer+"/register", string(body), "Content-Type", "application/json")
	}
	for member, value := range map[string]string{
		"client_name": strings.Repeat("W", 5000), "client_uri": "javascript:alert(1)", "tos_uri": "data:text/html,x", "scope": "mcp\nadmin",
	} {
		register(map[string]any{member: value}).refused(t, http.StatusBadRequest, "invalid_client_metadata")
	}
	// What is taken is as hostile as it may be.
	a := register(map[string]any{
		"client_name":    "<script>alert(1)</script>\"><img src=x onerror=alert(1)> \u202egpj.exe\u2066" + strings.Repeat("W", 30),
		"client_name#fr": "<img src=x onerror=alert(2)>", "client_uri": tracker, "logo_uri": tracker + "/logo.png",
		"tos_uri": tracker + "/tos", "policy_uri": tracker + "/\"><script>alert(3)</script>", "scope": "mcp <script>alert(4)</script>",
	})
	if a.status != http.StatusCreated {
		t.Fatalf("the registration is refused, and so shows nothing of the page: %d %s", a.status, a.body)
	}
	c := client{d, a.text("client_id"), web, "x"}
	for _, address := range []string{c.authorize(), c.authorize("scope", "mcp <script>"), c.authorize("state", "\"><script>alert(5)</script>", "code_challenge", "<script>")} {
		page := open(t, robot.New(""), address)
		for _, bad := range []string{"<script", "<img", "onerror=alert(1)>", "\u202e", "\u2066", "href=\"javascript", strings.Repeat("W", 100)} {
			if strings.Contains(page.Body, bad) {
				t.Errorf("the page holds %q:\n%.3000s", bad, body(page.Body))
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("B09: the server connected %d times to the addresses in the metadata", n)
	}
}

func TestB10_Impersonation(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	page := consent(t, robot.New(""), client{d, d.Register(t, "Claude", "https://evil.example/callback"), "https://evil.example/callback", "x"}.authorize())
	for _, words := range []string{"Claude", "evil.example", "Unverified", "Nobody has checked this client"} {
		if !strings.Contains(page.Body, words) {
			t.Errorf("the page does not say %q", words)
		}
	}
	// A name in letters that only look Latin is pointed out.
	page = consent(t, robot.New(""), client{d, d.Register(t, "Cl\u0430ude", loopback), loopback, "x"}.authorize())
	for _, words := range []string{"mixes alphabets", "a program on this computer", "127.0.0.1:33418"} {
		if !strings.Contains(page.Body, words) {
			t.Errorf("the page does not say %q", words)
		}
	}
}

func TestB11_TwoTabsAndDoubleSubmit(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	first, second := consent(t, b, c.authorize("state", "one")), consent(t, b, c.authorize("state", "two"))
	one, two := approve(t, b, first), approve(t, b, second)
	if again := approve(t, b, first); again != one {
		t.Errorf("a second submit asks the provider otherwise:\n%s\n%s", one, again)
	}
	callbackOne, callbackTwo := provider(t, d, b, one, deployment.Guest), provider(t, d, b, two, deployment.Guest)
	if q := c.response(t, b, callbackTwo); q.Get("state") != "two" {
		t.Errorf("the second tab: %v", q)
	}
	q := c.response(t, b, callbackOne)
	if q.Get("state") != "one" {
		t.Errorf("the first tab: %v", q)
	}
	// Once more, with a fresh code of the provider's: at most one grant comes of one consent.
	approve(t, b, first)
	page := open(t, b, provider(t, d, b, one, deployment.Guest))
	result(page).localPage(t, http.StatusForbidden, "already finished")
	if !works(t, d, c.redeem(t, q.Get("code")).issued(t).access) {
		t.Error("the first grant suffered")
	}
}

func TestB12_Cancel(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	b := robot.New(deployment.Guest)
	page := press(t, b, consent(t, b, c.authorize()), "Cancel", url.Values{"redirect_uri": {"https://evil.example/"}})
	target := page.Location()
	if target == nil || !strings.HasPrefix(target.String(), web+"?") || target.Query().Get("error") != "access_denied" || target.Query().Get("iss") != d.Issuer || target.Query().Get("state") != "state-of-the-client" {
		t.Errorf("Cancel leads to %v", target)
	}
	for name := range cookiesSet(page) {
		t.Errorf("Cancel sets %s", name)
	}
	consent(t, b, c.authorize())
}
