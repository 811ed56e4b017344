package attacks

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

const (
	loopback = "http://127.0.0.1:33418/callback"
	web      = "https://client.example/callback"
)

// client is a public client that has registered. Nothing listens at its redirect URI: the tests read what is sent there.
type client struct {
	d        *deployment.Deployment
	id       string
	redirect string
	verifier string
}

func newClient(t testing.TB, d *deployment.Deployment, redirect string) client {
	t.Helper()
	return client{d, d.Register(t, "Client at "+redirect, redirect), redirect, oauth2.GenerateVerifier()}
}

// with are the parameters of a good authorization request, changed by pairs of name and value; an empty value removes.
func (c client) with(changes ...string) url.Values {
	values := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.redirect}, "state": {"state-of-the-client"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(c.verifier)}, "code_challenge_method": {"S256"},
		"scope": {"mcp"}, "resource": {c.d.MCPURL},
	}
	change(values, changes)
	return values
}

func change(values url.Values, changes []string) {
	for i := 0; i < len(changes); i += 2 {
		values.Set(changes[i], changes[i+1])
		if changes[i+1] == "" {
			values.Del(changes[i])
		}
	}
}

func (c client) authorize(changes ...string) string {
	return c.d.Issuer + "/authorize?" + c.with(changes...).Encode()
}

// redeem is the token request for a code, changed as by with.
func (c client) redeem(t testing.TB, code string, changes ...string) answer {
	t.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {c.id}, "code": {code}, "redirect_uri": {c.redirect}, "code_verifier": {c.verifier},
	}
	change(form, changes)
	return post(t, c.d.Issuer+"/token", form)
}

func (c client) refresh(t testing.TB, token string, changes ...string) answer {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {token}}
	change(form, changes)
	return post(t, c.d.Issuer+"/token", form)
}

// issued are the tokens of a token response, which must be one.
type issued struct{ access, refresh string }

func (a answer) issued(t testing.TB) issued {
	t.Helper()
	tokens := issued{a.text("access_token"), a.text("refresh_token")}
	if a.status != http.StatusOK || tokens.access == "" || tokens.refresh == "" {
		t.Fatalf("no tokens: %d %s", a.status, a.body)
	}
	return tokens
}

// The steps of a person's way. Each requests one page; the way ends the test where it does not go on.

func open(t testing.TB, b *robot.Browser, address string) robot.Page {
	t.Helper()
	page, err := b.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// consent opens an authorization URL and returns the consent page.
func consent(t testing.TB, b *robot.Browser, address string) robot.Page {
	t.Helper()
	page := open(t, b, address)
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "Approve") {
		t.Fatalf("no consent page: %d, Location %v: %.1500s", page.Status, page.Location(), body(page.Body))
	}
	return page
}

// press presses a button of a page, with added fields, and follows nothing.
func press(t testing.TB, b *robot.Browser, page robot.Page, button string, added url.Values) robot.Page {
	t.Helper()
	next, err := b.Press(t.Context(), page, button, added)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// approve presses Approve and returns where the browser is sent: the identity provider.
func approve(t testing.TB, b *robot.Browser, page robot.Page) string {
	t.Helper()
	next := press(t, b, page, "Approve", nil)
	if next.Status != http.StatusSeeOther || next.Location() == nil {
		t.Fatalf("Approve leads nowhere: %d: %.1500s", next.Status, body(next.Body))
	}
	return next.Location().String()
}

// provider signs in at the demo identity provider as email, and returns the callback URL that the browser is sent to.
func provider(t testing.TB, d *deployment.Deployment, b *robot.Browser, upstream, email string) string {
	t.Helper()
	page := open(t, b, upstream)
	for range 10 {
		next := page.Location()
		switch {
		case next != nil && strings.HasPrefix(next.String(), d.Issuer+"/callback?"):
			return next.String()
		case next != nil:
			page = open(t, b, next.String())
		default:
			page = press(t, b, page, email, nil)
		}
	}
	t.Fatal("the identity provider does not send the browser back")
	return ""
}

// response is what the callback sends to the client.
func (c client) response(t testing.TB, b *robot.Browser, callback string) url.Values {
	t.Helper()
	page := open(t, b, callback)
	target := page.Location()
	if page.Status != http.StatusFound || target == nil || !strings.HasPrefix(target.String(), c.redirect) {
		t.Fatalf("the callback does not lead to the client: %d, Location %v: %.1500s", page.Status, target, body(page.Body))
	}
	return target.Query()
}

// code goes the whole way as email.
func (c client) code(t testing.TB, email string, changes ...string) string {
	t.Helper()
	b := robot.New(email)
	upstream := approve(t, b, consent(t, b, c.authorize(changes...)))
	code := c.response(t, b, provider(t, c.d, b, upstream, email)).Get("code")
	if code == "" {
		t.Fatal("the authorization response has no code")
	}
	return code
}

func (c client) signIn(t testing.TB, email string) issued {
	t.Helper()
	return c.redeem(t, c.code(t, email)).issued(t)
}

// rpc sends one JSON-RPC request to the MCP endpoint.
func rpc(t testing.TB, address, token, method string, params any, headers ...string) answer {
	t.Helper()
	message, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	headers = append([]string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream"}, headers...)
	if token != "" {
		headers = append(headers, "Authorization", "Bearer "+token)
	}
	return send(t, http.MethodPost, address, string(message), headers...)
}

func call(t testing.TB, d *deployment.Deployment, token, tool string, arguments map[string]any) answer {
	t.Helper()
	return rpc(t, d.MCPURL, token, "tools/call", map[string]any{"name": tool, "arguments": arguments})
}

// works reports whether a token opens the MCP endpoint. All that is not yes must be a 401.
func works(t testing.TB, d *deployment.Deployment, token string) bool {
	t.Helper()
	a := call(t, d, token, "add", map[string]any{"a": 40, "b": 2})
	if a.status == http.StatusOK && strings.Contains(a.body, "42") {
		return true
	}
	if a.status != http.StatusUnauthorized {
		t.Errorf("the MCP endpoint answers %d %.300s", a.status, a.body)
	}
	return false
}
