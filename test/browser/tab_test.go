package browser

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
)

func TestMain(m *testing.M) {
	code := m.Run()
	deployment.Close()
	os.Exit(code)
}

// tab is one tab of a Chromium, which watches what happens in it.
type tab struct {
	context.Context
	mu        sync.Mutex
	documents []*network.Response
	requested []string // origin of every request
	errors    []string // what the console showed
}

// openBrowser starts a Chromium of its own, with no cookies.
func openBrowser(t *testing.T) *tab {
	t.Helper()
	chrome := os.Getenv("CHROME")
	for _, name := range []string{"google-chrome", "google-chrome-stable", "chromium", "chromium-browser"} {
		if found, err := exec.LookPath(name); chrome == "" && err == nil {
			chrome = found
		}
	}
	if chrome == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no Chrome or Chromium")
		}
		t.Skip("there is no Chrome or Chromium; make test looks for one, or installs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(chrome))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	return newTab(t, ctx)
}

// open opens another tab of the same browser.
func (b *tab) open(t *testing.T) *tab { return newTab(t, b.Context) }

func newTab(t *testing.T, parent context.Context) *tab {
	t.Helper()
	b := &tab{}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithListener(b.watch))
	t.Cleanup(cancel)
	b.Context = ctx
	b.do(t, chromedp.EmulateViewport(1280, 900))
	return b
}

func (b *tab) watch(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(event.Request.URL); err == nil && u.Host != "" {
			b.requested = append(b.requested, u.Scheme+"://"+u.Host)
		}
	case *network.EventResponseReceived:
		if event.Type == network.ResourceTypeDocument {
			b.documents = append(b.documents, event.Response)
		}
	case *log.EventEntryAdded:
		// That a page came with an error status is also written to the console; the tests ask for some of those.
		if event.Entry.Level == log.EntryLevelError && !strings.Contains(event.Entry.Text, "responded with a status of 4") {
			b.errors = append(b.errors, event.Entry.Text)
		}
	case *runtime.EventConsoleAPICalled:
		b.errors = append(b.errors, fmt.Sprintf("console.%s", event.Type))
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, event.ExceptionDetails.Text)
	}
}

func (b *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b, steps...); err != nil {
		t.Fatalf("at %s: %v", b.location(), err)
	}
}

func (b *tab) location() string {
	location, err := chromedp.Run(b, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return location
}

// press presses the button with this label or value, and waits for the page that follows.
func (b *tab) press(t *testing.T, label string) {
	t.Helper()
	button := chromedp.Search(fmt.Sprintf("//button[normalize-space()=%[1]q or @value=%[1]q] | //input[@type='submit' and @value=%[1]q]", label))
	ctx, cancel := context.WithTimeout(b, 15*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.WaitVisible(button)); err != nil {
		t.Fatalf("at %s: no button %q: %v\n%s", b.location(), label, err, b.text(t))
	}
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(button)); err != nil {
		t.Fatalf("at %s: pressing %q: %v\nconsole: %v", b.location(), label, err, b.errors)
	}
}

func (b *tab) text(t *testing.T) string {
	t.Helper()
	text, err := chromedp.Run(b, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// cookies are all that the browser holds for these origins, by name.
func (b *tab) cookies(t *testing.T, origins ...string) map[string]*network.Cookie {
	t.Helper()
	result, err := chromedp.Call(b, network.GetCookies, network.GetCookiesParams{URLs: origins})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*network.Cookie{}
	for _, cookie := range result.Cookies {
		byName[cookie.Name] = cookie
	}
	return byName
}

// lastDocument is the answer that the tab shows.
func (b *tab) lastDocument(t *testing.T) *network.Response {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.documents) == 0 {
		t.Fatal("no page was loaded")
	}
	return b.documents[len(b.documents)-1]
}

// checkQuiet fails when a page logged an error, such as a policy that blocked something, or asked a stranger for anything.
func (b *tab) checkQuiet(t *testing.T, known ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, message := range b.errors {
		t.Errorf("the console shows: %s", message)
	}
	for _, origin := range b.requested {
		if !slices.Contains(known, origin) {
			t.Errorf("a page asked %s for something", origin)
		}
	}
}

// application is the program that wants to connect: it has a public registration and listens on loopback.
type application struct {
	oauth2.Config
	origin    string
	verifier  string
	responses chan url.Values
}

func newApplication(t *testing.T, d *deployment.Deployment, name string) *application {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &application{origin: "http://" + listener.Addr().String(), verifier: oauth2.GenerateVerifier(), responses: make(chan url.Values, 10)}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/callback" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><title>Connected</title><link rel="icon" href="data:,"><h1>You may close this page</h1>`)
		a.responses <- r.URL.Query()
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	redirectURI := a.origin + "/oauth/callback"
	a.Config = oauth2.Config{
		ClientID: d.Register(t, name, redirectURI), RedirectURL: redirectURI,
		Endpoint: oauth2.Endpoint{AuthURL: d.Issuer + "/authorize", TokenURL: d.Issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	return a
}

func (a *application) authorizationURL(state string) string {
	return a.AuthCodeURL(state, oauth2.S256ChallengeOption(a.verifier))
}

// response is what came back to the application.
func (a *application) response(t *testing.T, state, issuer string) url.Values {
	t.Helper()
	select {
	case response := <-a.responses:
		if response.Get("state") != state || response.Get("iss") != issuer {
			t.Errorf("the authorization response is %v, want state %q and iss %q", response, state, issuer)
		}
		return response
	case <-time.After(15 * time.Second):
		t.Fatal("no authorization response came to the application")
		return nil
	}
}
