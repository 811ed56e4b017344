package journeys

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/test/deployment"
)

// Step-up happens where a tool has a scope of its own, and for that alone: what a client asks for by default serves for
// everything else, the refusal names all that it must ask for, and a client that asks once is served (claude-code 44652).
func TestStepUp(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t, `TOOL_POLICY={"generateImage": {"emails": ["`+deployment.Employee+`"], "scope": "images"}}`)
	const redirectURI = "http://127.0.0.1:4002/callback"
	client := d.Register(t, "Stepper", redirectURI)
	call := func(token string, tool, arguments string) reply {
		return send(t, http.MethodPost, d.MCPURL, `{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "`+tool+`", "arguments": `+arguments+`}}`,
			"Authorization", "Bearer "+token, "Content-Type", "application/json", "Accept", "application/json, text/event-stream", "MCP-Protocol-Version", "2025-06-18")
	}
	token := signIn(t, d, deployment.Employee, client, redirectURI, nil)
	if token.text("scope") != "mcp" {
		t.Errorf("the default scope is %q", token.text("scope"))
	}
	if sum := call(token.text("access_token"), "add", `{"a": 1, "b": 2}`); sum.status != http.StatusOK {
		t.Errorf("add: %d %s", sum.status, sum.raw)
	}
	image := `{"prompt": "a lighthouse", "steps": 4}`
	refused := call(token.text("access_token"), "generateImage", image)
	refused.refused(t, "generateImage", http.StatusForbidden, "insufficient_scope")
	header := refused.header.Get("WWW-Authenticate") + refused.header.Get("X-Amzn-Remapped-Www-Authenticate")
	if refused.text("scope") != "images mcp" || !strings.Contains(header, `scope="images mcp"`) {
		t.Errorf("the refusal asks for %q in its body, and %s", refused.text("scope"), header)
	}
	wider := signIn(t, d, deployment.Employee, client, redirectURI, map[string][]string{"scope": {refused.text("scope")}})
	if served := call(wider.text("access_token"), "generateImage", image); served.status != http.StatusOK || !strings.Contains(served.raw, `"image"`) {
		t.Errorf("generateImage after the step-up: %d %.200s", served.status, served.raw)
	}
	if sum := call(wider.text("access_token"), "add", `{"a": 1, "b": 2}`); sum.status != http.StatusOK {
		t.Errorf("add after the step-up: %d %s", sum.status, sum.raw)
	}
	// Whom policy denies the tool is not sent in circles: no scope would help.
	guest := signIn(t, d, deployment.Guest, client, redirectURI, nil)
	if denied := call(guest.text("access_token"), "generateImage", image); denied.status != http.StatusOK || !strings.Contains(denied.raw, "generateImage") {
		t.Errorf("the guest's generateImage: %d %s", denied.status, denied.raw)
	}
}

// Rules by group admit those whose groups came; a provider that sends none has said nothing, which is never leave (Entra
// leaves groups out above 200, Cloudflare Access trims them).
func TestGroups(t *testing.T) {
	t.Parallel()
	const policy = `TOOL_POLICY={"generateImage": {"groups": ["designers"]}}`
	d := deployment.Start(t, policy)
	silent := deployment.Start(t, policy, "ACCESS_SCOPES=openid email") // the demo provider then sends no groups
	for _, test := range []struct {
		d     *deployment.Deployment
		email string
		want  []string
	}{
		{d, deployment.Employee, []string{"add", "generateImage"}},
		{d, teammate, []string{"add"}},
		{d, deployment.Guest, []string{"add"}},
		{silent, deployment.Employee, []string{"add"}},
	} {
		_, token := test.d.SignIn(t, test.email)
		if got := toolNames(t, listTools(t, test.d.MCPURL, token.AccessToken)); !slices.Equal(got, test.want) {
			t.Errorf("%s sees %v, want %v", test.email, got, test.want)
		}
	}
}
