package main

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/test/budget"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	c := budget.New(t)
	c.Start()
	c.Refuses([][2]string{
		{"ISSUER", ""}, {"MCP_URL", ""}, {"ALLOWED_EMAILS", "everyone"}, {"TOOL_POLICY", "{"}, {"NATIVE_SCHEMES", "javascript"},
		{"ACCESS_ISSUER", "http://idp.example.com"}, {"ACCESS_CLIENT_ID", ""}, {"ACCESS_PROMPT", "none"},
		{"ACCESS_REQUIRE_EMAIL_VERIFIED", "maybe"}, {"ACCESS_AUTHORIZATION_URL", "http://idp.example.com/authorize"},
		{"TABLE_NAME", ""}, {"KMS_KEY_ID", ""}, {"STACK_NAME", ""}, {"AWS_REGION", ""}, {"CLIENTS_FILE", "missing.json"}, {"CLIENTS", "{"},
		{"ALLOW_LOOPBACK_DOCUMENTS", "maybe"}, {"OPERATOR_NAME", strings.Repeat("x", 61)},
	})
	c.Set("ACCESS_CLIENT_ID", "")
	c.Refuses([][2]string{{"ACCESS_CLIENT_ID", ""}})
}

var formRequest = regexp.MustCompile(`name="request" value="([^"]+)"`)

func TestBudget(t *testing.T) {
	c := budget.New(t)
	c.WithProvider()
	const metadata = `{"client_name":"Flood","redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}`
	client, err := (&clients.Registrar{Table: c.Table(0), Now: budget.Clock(0), Rand: rand.Reader}).Register(t.Context(), []byte(metadata))
	if err != nil {
		t.Fatal(err)
	}
	request := func(clientID string) string {
		return "/authorize?" + url.Values{
			"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {"http://127.0.0.1:4711/callback"},
			"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"},
		}.Encode()
	}
	ask := func(handler http.Handler, clientID string, status int) *httptest.ResponseRecorder {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, request(clientID), nil)
		r.Header.Set("Accept", "text/html")
		handler.ServeHTTP(w, r)
		if w.Code != status {
			t.Fatalf("GET /authorize: %d", w.Code)
		}
		return w
	}

	first := c.Build(build)
	c.Spend("the first request ever makes the keyset", budget.Calls{Reads: 2, Writes: 1, KMS: 1}, func() { ask(first, client.ClientID, 200) })
	cold := c.Build(build)
	c.Spend("a cold start", budget.Calls{Reads: 2, KMS: 1}, func() { ask(cold, client.ClientID, 200) })
	warm := cold
	c.Spend("an anonymous flood", budget.Calls{Reads: 100}, func() {
		for range 100 {
			ask(warm, client.ClientID, 200)
		}
	})
	c.Spend("an unknown client", budget.Calls{Reads: 1}, func() { ask(warm, "dyn_"+strings.Repeat("A", 43), 400) })
	c.Spend("a malformed client id", budget.Calls{}, func() { ask(warm, "some one", 400) })

	page := ask(warm, client.ClientID, 200)
	sealed := formRequest.FindStringSubmatch(page.Body.String())
	if sealed == nil {
		t.Fatal("the page has no request in its form")
	}
	approve := func(request string, status int) {
		t.Helper()
		form := url.Values{"request": {request}, "decision": {"approve"}}
		r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for _, cookie := range page.Result().Cookies() {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		warm.ServeHTTP(w, r)
		if w.Code != status {
			t.Fatalf("POST /authorize: %d, want %d", w.Code, status)
		}
	}
	c.Spend("an approval", budget.Calls{}, func() { approve(sealed[1], http.StatusSeeOther) })
	c.Spend("a made-up approval", budget.Calls{}, func() { approve("made up", http.StatusForbidden) })
}
