package journeys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"mcp-access-oauth/test/deployment"
)

// The secret of the clients here that have one.
const clientSecret = "cGxlYXNlIGRvIG5vdCB1c2UgdGhpcyBvbmU"

// withClients starts a deployment whose operator has named these clients: in a file for `make run`, and by the template's
// parameter for the functions.
func withClients(t *testing.T, clients ...map[string]any) *deployment.Deployment {
	t.Helper()
	list, err := json.Marshal(map[string]any{"clients": clients})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("MCP_TEST_TARGET") == "stack" {
		return deployment.Start(t, "CLIENTS="+string(list))
	}
	file := filepath.Join(t.TempDir(), "clients.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return deployment.Start(t, "CLIENTS_FILE="+file)
}

func secretHash() string {
	sum := sha256.Sum256([]byte(clientSecret))
	return hex.EncodeToString(sum[:])
}

// A client that the operator registered, with a secret; it does not register itself.
func TestPreRegistered(t *testing.T) {
	t.Parallel()
	d := withClients(t, map[string]any{
		"client_id": "claude-desktop", "client_name": "Claude Desktop", "redirect_uris": []string{"http://localhost/oauth/callback"},
		"client_secret_sha256": secretHash(), "scope": "mcp offline_access",
	})
	r := newMCPRemote(t, d, deployment.Employee)
	static := []string{"--static-oauth-client-info", `{"client_id": "claude-desktop", "client_secret": "` + clientSecret + `"}`}
	session := r.start(t, static...)
	journey{session, true}.check(t, deployment.Employee)
	session.session.Close()

	r.expire(t)
	journey{r.start(t, static...), true}.check(t, deployment.Employee)
	r.checkOpened(t, 1)
}

// Clients that act for themselves, without a person, see what is open to everyone. These libraries do not agree on where a
// secret belongs, in the header or in the body.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	d := withClients(t, map[string]any{
		"client_id": "nightly-job", "grant_types": []string{"client_credentials"}, "client_secret_sha256": secretHash(),
	})
	t.Run("Go SDK", func(t *testing.T) {
		t.Parallel()
		handler, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{Credentials: &oauthex.ClientCredentials{
			ClientID: "nightly-job", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: clientSecret},
		}})
		if err != nil {
			t.Fatal(err)
		}
		client, err := connectGoSDK(t.Context(), &mcp.StreamableClientTransport{Endpoint: d.MCPURL, OAuthHandler: handler}, "")
		if err != nil {
			t.Fatal(err)
		}
		defer client.session.Close()
		journey{client, true}.check(t, noPerson)
	})
	for _, flavour := range []string{"v1", "v2-auto"} {
		t.Run("TypeScript SDK "+flavour, func(t *testing.T) {
			t.Parallel()
			desktop := newDesktop(t, noPerson)
			client := startTypeScript(t, desktop, flavour, d.MCPURL, "CLIENT_ID=nightly-job", "CLIENT_SECRET="+clientSecret, "ISSUER="+d.Issuer)
			journey{client, true}.check(t, noPerson)
			if desktop.opened() != 0 {
				t.Error("the browser was opened")
			}
		})
	}
	t.Run("mcp-remote", func(t *testing.T) {
		t.Parallel()
		r := newMCPRemote(t, d, noPerson)
		client := r.start(t, "--client-credentials", "--static-oauth-client-info", `{"client_id": "nightly-job", "client_secret": "`+clientSecret+`"}`)
		journey{client, true}.check(t, noPerson)
		r.checkOpened(t, 0)
	})
}

// private_key_jwt: the operator knows the client's public key alone.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := withClients(t, map[string]any{
		"client_id": "signing-job", "grant_types": []string{"client_credentials"}, "token_endpoint_auth_method": "private_key_jwt",
		"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), Algorithm: "ES256"}}},
	})
	private, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, flavour := range []string{"v1", "v2", "v2-auto"} {
		t.Run("TypeScript SDK "+flavour, func(t *testing.T) {
			t.Parallel()
			client := startTypeScript(t, newDesktop(t, noPerson), flavour, d.MCPURL, "CLIENT_ID=signing-job", "CLIENT_KEY="+string(private), "ISSUER="+d.Issuer)
			journey{client, true}.check(t, noPerson)
		})
	}
}
