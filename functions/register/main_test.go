package main

import (
	"net/http"
	"testing"

	"mcp-access-oauth/test/budget"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	c := budget.New(t)
	c.Start()
	c.Refuses([][2]string{
		{"ISSUER", ""}, {"MCP_URL", ""}, {"TOOL_POLICY", "{"}, {"NATIVE_SCHEMES", "javascript"},
		{"TABLE_NAME", ""}, {"AWS_REGION", ""}, {"REGISTRATIONS_PER_MINUTE", "many"},
	})
}

func TestBudget(t *testing.T) {
	c := budget.New(t)
	handler := c.Build(build)
	register := func(name, method string) map[string]any {
		body := `{"client_name":"` + name + `","redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"` + method + `"}`
		return budget.PostJSON(t, handler, "/register", body, http.StatusCreated, nil)
	}
	var first, again map[string]any
	// Beside the client itself: a process takes the right to register ten at a time.
	c.Spend("a new client, the process's first", budget.Calls{Reads: 2, Writes: 2}, func() { first = register("one", "none") })
	c.Spend("a known client", budget.Calls{Reads: 1}, func() { again = register("one", "none") })
	if first["client_id"] != again["client_id"] {
		t.Errorf("client %v, then %v", first["client_id"], again["client_id"])
	}
	c.Spend("a new client", budget.Calls{Reads: 1, Writes: 1}, func() { register("two", "none") })
	c.Spend("a client with a secret", budget.Calls{Writes: 1}, func() { register("three", "client_secret_basic") })
	c.Spend("refused metadata", budget.Calls{}, func() {
		budget.PostJSON(t, handler, "/register", `{"redirect_uris":["http://example.com"],"token_endpoint_auth_method":"none"}`, http.StatusBadRequest, nil)
	})
}
