package main

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/test/budget"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	c := budget.New(t)
	c.Start()
	c.Refuses([][2]string{
		{"ISSUER", ""}, {"MCP_URL", "https://mcp.example.com/elsewhere"}, {"ALLOWED_EMAILS", "everyone"}, {"TOOL_POLICY", "{"},
		{"ALLOWED_ORIGINS", "*"}, {"TABLE_NAME", ""}, {"AWS_REGION", ""}, {"IMAGE_MODEL", "flux"}, {"IMAGE_REGION", "oregon"},
	})
}

// accessToken is a token of somebody who has just signed in.
func accessToken(t *testing.T, c *budget.Cloud) string {
	t.Helper()
	verifier := strings.Repeat("v", 43)
	challenge := sha256.Sum256([]byte(verifier))
	store := &grants.Store{Table: c.Table(0)}
	id := grants.NewID(nil)
	code, err := store.Create(t.Context(), grants.NewGrant{
		ID: id, ClientID: "client", RedirectURI: "http://127.0.0.1/callback", CodeChallenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
		Scopes: []string{"mcp"}, Resource: c.Env("MCP_URL"),
		Identity: policy.Identity{Issuer: "https://idp.example.com", Subject: "1", Email: "employee1@mycompany.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	items, err := store.Table.Get(t.Context(), grants.Key(id))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := store.Redeem(t.Context(), items[0], grants.Redemption{
		Code: code, ClientID: "client", RedirectURI: "http://127.0.0.1/callback", Verifier: verifier, Refreshable: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return issued.AccessToken
}

func TestBudget(t *testing.T) {
	c := budget.New(t)
	token := accessToken(t, c)
	handler := c.Build(build)
	send := func(token, method, params string, status int) {
		t.Helper()
		body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
		budget.PostJSON(t, handler, oauth.PathMCP, body, status, http.Header{
			"Authorization": {"Bearer " + token}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
		})
	}
	const add = `{"name":"add","arguments":{"a":2,"b":40}}`
	c.Spend("the first call of a fresh token", budget.Calls{Reads: 1, Writes: 1}, func() { send(token, "tools/call", add, 200) })
	c.Spend("a call", budget.Calls{Reads: 1}, func() { send(token, "tools/call", add, 200) })
	c.Spend("another process's first call", budget.Calls{Reads: 1}, func() {
		warm := handler
		handler = c.Build(build)
		send(token, "tools/call", add, 200)
		handler = warm
	})
	c.Spend("the list of tools", budget.Calls{Reads: 1}, func() { send(token, "tools/list", `{}`, 200) })
	c.Spend("a tool that is not there", budget.Calls{Reads: 1}, func() { send(token, "tools/call", `{"name":"subtract"}`, 200) })
	c.Spend("an image, which goes into the history, which is cut to its length", budget.Calls{Reads: 2, Writes: 1}, func() {
		send(token, "tools/call", `{"name":"generateImage","arguments":{"prompt":"a lighthouse"}}`, 200)
	})
	c.Spend("the history", budget.Calls{Reads: 2}, func() { send(token, "resources/read", `{"uri":"history://images"}`, 200) })
	c.Spend("a made-up token", budget.Calls{}, func() { send("made-up", "tools/call", add, 401) })
	c.Spend("a token of no grant", budget.Calls{Reads: 1}, func() {
		send("at_"+grants.NewID(nil)+"_"+strings.Repeat("A", 43), "tools/call", add, 401)
	})
	c.Spend("metadata", budget.Calls{}, func() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, oauth.PathResourceMetadata+oauth.PathMCP, nil))
		if w.Code != http.StatusOK {
			t.Errorf("GET %s: %d", oauth.PathResourceMetadata+oauth.PathMCP, w.Code)
		}
	})
}
