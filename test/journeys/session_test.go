package journeys

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/test/deployment"
)

// letClaimsAge makes a grant a quarter of an hour old in the one respect that the identity provider must be asked about
// the person when it is next refreshed.
func letClaimsAge(t *testing.T, store table.Table, refreshToken string) {
	t.Helper()
	id, ok := grants.GrantID(refreshToken)
	if !ok {
		t.Fatal("this is no refresh token")
	}
	items, err := store.Get(t.Context(), grants.Key(id))
	if err != nil || items[0] == nil {
		t.Fatalf("reading the grant: %v", err)
	}
	var grant, upstream map[string]json.RawMessage
	var checked int64
	if err = json.Unmarshal(items[0].Data, &grant); err == nil {
		err = json.Unmarshal(grant["upstream"], &upstream)
	}
	if err == nil {
		err = json.Unmarshal(upstream["checked"], &checked)
	}
	if err != nil {
		t.Fatalf("reading when the provider was asked: %v", err)
	}
	changed := *items[0]
	upstream["checked"], _ = json.Marshal(checked - 15*time.Minute.Milliseconds())
	grant["upstream"], _ = json.Marshal(upstream)
	changed.Data, _ = json.Marshal(grant) // parts of what was just read encode
	if _, err := store.Replace(t.Context(), changed); err != nil {
		t.Fatalf("writing the grant: %v", err)
	}
}

// A person whose session at the identity provider stands stays signed in when it is asked; one whose session was ended
// there is sent to sign in, once, and the client stays registered.
func TestMCPRemoteSessionEndedAtProvider(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	r := newMCPRemote(t, d, deployment.Employee)
	r.start(t).session.Close()
	_, client := r.stored(t, "client_info.json")
	refresh := func(meanwhile func()) {
		t.Helper()
		_, tokens := r.stored(t, "tokens.json")
		d.WhileStopped(t, func(store table.Table) {
			letClaimsAge(t, store, tokens["refresh_token"].(string))
			meanwhile()
		})
		r.expire(t)
		session := r.start(t)
		journey{session, true}.check(t, deployment.Employee)
		session.session.Close()
	}
	before := requests(d, "GET", "/authorize")
	refresh(func() {})
	r.checkOpened(t, 1)
	if asked := requests(d, "GET", "/authorize") - before; asked != 0 {
		t.Errorf("the client asked %d times for authorization", asked)
	}

	refresh(func() {
		// The demo identity provider without its keys knows no refresh token that it ever gave.
		if err := os.Remove(filepath.Join(d.Dir, "demo-identity-provider.json")); err != nil {
			t.Fatal(err)
		}
	})
	r.checkOpened(t, 2)
	if _, again := r.stored(t, "client_info.json"); again["client_id"] != client["client_id"] {
		t.Error("the client registered anew, although only its grant had ended")
	}
}

// Two windows of one application start mcp-remote twice on one store, and both find the access token expired: each
// presents the same refresh token, and neither may send the person to sign in (claude-code 21333, fastmcp 4265).
func TestMCPRemoteTwiceOnOneStore(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	r := newMCPRemote(t, d, deployment.Employee)
	r.start(t).session.Close()
	r.expire(t)
	before := requests(d, "POST", "/token")
	var both sync.WaitGroup
	sessions, problems := make([]goSDK, 2), make([]error, 2)
	for i := range sessions {
		both.Go(func() { sessions[i], problems[i] = r.launch(t, d.MCPURL) })
	}
	both.Wait()
	if err := errors.Join(problems...); err != nil {
		t.Fatal(err)
	}
	if refreshed := requests(d, "POST", "/token") - before; refreshed == 0 {
		t.Error("no one refreshed")
	}
	for _, session := range sessions {
		journey{session, true}.check(t, deployment.Employee)
	}
	for _, session := range sessions {
		session.session.Close()
	}
	r.checkOpened(t, 1)
}

// A lost answer, and many processes of one user at once: whoever presents the refresh token gets the same answer, and the
// session lives on (claude-code 5706, workers-oauth-provider 214).
func TestRefreshTokenSharedByMany(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	client, token := d.SignIn(t, deployment.Employee)
	refresh := func(refreshToken string) reply {
		return post(t, d.Issuer+"/token", "grant_type", "refresh_token", "client_id", client.ClientID, "refresh_token", refreshToken, "resource", d.MCPURL)
	}
	current := token.RefreshToken
	for range 3 {
		const many = 20
		answers := make([]reply, many)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = refresh(current) })
		}
		all.Wait()
		for _, answer := range answers {
			if answer.status != 200 || answer.text("access_token") == "" || answer.text("access_token") != answers[0].text("access_token") ||
				answer.text("refresh_token") != answers[0].text("refresh_token") {
				t.Fatalf("one of %d got %d %s", many, answer.status, answer.text("error"))
			}
		}
		// Nobody received it, say. The next try is answered alike, and so is the one after the new token was used.
		for range 2 {
			if again := refresh(current); again.text("access_token") != answers[0].text("access_token") {
				t.Fatalf("a retry got %d %s", again.status, again.text("error"))
			}
			if used := listTools(t, d.MCPURL, answers[0].text("access_token")); used.status != 200 {
				t.Fatalf("the access token got %d", used.status)
			}
		}
		current = answers[0].text("refresh_token")
	}
}

// No refresh token may depend on a scope that clients forget (canvas-mcp 146); but who does not use that grant type gets
// none.
func TestRefreshTokenWithoutOfflineAccess(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	for grantTypes, want := range map[string]bool{`["authorization_code", "refresh_token"]`: true, `["authorization_code"]`: false} {
		client := register(t, d, `{"client_name": "Forgetful", "redirect_uris": ["http://127.0.0.1:4000/cb"], "token_endpoint_auth_method": "none", "grant_types": `+grantTypes+`}`)
		answer := signIn(t, d, deployment.Guest, client.text("client_id"), "http://127.0.0.1:4000/cb", url.Values{"scope": {"mcp"}})
		if got := answer.text("refresh_token") != ""; got != want || answer.text("scope") != "mcp" {
			t.Errorf("grant types %s: a refresh token came: %v, scope %q", grantTypes, got, answer.text("scope"))
		}
	}
}

// A client of a revision with sessions opens several streams at once, though it was given no session: each carries the
// progress and the result of its own request, whichever instance answers (mcp-gateway-registry 960).
func TestConcurrentStreams(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	_, token := d.SignIn(t, deployment.Employee)
	initialized := send(t, http.MethodPost, d.MCPURL, `{"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}}`,
		"Authorization", "Bearer "+token.AccessToken, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
	if initialized.status != http.StatusOK || initialized.header.Get("Mcp-Session-Id") != "" {
		t.Fatalf("initialize: %d, session %q", initialized.status, initialized.header.Get("Mcp-Session-Id"))
	}
	const many = 8
	streams := make([]reply, many)
	var all sync.WaitGroup
	for i := range streams {
		all.Go(func() {
			request := fmt.Sprintf(`{"jsonrpc": "2.0", "id": %d, "method": "tools/call", "params": {"name": "generateImage", "arguments": {"prompt": "a lighthouse", "steps": 5}, "_meta": {"progressToken": "stream %[1]d"}}}`, i)
			streams[i] = send(t, http.MethodPost, d.MCPURL, request, "Authorization", "Bearer "+token.AccessToken, "Content-Type", "application/json",
				"Accept", "application/json, text/event-stream", "MCP-Protocol-Version", "2025-11-25")
		})
	}
	all.Wait()
	for i, stream := range streams {
		own := strings.Count(stream.raw, fmt.Sprintf(`"progressToken":"stream %d"`, i))
		if stream.status != http.StatusOK || !strings.HasPrefix(stream.header.Get("Content-Type"), "text/event-stream") ||
			own != 5 || strings.Count(stream.raw, `"progressToken"`) != own || strings.Count(stream.raw, fmt.Sprintf(`"id":%d,`, i)) != 1 {
			t.Errorf("stream %d: %d %s, %d notifications of its own:\n%.500s", i, stream.status, stream.header.Get("Content-Type"), own, stream.raw)
		}
	}
}

// A legacy client that comes back again and again is always served: a person has two streams, and the newest count.
func TestLegacyStreamsOfOnePerson(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t) // on the shared one they would end the streams of others
	_, token := d.SignIn(t, deployment.Guest)
	sse := &mcp.SSEClientTransport{Endpoint: strings.TrimSuffix(d.MCPURL, "/mcp") + "/sse", HTTPClient: withToken(token.AccessToken)}
	for range 5 { // none of them says goodbye
		client, err := connectGoSDK(t.Context(), sse, "2025-03-26")
		if err != nil {
			t.Fatal(err)
		}
		defer client.session.Close()
		if _, err := client.Tools(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
