package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/seal/kms"
	"mcp-access-oauth/shared/signin"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/upstream"
	"mcp-access-oauth/test/budget"
	"mcp-access-oauth/test/robot"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	c := budget.New(t)
	c.Start()
	c.Refuses([][2]string{
		{"ISSUER", ""}, {"MCP_URL", ""}, {"ALLOWED_EMAILS", "everyone"}, {"TOOL_POLICY", "{"}, {"NATIVE_SCHEMES", "javascript"},
		{"ACCESS_ISSUER", "http://idp.example.com"}, {"ACCESS_CLIENT_ID", ""}, {"ACCESS_CLIENT_SECRET_ARN", ""}, {"ACCESS_CLIENT_SECRET", "beside the ARN"},
		{"TABLE_NAME", ""}, {"KMS_KEY_ID", ""}, {"STACK_NAME", ""}, {"AWS_REGION", ""}, {"CLIENTS_FILE", "missing.json"}, {"CLIENTS", "{"},
		{"ALLOW_LOOPBACK_DOCUMENTS", "maybe"}, {"OPERATOR_NAME", strings.Repeat("x", 61)},
	})
}

// authorize is the other half of the sign-in, as function authorize builds it; that one's own test holds it to its
// share.
func authorize(t *testing.T, c *budget.Cloud) http.Handler {
	t.Helper()
	server, err := config.LoadServer(c.Env)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := upstream.New(upstream.Config{Issuer: c.Env("ACCESS_ISSUER"), ClientID: c.Env("ACCESS_CLIENT_ID"), RedirectURL: c.Issuer + oauth.PathCallback})
	if err != nil {
		t.Fatal(err)
	}
	table, err := dynamo.FromEnv(c.Env, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kms.FromEnv(c.Env, table, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	known, _, err := clients.FromEnv(c.Env, table, server.NativeSchemes, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return (&signin.Handler{
		Issuer: server.Issuer, Resource: server.Resource, NativeSchemes: server.NativeSchemes, Policy: server.Policy,
		Clients: known, Sealer: seal.New(keys, time.Now), Upstream: provider, Now: time.Now,
	}).Authorize()
}

const redirectURI = "http://127.0.0.1:4711/callback"

// signIn goes the whole way as somebody new, and returns the code.
func signIn(t *testing.T, c *budget.Cloud, browser *robot.Browser, clientID string) {
	t.Helper()
	response, err := browser.Authorize(t.Context(), c.Issuer+"/authorize?"+url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {redirectURI}, "state": {"s"},
		"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil || response.Get("code") == "" {
		t.Fatalf("signing in: %v, %v", response, err)
	}
}

func TestBudget(t *testing.T) {
	c := budget.New(t)
	c.WithProvider()
	c.Mount("/authorize", authorize(t, c))
	c.Mount("/callback", c.Build(build))
	const metadata = `{"client_name":"Registered","redirect_uris":["` + redirectURI + `"],"token_endpoint_auth_method":"none"}`
	client, err := (&clients.Registrar{Table: c.Table(0), Now: budget.Clock(0), Rand: rand.Reader}).Register(t.Context(), []byte(metadata))
	if err != nil {
		t.Fatal(err)
	}
	browser := robot.New("employee1@mycompany.com")
	// Client and grant, and in each of the two functions the keyset, which the first of them makes.
	c.Spend("the first sign-in ever", budget.Calls{Reads: 3, Writes: 2, KMS: 2, Secrets: 1}, func() { signIn(t, c, browser, client.ClientID) })
	c.Spend("a sign-in", budget.Calls{Reads: 1, Writes: 1}, func() { signIn(t, c, robot.New("guest@mycompany.com"), client.ClientID) })
	c.Spend("a person who comes again", budget.Calls{Reads: 1, Writes: 1}, func() { signIn(t, c, browser, client.ClientID) })
	c.Spend("a made-up callback", budget.Calls{}, func() {
		if page, err := robot.New("").Visit(t.Context(), c.Issuer+"/callback?state=made-up&code=made-up"); err != nil || page.Status != http.StatusForbidden {
			t.Errorf("a made-up callback: %d, %v", page.Status, err)
		}
	})
}

// A client that is a document is written once it is approved, and read where it was not fetched.
func TestBudgetOfDocuments(t *testing.T) {
	c := budget.New(t)
	c.WithProvider()
	c.Set("ALLOW_LOOPBACK_DOCUMENTS", "true")
	var clientID string
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"client_id": clientID, "client_name": "Document", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none",
		})
	}))
	t.Cleanup(site.Close)
	clientID = site.URL + "/client.json"
	c.Mount("/authorize", authorize(t, c))
	c.Mount("/callback", c.Build(build))
	c.Spend("the first sign-in ever", budget.Calls{Reads: 4, Writes: 3, KMS: 2, Secrets: 1}, func() {
		signIn(t, c, robot.New("employee1@mycompany.com"), clientID)
	})
	c.Spend("a sign-in", budget.Calls{Writes: 1}, func() { signIn(t, c, robot.New("guest@mycompany.com"), clientID) })
}
