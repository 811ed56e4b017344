package journeys

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// The code of every refusal tells a client what to do next, so each is exact: 400 invalid_grant to sign in again, 401
// invalid_client to register again, 503 with Retry-After to wait (obot 7501, supabase/mcp 355).
func TestErrorCodes(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	client, token := d.SignIn(t, deployment.Guest)
	other := d.Register(t, "Another client", "http://127.0.0.1:4003/cb")
	refresh := func(clientID, refreshToken string) reply {
		return post(t, d.Issuer+"/token", "grant_type", "refresh_token", "client_id", clientID, "refresh_token", refreshToken)
	}
	refresh(other, token.RefreshToken).refused(t, "another client's refresh token", http.StatusBadRequest, "invalid_grant")
	refresh("dyn_unknown", token.RefreshToken).refused(t, "an unknown client", http.StatusUnauthorized, "invalid_client")
	refresh("not a client id", token.RefreshToken).refused(t, "a client id of another form", http.StatusUnauthorized, "invalid_client")
	if renewed := refresh(client.ClientID, token.RefreshToken); renewed.status != http.StatusOK {
		t.Errorf("the refresh token after all this: %d %s", renewed.status, renewed.raw)
	}
	if revoked := post(t, d.Issuer+"/revoke", "client_id", client.ClientID, "token", token.RefreshToken); revoked.status != http.StatusOK {
		t.Errorf("POST /revoke: %d %s", revoked.status, revoked.raw)
	}
	refresh(client.ClientID, token.RefreshToken).refused(t, "a dead refresh token", http.StatusBadRequest, "invalid_grant")
	refresh(client.ClientID, "made up").refused(t, "a refresh token of another form", http.StatusBadRequest, "invalid_grant")
	post(t, d.Issuer+"/token", "grant_type", "authorization_code", "client_id", other, "code", "made-up", "redirect_uri", "http://127.0.0.1:4003/cb",
		"code_verifier", oauth2.GenerateVerifier()).refused(t, "a code that was never given", http.StatusBadRequest, "invalid_grant")
	post(t, d.Issuer+"/token", "grant_type", "password", "client_id", other).refused(t, "another grant type", http.StatusBadRequest, "unsupported_grant_type")
	listTools(t, d.MCPURL, token.AccessToken).refused(t, "a dead access token", http.StatusUnauthorized, "invalid_token")
	register(t, d, `{"redirect_uris": ["http://example.com/cb"]}`).refused(t, "http beyond loopback", http.StatusBadRequest, "invalid_redirect_uri")
	register(t, d, `{"redirect_uris": ["http://127.0.0.1/"], "grant_types": "x"}`).refused(t, "wrong metadata", http.StatusBadRequest, "invalid_client_metadata")

	// A program that asks for authorization, as mcp-remote does with a registration it remembers, is told in JSON.
	asked := send(t, http.MethodGet, d.Issuer+"/authorize?client_id=dyn_unknown&response_type=code", "", "Accept", "application/json")
	asked.refused(t, "GET /authorize by an unknown client", http.StatusBadRequest, "invalid_client")
}

// A document that cannot be fetched says nothing about its client, which is told to wait and not to register.
func TestDocumentOutOfReach(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t, "ALLOW_LOOPBACK_DOCUMENTS=true")
	const id = "http://127.0.0.1:1/client.json" // nothing listens at port 1
	for what, answer := range map[string]reply{
		"/authorize": send(t, http.MethodGet, d.Issuer+"/authorize?response_type=code&client_id="+url.QueryEscape(id), "", "Accept", "application/json"),
		"/token":     post(t, d.Issuer+"/token", "grant_type", "refresh_token", "client_id", id, "refresh_token", "made-up"),
	} {
		answer.refused(t, what, http.StatusServiceUnavailable, "temporarily_unavailable")
		if seconds, err := strconv.Atoi(answer.header.Get("Retry-After")); err != nil || seconds < 1 {
			t.Errorf("%s: Retry-After is %q", what, answer.header.Get("Retry-After"))
		}
	}
}

// A client that registers at each of its starts, on whichever port is free, is one client; each answer has the redirect URIs
// that it asked with, or it would throw the registration away (mcphub 1174, claude-code 4760).
func TestRegistrationIsIdempotent(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	ids := map[string]bool{}
	for port := 5000; port < 5020; port++ {
		redirectURIs := []any{"http://localhost:" + strconv.Itoa(port) + "/oauth/callback", "http://127.0.0.1:" + strconv.Itoa(port) + "/oauth/callback"}
		wanted, err := json.Marshal(redirectURIs)
		if err != nil {
			t.Fatal(err)
		}
		answer := register(t, d, `{"client_name": "Restarted daily", "token_endpoint_auth_method": "none", "redirect_uris": `+string(wanted)+`}`)
		if got, _ := answer.body["redirect_uris"].([]any); answer.status != http.StatusCreated || !slices.Equal(got, redirectURIs) {
			t.Fatalf("registering with %s: %d %s", wanted, answer.status, answer.raw)
		}
		ids[answer.text("client_id")] = true
	}
	if len(ids) != 1 {
		t.Errorf("20 registrations of one client made %d clients", len(ids))
	}
}

// A native client listens on whichever port is free when it signs in (RFC 8252 section 7.3), by any of the three names of
// this machine; but each name is only itself (claude-code 90370, sentry-mcp 1190).
func TestLoopbackPorts(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	hosts := []string{"127.0.0.1", "[::1]", "localhost"}
	for i, host := range hosts {
		client := d.Register(t, "On any port of "+host, "http://"+host+":4004/callback")
		for _, port := range []string{":4005", ":65535", ""} {
			if token := signIn(t, d, deployment.Guest, client, "http://"+host+port+"/callback", nil); token.text("access_token") == "" {
				t.Errorf("%s%s: %s", host, port, token.raw)
			}
		}
		config := oauth2.Config{ClientID: client, Endpoint: oauth2.Endpoint{AuthURL: d.Issuer + "/authorize"}}
		for _, wrong := range []string{"http://" + hosts[(i+1)%3] + ":4004/callback", "http://" + host + ":4005/other", "https://" + host + ":4005/callback"} {
			config.RedirectURL = wrong
			page, err := robot.New(deployment.Guest).Visit(t.Context(), config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
			if err != nil || page.Status != http.StatusBadRequest || !strings.HasPrefix(page.URL.String(), d.Issuer+"/authorize") {
				t.Errorf("%s, registered with %s: %d at %s, %v", wrong, host, page.Status, page.URL, err)
			}
		}
	}
}

// Editors that are called by a scheme of their own may be; the schemes that no one has allowed, and those that would act in
// the browser, may not.
func TestNativeSchemes(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	for _, redirectURI := range []string{
		"cursor://anysphere.cursor-mcp/oauth/callback", "vscode://ms-vscode.mcp/callback", "vscode-insiders://ms-vscode.mcp/callback",
		"windsurf://codeium.windsurf/callback", "com.example.editor:/callback",
	} {
		client := d.Register(t, "Editor of "+redirectURI, redirectURI)
		if token := signIn(t, d, deployment.Guest, client, redirectURI, nil); token.text("access_token") == "" {
			t.Errorf("%s: %s", redirectURI, token.raw)
		}
	}
	for _, redirectURI := range []string{"unheard-of://callback", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://example.com/callback", "ws://localhost/callback"} {
		register(t, d, `{"client_name": "x", "token_endpoint_auth_method": "none", "redirect_uris": ["`+redirectURI+`"]}`).
			refused(t, redirectURI, http.StatusBadRequest, "invalid_redirect_uri")
	}
}
