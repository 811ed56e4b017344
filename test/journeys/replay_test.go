package journeys

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"mcp-access-oauth/test/deployment"
)

// replay is a client that cannot run here, because it is closed or a service: what it is known to send, from its published
// metadata and from public reports, is sent in its place. Everything after the tokens is the Go SDK's.
type replay struct {
	registration string // what it registers with, or
	document     string // the metadata document that it is known by, without client_id
	redirectURI  string // the one that it then uses
	scope        string
	prompt       string
	signs        bool // it authenticates by private_key_jwt, under the document's jwks_uri
}

// The leading space of claude.ai's scope is its own (claude-ai-mcp 453). ChatGPT's document prefers private_key_jwt and
// offers none besides; it has been seen to use either.
var replays = map[string]replay{
	"claude.ai": {
		registration: `{"client_name": "Claude", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"], "grant_types": ["authorization_code", "refresh_token"],
			"response_types": ["code"], "token_endpoint_auth_method": "none", "scope": "mcp"}`,
		redirectURI: "https://claude.ai/api/mcp/auth_callback", scope: " offline_access", prompt: "consent",
	},
	"claude.ai by its document": {
		document: `{"client_name": "Claude", "client_uri": "https://claude.ai", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
			"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none"}`,
		redirectURI: "https://claude.ai/api/mcp/auth_callback", scope: "mcp offline_access", prompt: "consent",
	},
	"Claude Code": {
		registration: `{"client_name": "Claude Code (access)", "redirect_uris": ["http://localhost:3118/callback"], "grant_types": ["authorization_code", "refresh_token"],
			"response_types": ["code"], "token_endpoint_auth_method": "none"}`,
		redirectURI: "http://localhost:3118/callback", scope: "mcp",
	},
	"Claude Code by its document": {
		document: `{"client_name": "Claude Code", "client_uri": "https://claude.ai", "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
			"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none"}`,
		redirectURI: "http://localhost:60351/callback", scope: "mcp",
	},
	"Cursor": {
		registration: `{"client_name": "Cursor", "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback",
			"http://localhost:8787/callback"], "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none"}`,
		redirectURI: "cursor://anysphere.cursor-mcp/oauth/callback",
	},
	"Cursor's agents": {
		registration: `{"client_name": "Cursor", "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback",
			"http://localhost:8787/callback"], "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none"}`,
		redirectURI: "https://www.cursor.com/agents/mcp/oauth/callback",
	},
	"VS Code": {
		registration: `{"client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com", "application_type": "native",
			"grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"], "response_types": ["code"],
			"redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"],
			"token_endpoint_auth_method": "none"}`,
		redirectURI: "http://127.0.0.1:59656/", scope: "mcp",
	},
	"VS Code in the browser": {
		registration: `{"client_name": "Visual Studio Code", "redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/",
			"http://127.0.0.1:33418/"], "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none"}`,
		redirectURI: "https://vscode.dev/redirect", scope: "mcp",
	},
	"ChatGPT, signing": {document: chatGPT, redirectURI: "https://chatgpt.com/connector_platform_oauth_redirect", scope: "mcp", signs: true},
	"ChatGPT, public":  {document: chatGPT, redirectURI: "https://chatgpt.com/connector_platform_oauth_redirect", scope: "mcp"},
}

const chatGPT = `{"client_name": "ChatGPT", "client_uri": "https://chatgpt.com/", "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
	"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "logo_uri": "https://persistent.oaistatic.com/sonic/misc/openai-logo.png",
	"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"], "token_endpoint_auth_signing_alg": "RS256"}`

func TestReplays(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t, "ALLOW_LOOPBACK_DOCUMENTS=true")
	mux := http.NewServeMux()
	pages := documents{httptest.NewServer(mux), mux}
	t.Cleanup(pages.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pages.publish(t, "/jwks.json", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "current", Use: "sig", Algorithm: "RS256"}}})
	for name, r := range replays {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := r.identify(t, d, pages, name)
			prove := func() []string {
				if !r.signs {
					return nil
				}
				return []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion(t, key, id, d.Issuer)}
			}
			request := url.Values{"resource": {d.MCPURL}}
			for name, value := range map[string]string{"scope": r.scope, "prompt": r.prompt} {
				if value != "" {
					request.Set(name, value)
				}
			}
			first := signIn(t, d, deployment.Employee, id, r.redirectURI, request, prove()...)
			second := post(t, d.Issuer+"/token", append(prove(), "grant_type", "refresh_token", "client_id", id,
				"refresh_token", first.text("refresh_token"), "resource", d.MCPURL)...)
			if second.status != http.StatusOK {
				t.Fatalf("refreshing: %d %s", second.status, second.raw)
			}
			for _, version := range []string{"2025-06-18", ""} {
				transport := &mcp.StreamableClientTransport{Endpoint: d.MCPURL, HTTPClient: withToken(second.text("access_token"))}
				client, err := connectGoSDK(t.Context(), transport, version)
				if err != nil {
					t.Fatal(err)
				}
				journey{client, true}.check(t, deployment.Employee)
				client.session.Close()
			}
		})
	}
}

// identify registers the client, or publishes its document, and returns its id.
func (r replay) identify(t *testing.T, d *deployment.Deployment, pages documents, name string) string {
	t.Helper()
	if r.document == "" {
		answer := register(t, d, r.registration)
		if answer.status != http.StatusCreated {
			t.Fatalf("registering: %d %s", answer.status, answer.raw)
		}
		return answer.text("client_id")
	}
	var metadata map[string]any
	if err := json.Unmarshal([]byte(r.document), &metadata); err != nil {
		t.Fatal(err)
	}
	metadata["jwks_uri"] = pages.URL + "/jwks.json"
	return pages.describe(t, url.PathEscape(name), metadata)
}

// assertion is a client's proof of who it is (RFC 7523 section 3).
func assertion(t *testing.T, key *rsa.PrivateKey, id, audience string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "current"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := json.Marshal(map[string]any{
		"iss": id, "sub": id, "aud": audience, "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}
