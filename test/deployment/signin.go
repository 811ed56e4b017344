package deployment

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"golang.org/x/oauth2"

	"mcp-access-oauth/test/robot"
)

// redirectURI is where the plain client of these tests has its authorization responses sent. Nothing listens there: the
// robot hands them over.
const redirectURI = "http://127.0.0.1:33418/callback"

// Register registers a public client and returns its id.
func (d *Deployment) Register(t testing.TB, name string, redirectURIs ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"client_name": name, "redirect_uris": redirectURIs, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
	})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.Issuer+"/register", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		ClientID         string `json:"client_id"`
		Error            string
		ErrorDescription string `json:"error_description"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusCreated || answer.ClientID == "" {
		t.Fatalf("POST /register: %s: %s: %s", response.Status, answer.Error, answer.ErrorDescription)
	}
	return answer.ClientID
}

// OAuth is the configuration of a public client that has registered here.
func (d *Deployment) OAuth(t testing.TB) *oauth2.Config {
	t.Helper()
	return &oauth2.Config{
		ClientID:    d.Register(t, "Plain test client", redirectURI),
		RedirectURL: redirectURI,
		Endpoint:    oauth2.Endpoint{AuthURL: d.Issuer + "/authorize", TokenURL: d.Issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
}

// SignIn goes the whole way as email, and returns the tokens with the client that holds them.
func (d *Deployment) SignIn(t testing.TB, email string) (*oauth2.Config, *oauth2.Token) {
	t.Helper()
	client := d.OAuth(t)
	verifier := oauth2.GenerateVerifier()
	response, err := robot.New(email).Authorize(t.Context(), client.AuthCodeURL("state of the test", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatalf("signing in: %v", err)
	}
	if response.Get("code") == "" || response.Get("state") != "state of the test" || response.Get("iss") != d.Issuer {
		t.Fatalf("signing in: the authorization response is %v", response)
	}
	token, err := client.Exchange(t.Context(), response.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("redeeming the code: %v", err)
	}
	return client, token
}
