package journeys

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// documents is the web site of the makers of clients, where their metadata documents stand.
type documents struct {
	*httptest.Server
	mux *http.ServeMux
}

func newDocuments(t *testing.T) documents {
	mux := http.NewServeMux()
	site := documents{httptest.NewTLSServer(mux), mux}
	t.Cleanup(site.Close)
	return site
}

// describe publishes a client's document and returns its address, which is the client's id.
func (s documents) describe(t *testing.T, name string, metadata map[string]any) string {
	t.Helper()
	address := s.URL + "/" + name + "/client.json"
	metadata["client_id"] = address
	s.publish(t, "/"+name+"/client.json", metadata)
	return address
}

func (s documents) publish(t *testing.T, path string, content any) {
	t.Helper()
	body, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}

// settings let a server fetch documents from this site, which a deployment on AWS would never do.
func (s documents) settings(t *testing.T) []string {
	t.Helper()
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		t.Skip("NOT RUN: Go takes no certificate from SSL_CERT_FILE on " + runtime.GOOS)
	}
	file := filepath.Join(t.TempDir(), "documents.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"ALLOW_LOOPBACK_DOCUMENTS=true", "SSL_CERT_FILE=" + file}
}

// Clients that are known by their metadata document, and register nowhere. Those on this machine name their redirect URI
// without a port, since they do not know which will be free.
func TestMetadataDocument(t *testing.T) {
	t.Parallel()
	site := newDocuments(t)
	d := deployment.Start(t, site.settings(t)...)
	t.Cleanup(func() { // after the parallel tests below
		if authorized, registered := requests(d, "GET", "/authorize"), requests(d, "POST", "/register"); authorized == 0 || registered != 0 {
			t.Errorf("the clients asked %d times for authorization, and registered %d times", authorized, registered)
		}
	})
	describe := func(name, redirectURI string) string {
		return site.describe(t, name, map[string]any{
			"client_name": name, "redirect_uris": []string{redirectURI}, "grant_types": []string{"authorization_code", "refresh_token"},
			"response_types": []string{"code"}, "token_endpoint_auth_method": "none",
		})
	}
	t.Run("Go SDK", func(t *testing.T) {
		t.Parallel()
		id := describe("go-sdk", "http://127.0.0.1/callback")
		browser := robot.New(deployment.Employee)
		transport := goSDKTransport(t, d, browser, func(config *auth.AuthorizationCodeHandlerConfig) {
			config.DynamicClientRegistrationConfig = nil
			config.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: id}
			config.RedirectURL = goSDKRedirect
		})
		client, err := connectGoSDK(t.Context(), transport, "")
		if err != nil {
			t.Fatal(err)
		}
		defer client.session.Close()
		journey{client, true}.check(t, deployment.Employee)
	})
	t.Run("Inspector", func(t *testing.T) {
		t.Parallel()
		desktop := newDesktop(t, deployment.Employee)
		id := describe("inspector", "http://127.0.0.1/oauth/callback")
		tools, err := inspectorWithBrowser(t, d.MCPURL, desktop, "--client-metadata-url", id).Tools(t.Context())
		if err != nil || len(tools) != 2 || desktop.opened() != 1 {
			t.Errorf("tools %v, %v\nits browser: %s", tools, err, desktop.read())
		}
	})
	for _, flavour := range []string{"v1", "v2-auto"} {
		t.Run("TypeScript SDK "+flavour, func(t *testing.T) {
			t.Parallel()
			id := describe("typescript-"+flavour, "http://127.0.0.1/callback")
			client := startTypeScript(t, newDesktop(t, deployment.Employee), flavour, d.MCPURL, "CLIENT_METADATA_URL="+id)
			journey{client, true}.check(t, deployment.Employee)
		})
	}
}

// The client keeps its session when its maker's web site is down, even over a restart of the server.
func TestMCPRemoteMetadataDocument(t *testing.T) {
	t.Parallel()
	site := newDocuments(t)
	d := deployment.Start(t, site.settings(t)...)
	id := site.describe(t, "mcp-remote", map[string]any{
		"client_name": "mcp-remote", "redirect_uris": []string{"http://localhost/oauth/callback"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
	})
	r := newMCPRemote(t, d, deployment.Employee)
	session := r.start(t, "--client-metadata-url", id)
	journey{session, true}.check(t, deployment.Employee)
	session.session.Close()
	if count := requests(d, "POST", "/register"); count != 0 {
		t.Errorf("the client registered %d times", count)
	}

	site.Close()
	d.Restart(t)
	r.expire(t)
	journey{r.start(t, "--client-metadata-url", id), true}.check(t, deployment.Employee)
	r.checkOpened(t, 1)
}
