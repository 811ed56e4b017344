package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
	token, err := d.Authorize(t.Context(), client, email)
	if err != nil {
		t.Fatal(err)
	}
	return client, token
}

// Authorize is the part of SignIn after the registration, for tests in which several people sign in at once.
func (d *Deployment) Authorize(ctx context.Context, client *oauth2.Config, email string) (*oauth2.Token, error) {
	verifier := oauth2.GenerateVerifier()
	response, err := robot.New(email).Authorize(ctx, client.AuthCodeURL("state of the test", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		return nil, fmt.Errorf("signing in: %w", err)
	}
	if response.Get("code") == "" || response.Get("state") != "state of the test" || response.Get("iss") != d.Issuer {
		return nil, fmt.Errorf("signing in: the authorization response is %v", response)
	}
	token, err := client.Exchange(ctx, response.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, fmt.Errorf("redeeming the code: %w", err)
	}
	return token, nil
}
