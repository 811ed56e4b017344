package journeys

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// reply is an answer as it stands on the wire.
type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // of a JSON object
}

// text is a member of the body, empty when it is absent or no string.
func (r reply) text(member string) string {
	value, _ := r.body[member].(string)
	return value
}

// send makes one request and follows nothing. header is name and value by turns; an empty body is none. Without an answer
// the test has failed, and the reply is the zero value: it may run beside others, where a test cannot be ended.
func send(t *testing.T, method, address, body string, header ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return reply{}
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	r := reply{status: response.StatusCode, header: response.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &r.body) // what is no object has no members
	return r
}

// post sends a form, name and value by turns.
func post(t *testing.T, address string, fields ...string) reply {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return send(t, http.MethodPost, address, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// register sends a registration as JSON.
func register(t *testing.T, d *deployment.Deployment, metadata string) reply {
	t.Helper()
	return send(t, http.MethodPost, d.Issuer+"/register", metadata, "Content-Type", "application/json")
}

// listTools asks for the tools as clients of 2025-06-18 do, without a session.
func listTools(t *testing.T, endpoint, token string) reply {
	t.Helper()
	return send(t, http.MethodPost, endpoint, `{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}`, "Authorization", "Bearer "+token,
		"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "MCP-Protocol-Version", "2025-06-18")
}

func (r reply) refused(t *testing.T, what string, status int, code string) {
	t.Helper()
	if r.status != status || r.text("error") != code {
		t.Errorf("%s: %d %s, want %d %s", what, r.status, r.raw, status, code)
	}
}

// requests counts what the server's log says of requests, in either of its forms.
func requests(d *deployment.Deployment, method, path string) int {
	log := d.Log()
	return strings.Count(log, "method="+method+" path="+path+" ") + strings.Count(log, `"method":"`+method+`","path":"`+path+`"`)
}

// signIn goes the whole way of an authorization code, and returns what /token answered. more are further parameters of the
// authorization request, of which resource is repeated at /token; proof is what the client authenticates with there.
func signIn(t *testing.T, d *deployment.Deployment, email, clientID, redirectURI string, more url.Values, proof ...string) reply {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	request := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {redirectURI}, "state": {"state"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	maps.Copy(request, more)
	response, err := robot.New(email).Authorize(t.Context(), d.Issuer+"/authorize?"+request.Encode())
	if err != nil {
		t.Fatalf("signing in: %v", err)
	}
	if response.Get("code") == "" || response.Get("state") != "state" || response.Get("iss") != d.Issuer {
		t.Fatalf("signing in: the authorization response is %v", response)
	}
	fields := append(proof, "grant_type", "authorization_code", "client_id", clientID, "redirect_uri", redirectURI,
		"code", response.Get("code"), "code_verifier", verifier)
	if more.Has("resource") {
		fields = append(fields, "resource", more.Get("resource"))
	}
	answer := post(t, d.Issuer+"/token", fields...)
	if answer.status != http.StatusOK {
		t.Fatalf("redeeming the code: %d %s", answer.status, answer.raw)
	}
	return answer
}

// toolNames are the tools of a list, in order.
func toolNames(t *testing.T, listed reply) []string {
	t.Helper()
	var list struct {
		Result struct{ Tools []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(listed.raw), &list); err != nil || listed.status != http.StatusOK {
		t.Fatalf("listing tools: %d %s", listed.status, listed.raw)
	}
	var names []string
	for _, tool := range list.Result.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return names
}

// withToken is an HTTP client that bears this token and asks for no other.
func withToken(token string) *http.Client {
	return oauth2.NewClient(context.Background(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
}
