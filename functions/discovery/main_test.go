package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/test/budget"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	c := budget.New(t)
	c.Start()
	c.Refuses([][2]string{
		{"ISSUER", ""}, {"ISSUER", "http://login.example.com"}, {"MCP_URL", ""}, {"MCP_URL", "https://mcp.example.com/elsewhere"},
		{"TOOL_POLICY", "{"}, {"ALLOWED_EMAILS", "everyone"},
	})
}

func TestBudget(t *testing.T) {
	c := budget.New(t)
	discovery := c.Build(build)
	c.Spend("discovery", budget.Calls{}, func() {
		for path, status := range map[string]int{
			oauth.PathServerMetadata: http.StatusOK, oauth.PathOpenIDMetadata: http.StatusOK, oauth.PathJWKS: http.StatusOK, "/elsewhere": http.StatusNotFound,
		} {
			w := httptest.NewRecorder()
			discovery.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != status {
				t.Errorf("GET %s: %d, want %d", path, w.Code, status)
			}
		}
	})
}
