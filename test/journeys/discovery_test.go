package journeys

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// A client that sees no WWW-Authenticate, since AWS renames it, finds its way by the well-known addresses of the resource,
// path-aware or at the root, and by those of the server (claude-ai-mcp 748).
func TestDiscoveryWithoutHeader(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	origin := strings.TrimSuffix(d.MCPURL, "/mcp")
	challenged := send(t, http.MethodPost, d.MCPURL, `{"jsonrpc": "2.0", "id": 1, "method": "initialize"}`, "Content-Type", "application/json")
	if os.Getenv("MCP_TEST_TARGET") == "stack" && (challenged.header.Get("WWW-Authenticate") != "" || challenged.header.Get("X-Amzn-Remapped-Www-Authenticate") == "") {
		t.Error("the stack does not rename WWW-Authenticate as AWS does")
	}
	for path, resource := range map[string]string{"/mcp": d.MCPURL, "/sse": origin + "/sse", "": origin} {
		metadata := send(t, http.MethodGet, origin+"/.well-known/oauth-protected-resource"+path, "")
		servers, _ := metadata.body["authorization_servers"].([]any)
		if metadata.status != http.StatusOK || metadata.text("resource") != resource || !slices.Equal(servers, []any{d.Issuer}) {
			t.Errorf("the metadata for %q: %d %s", path, metadata.status, metadata.raw)
		}
	}
	// The body says what the header would.
	if address := challenged.text("resource_metadata"); address != origin+"/.well-known/oauth-protected-resource/mcp" {
		t.Errorf("the body of the 401 names the metadata %q", address)
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		server := send(t, http.MethodGet, d.Issuer+path, "")
		if server.text("issuer") != d.Issuer || server.text("registration_endpoint") == "" || server.body["client_id_metadata_document_supported"] != true {
			t.Errorf("%s: %d %s", path, server.status, server.raw)
		}
	}
}

// Whatever a client without a token asks of the MCP endpoint, it is told to sign in: a 405, 403 or 404 would say that there
// is nothing to sign in for, and a relative address of the metadata leads nowhere.
func TestUnauthorizedComesFirst(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	origin := strings.TrimSuffix(d.MCPURL, "/mcp")
	for _, path := range []string{"/mcp", "/sse", "/messages?sessionId=unknown"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodHead} {
			answer := send(t, method, origin+path, "{", "Content-Type", "text/plain", "Mcp-Session-Id", "unknown", "MCP-Protocol-Version", "1999-01-01")
			header := answer.header.Get("WWW-Authenticate") + answer.header.Get("X-Amzn-Remapped-Www-Authenticate")
			if answer.status != http.StatusUnauthorized || !strings.Contains(header, `resource_metadata="`+origin+`/.well-known/oauth-protected-resource`) {
				t.Errorf("%s %s: %d, challenge %q", method, path, answer.status, header)
			}
		}
	}
}

// In each of its spellings the resource is one, at /authorize, /token and in a refresh, and its token opens both paths; what
// is another resource is refused before anyone signs in (claude-code 52871, gbrain 5222).
func TestResourceSpellings(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	const redirectURI = "http://127.0.0.1:4001/callback"
	origin := strings.TrimSuffix(d.MCPURL, "/mcp")
	client := d.Register(t, "Speller", redirectURI)
	spellings := []string{"", origin, origin + "/", d.MCPURL, d.MCPURL + "/", origin + "/sse", origin + "/sse/", strings.Replace(d.MCPURL, "http://localhost", "HTTP://LocalHost", 1)}
	for i, spelling := range spellings {
		t.Run(spelling, func(t *testing.T) { // one by one, for a person has two legacy streams
			resource := map[string][]string{}
			if spelling != "" {
				resource["resource"] = []string{spelling}
			}
			token := signIn(t, d, teammate, client, redirectURI, resource) // whose streams no other test has
			other := spellings[(i+1)%len(spellings)]                       // clients are not consistent either
			refresh := []string{"grant_type", "refresh_token", "client_id", client, "refresh_token", token.text("refresh_token")}
			if other != "" {
				refresh = append(refresh, "resource", other)
			}
			renewed := post(t, d.Issuer+"/token", refresh...)
			if listed := listTools(t, d.MCPURL, renewed.text("access_token")); listed.status != http.StatusOK {
				t.Errorf("/mcp: %d %s", listed.status, listed.raw)
			}
			client, err := connectGoSDK(t.Context(), &mcp.SSEClientTransport{Endpoint: origin + "/sse", HTTPClient: withToken(renewed.text("access_token"))}, "2025-03-26")
			if err != nil {
				t.Fatalf("/sse: %v", err)
			}
			client.session.Close()
		})
	}
	for _, wrong := range []string{"https://other.example/mcp", origin + "/mcp-v2", origin + "/mcp/deeper", d.Demo + "/mcp", d.MCPURL + "#a", d.MCPURL + "?a=b"} {
		config := oauth2.Config{ClientID: client, RedirectURL: redirectURI, Endpoint: oauth2.Endpoint{AuthURL: d.Issuer + "/authorize"}}
		browser := robot.New(deployment.Guest)
		response, err := browser.Authorize(t.Context(), config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("resource", wrong)))
		if err != nil || response.Get("error") != "invalid_target" || browser.Count("/login") != 0 {
			t.Errorf("resource %s: %v, %v", wrong, response, err)
		}
	}
}

// A client of 2025-03-26 looks for the server at the MCP origin; a later one must not find another origin's issuer there.
func TestDiscoveryOf20250326(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	address := strings.TrimSuffix(d.MCPURL, "/mcp") + "/.well-known/oauth-authorization-server"
	old := send(t, http.MethodGet, address, "", "MCP-Protocol-Version", "2025-03-26")
	if old.status != http.StatusOK || old.text("issuer") != d.Issuer {
		t.Errorf("2025-03-26: %d %s", old.status, old.raw)
	}
	later := send(t, http.MethodGet, address, "", "MCP-Protocol-Version", "2025-06-18")
	oneOrigin := strings.HasPrefix(d.MCPURL, d.Issuer+"/")
	if later.status != http.StatusNotFound && !oneOrigin || later.status != http.StatusOK && oneOrigin {
		t.Errorf("2025-06-18: %d %s", later.status, later.raw)
	}
}
