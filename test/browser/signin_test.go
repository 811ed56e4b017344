package browser

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
)

const transactionCookie = "__Host-tx-"

func TestApprove(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	app := newApplication(t, d, "Approved client")
	b := openBrowser(t)

	b.do(t, chromedp.Navigate(app.authorizationURL("s1")))
	checkPage(t, b, http.StatusOK, "same-origin")
	for _, words := range []string{"Approved client", "127.0.0.1"} {
		if text := b.text(t); !strings.Contains(text, words) {
			t.Errorf("the consent page does not name %q:\n%s", words, text)
		}
	}
	checkCookies(t, b, d)
	t.Run("B04 no transaction cookie before approval", func(t *testing.T) {
		if count := transactions(t, b, d); count != 0 {
			t.Errorf("there are %d", count)
		}
	})

	b.press(t, "Approve")
	if location := b.location(); !strings.HasPrefix(location, d.Demo) {
		t.Fatalf("Approve leads to %s", location)
	}
	checkCookies(t, b, d)
	if count := transactions(t, b, d); count != 1 {
		t.Errorf("after approval there are %d transaction cookies", count)
	}

	b.press(t, deployment.Employee)
	code := app.response(t, "s1", d.Issuer).Get("code")
	token, err := app.Exchange(t.Context(), code, oauth2.VerifierOption(app.verifier))
	if err != nil || !token.Valid() {
		t.Errorf("redeeming the code: %v", err)
	}
	checkCookies(t, b, d)
	if count := transactions(t, b, d); count != 0 {
		t.Errorf("after the callback there are %d transaction cookies", count)
	}
	b.checkQuiet(t, d.Issuer, d.Demo, app.origin)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	app := newApplication(t, d, "Cancelled client")
	b := openBrowser(t)

	b.do(t, chromedp.Navigate(app.authorizationURL("s2")))
	b.press(t, "Cancel")
	response := app.response(t, "s2", d.Issuer)
	if response.Get("error") != "access_denied" || response.Has("code") {
		t.Errorf("the authorization response is %v", response)
	}
	// B12: nothing remembers an approval that was not given.
	if count := transactions(t, b, d); count != 0 {
		t.Errorf("after Cancel there are %d transaction cookies", count)
	}
	b.do(t, chromedp.Navigate(app.authorizationURL("s3")))
	if text := b.text(t); !strings.Contains(text, "Approve") {
		t.Errorf("after Cancel the next request does not ask:\n%s", text)
	}
	b.checkQuiet(t, d.Issuer, app.origin)
}

// A person may also change their mind at the identity provider.
func TestCancelAtProvider(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	app := newApplication(t, d, "Declined client")
	b := openBrowser(t)

	b.do(t, chromedp.Navigate(app.authorizationURL("s4")))
	b.press(t, "Approve")
	b.press(t, "Cancel")
	response := app.response(t, "s4", d.Issuer)
	if response.Get("error") != "access_denied" || response.Has("code") {
		t.Errorf("the authorization response is %v", response)
	}
	if count := transactions(t, b, d); count != 0 {
		t.Errorf("afterwards there are %d transaction cookies", count)
	}
	b.checkQuiet(t, d.Issuer, d.Demo, app.origin)
}

// B11: two requests in two tabs of one browser do not disturb each other, in whatever order they are answered.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	one, two := newApplication(t, d, "First client"), newApplication(t, d, "Second client")
	first := openBrowser(t)
	first.do(t, chromedp.Navigate(one.authorizationURL("one")))
	second := first.open(t)
	second.do(t, chromedp.Navigate(two.authorizationURL("two")))

	first.press(t, "Approve")
	second.press(t, "Approve")
	second.press(t, deployment.Guest)
	first.press(t, deployment.Employee)
	for app, state := range map[*application]string{one: "one", two: "two"} {
		code := app.response(t, state, d.Issuer).Get("code")
		if _, err := app.Exchange(t.Context(), code, oauth2.VerifierOption(app.verifier)); err != nil {
			t.Errorf("redeeming the code of %s: %v", state, err)
		}
	}
	first.checkQuiet(t, d.Issuer, d.Demo, one.origin)
	second.checkQuiet(t, d.Issuer, d.Demo, two.origin)
}

// B03: an attacker approves, and sends the identity provider's URL to a victim, who signs in there. The victim's browser
// holds no transaction, so the attacker's client gets nothing (CVE-2026-27124).
func TestB03_ApprovedByAnotherBrowser(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	app := newApplication(t, d, "Attacker")
	attacker := openBrowser(t)
	attacker.do(t, chromedp.Navigate(app.authorizationURL("s")))
	attacker.press(t, "Approve")
	upstream := attacker.location()

	victim := openBrowser(t)
	victim.do(t, chromedp.Navigate(upstream))
	victim.press(t, deployment.Employee)
	checkPage(t, victim, http.StatusForbidden, "no-referrer")
	if location := victim.location(); !strings.HasPrefix(location, d.Issuer+"/callback") {
		t.Errorf("the victim was sent to %s", location)
	}
	select {
	case response := <-app.responses:
		t.Errorf("the attacker's client got %v", response)
	case <-time.After(100 * time.Millisecond):
	}
}

// A request that cannot be trusted is explained, and redirected nowhere.
func TestErrorPage(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	app := newApplication(t, d, "Some client")
	app.ClientID = "no-such-client"
	b := openBrowser(t)
	b.do(t, chromedp.Navigate(app.authorizationURL("s")))
	checkPage(t, b, http.StatusBadRequest, "no-referrer")
	checkCookies(t, b, d)
	b.checkQuiet(t, d.Issuer)
}

// transactions counts the cookies that bind a sign-in to this browser.
func transactions(t *testing.T, b *tab, d *deployment.Deployment) int {
	t.Helper()
	count := 0
	for name := range b.cookies(t, d.Issuer+"/callback", d.Issuer) {
		if strings.HasPrefix(name, transactionCookie) {
			count++
		}
	}
	return count
}

// checkCookies checks every cookie that the server has set. __Host- makes the browser itself refuse cookies with a Domain or
// another Path.
func checkCookies(t *testing.T, b *tab, d *deployment.Deployment) {
	t.Helper()
	for name, cookie := range b.cookies(t, d.Issuer) {
		if cookie.Domain != "localhost" {
			continue // the demo identity provider's own
		}
		if !strings.HasPrefix(name, "__Host-") || !cookie.Secure || !cookie.HTTPOnly || cookie.Path != "/" || cookie.SameSite != network.CookieSameSiteLax {
			t.Errorf("cookie %s: secure %t, HttpOnly %t, SameSite %s, path %s", name, cookie.Secure, cookie.HTTPOnly, cookie.SameSite, cookie.Path)
		}
		if cookie.Size > 4096 {
			t.Errorf("cookie %s has %d bytes", name, cookie.Size)
		}
	}
}

// checkPage checks what every page of ours owes the browser.
func checkPage(t *testing.T, b *tab, status int64, referrer string) {
	t.Helper()
	page := b.lastDocument(t)
	header := func(name string) string {
		for key, value := range page.Headers {
			if strings.EqualFold(key, name) {
				return value.(string)
			}
		}
		return ""
	}
	if page.Status != status {
		t.Errorf("%s answers %d, want %d:\n%s", page.URL, page.Status, status, b.text(t))
	}
	policy := header("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, directive) {
			t.Errorf("Content-Security-Policy %q lacks %q", policy, directive)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
		t.Errorf("Content-Security-Policy %q allows scripts or more", policy)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Referrer-Policy": referrer, "Content-Type": "text/html; charset=utf-8",
	} {
		if got := header(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	about, err := chromedp.Run(b, chromedp.Evaluate[struct {
		Language, Title string
		Scripts, Width  int
		Viewport        bool
	}](`({Language: document.documentElement.lang, Title: document.title, Scripts: document.scripts.length,
		Width: document.documentElement.scrollWidth, Viewport: document.querySelector("meta[name=viewport]") !== null})`))
	if err != nil {
		t.Fatal(err)
	}
	if about.Language == "" || about.Title == "" || about.Scripts != 0 || !about.Viewport {
		t.Errorf("the page is %+v", about)
	}
}
