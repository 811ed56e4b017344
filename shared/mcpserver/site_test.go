package mcpserver

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/shared/oauth"
)

// Each document names exactly itself (RFC 9728 section 3.3), and says where its tokens come from.
func TestResourceMetadata(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Policy = mustPolicy(t, "", `{"generateImage": {"scope": "images"}}`) })
	for path, resource := range map[string]string{
		oauth.PathResourceMetadata: testOrigin, oauth.PathResourceMetadata + "/mcp": testOrigin + "/mcp", oauth.PathResourceMetadata + "/sse": testOrigin + "/sse",
	} {
		for _, header := range []http.Header{nil, {"Mcp-Protocol-Version": {"2026-07-28"}}, {"Authorization": {"Bearer nonsense"}}, {"Origin": {"https://any.example"}}} {
			response := request{method: "GET", path: path, header: header, headers: map[string]string{
				"Content-Type": "application/json", "Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "-"}}.run(t, f)
			var document oauth.ResourceMetadata
			if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
				t.Fatal(err)
			}
			if document.Resource != resource || !slices.Equal(document.AuthorizationServers, []string{testIssuer}) ||
				!slices.Equal(document.ScopesSupported, []string{"mcp", "images"}) || !slices.Equal(document.BearerMethodsSupported, []string{"header"}) {
				t.Errorf("%s: %+v", path, document)
			}
		}
		request{method: "HEAD", path: path}.run(t, f)
		request{method: "POST", path: path, status: 405, headers: map[string]string{"Allow": "GET, HEAD, OPTIONS"}}.run(t, f)
	}
	for _, path := range []string{
		oauth.PathResourceMetadata + "/", oauth.PathResourceMetadata + "/other", oauth.PathResourceMetadata + "/mcp/", oauth.PathResourceMetadata + "//mcp",
		"//.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resourc%65", "/mcp/.well-known/oauth-protected-resource", oauth.PathOpenIDMetadata, "/", "/authorize", "/token",
	} {
		request{method: "GET", path: path, status: 404, want: []string{`"not_found"`}}.run(t, f)
	}
}

// Clients of 2025-03-26 look for the authorization server at the MCP origin. Later ones must not: they would have to
// refuse a document whose issuer is another origin (RFC 8414 section 3.3), and read the resource metadata instead.
func TestServerMetadataIsCopiedForOldClients(t *testing.T) {
	f := newFixture(t, nil)
	one := newFixture(t, func(c *Config) { c.Issuer = testOrigin })
	for _, path := range []string{oauth.PathServerMetadata, oauth.PathServerMetadata + "/mcp", oauth.PathServerMetadata + "/sse"} {
		for version, status := range map[string]int{"": 200, "2024-11-05": 200, "2025-03-26": 200, "2025-06-18": 404, "2025-11-25": 404, "2026-07-28": 404} {
			header := http.Header{}
			if version != "" {
				header.Set("MCP-Protocol-Version", version)
			}
			want := []string{`"issuer":"` + testIssuer + `"`, `"token_endpoint":"` + testIssuer + `/token"`}
			if status == 404 {
				want = []string{`"not_found"`}
			}
			request{method: "GET", path: path, header: header, status: status, want: want, headers: map[string]string{"Vary": "MCP-Protocol-Version"}}.run(t, f)
			// Where issuer and resource are one origin, every client may read it.
			request{method: "GET", path: path, header: header, want: []string{`"issuer":"` + testOrigin + `"`}}.run(t, one)
		}
	}
}

// The endpoint's own address comes from its configuration, or from the function URL that the platform names; never from
// what a client says.
func TestH01_HostIsNotBelieved(t *testing.T) {
	spoof := http.Header{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"host=evil.example;proto=http"}, "X-Original-Host": {"evil.example"}}
	f := newFixture(t, nil)
	for _, path := range []string{oauth.PathResourceMetadata, oauth.PathResourceMetadata + "/mcp", oauth.PathServerMetadata} {
		request{method: "GET", path: path, host: "evil.example", header: spoof, want: []string{testOrigin}, wantNot: []string{"evil"}}.run(t, f)
	}
	request{host: "evil.example", header: spoof, status: 401, body: callAdd("1", "2"), wantNot: []string{"evil"},
		headers: map[string]string{"WWW-Authenticate": metadataURL + "/mcp"}}.run(t, f)

	const host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"
	platform := host
	derived := newFixture(t, func(c *Config) {
		c.Resource = oauth.Resource{}
		c.Host = func(*http.Request) string { return platform }
	})
	for _, path := range []string{"", "/mcp", "/sse"} {
		request{method: "GET", path: oauth.PathResourceMetadata + path, host: "evil.example", header: spoof,
			want: []string{`"resource":"https://` + host + path + `"`}, wantNot: []string{"evil"}}.run(t, derived)
	}
	request{host: "evil.example", header: spoof, status: 401, body: callAdd("1", "2"),
		headers: map[string]string{"WWW-Authenticate": `resource_metadata="https://` + host + oauth.PathResourceMetadata + `/mcp"`}}.run(t, derived)
	// The fixture's token is for the configured resource, and so for another than the derived one.
	request{token: employee, status: 401, body: callAdd("1", "2"), want: []string{"another resource"}}.run(t, derived)

	for _, other := range []string{
		"", "evil.example", "mcp.example.com", "abc.lambda-url.eu-central-1.on.aws", host + ".evil.example", host + ":8443", "x." + host, strings.ToUpper(host),
		strings.Replace(host, "lambda-url", "lambda-urls", 1), strings.Replace(host, ".on.aws", ".on.aws.evil.example", 1), host + "\n", "evil.example/" + host, host + "/..",
		strings.Replace(host, "eu-central-1", "eu.central.1", 1), "abcdefghijklmnopqrstuvwxyz01234é.lambda-url.eu-central-1.on.aws",
	} {
		platform = other
		for _, path := range []string{"/mcp", oauth.PathResourceMetadata, oauth.PathServerMetadata} {
			request{method: "GET", path: path, token: employee, status: 421, want: []string{"MCP_URL"}, wantNot: []string{"evil"},
				headers: map[string]string{"WWW-Authenticate": "-"}}.run(t, derived)
		}
	}
	// Another function URL is another site, whose documents name it; the first is not remembered for it.
	platform = strings.Replace(host, "abc", "zzz", 1)
	request{method: "GET", path: oauth.PathResourceMetadata + "/mcp", want: []string{`"resource":"https://zzz`}, wantNot: []string{`"https://abc`}}.run(t, derived)
}
