package journeys

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/npm"
)

// mcpRemote is a desktop application that reaches the server through mcp-remote over stdio, as Claude Desktop does. The
// application's side is played by the Go SDK.
type mcpRemote struct {
	*desktop
	deployment *deployment.Deployment
	config     string // where mcp-remote keeps registrations and tokens
	// port is where it listens for the person's answer; 0 leaves it to mcp-remote. It would then move on when another
	// process has the port, and where it first tries a refresh it opens the browser before it knows that.
	port int
}

func newMCPRemote(t *testing.T, d *deployment.Deployment, email string) *mcpRemote {
	return &mcpRemote{newDesktop(t, email), d, t.TempDir(), d.SparePort()}
}

// start starts mcp-remote and connects to it. The test ends if that fails; the session ends with the test.
func (r *mcpRemote) start(t *testing.T, args ...string) goSDK {
	t.Helper()
	return r.startAt(t, r.deployment.MCPURL, args...)
}

func (r *mcpRemote) startAt(t *testing.T, endpoint string, args ...string) goSDK {
	t.Helper()
	client, err := r.launch(t, endpoint, args...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (r *mcpRemote) launch(t *testing.T, endpoint string, args ...string) (goSDK, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second) // it ends after the test, in its cleanup
	t.Cleanup(cancel)
	if r.port != 0 {
		args = append([]string{strconv.Itoa(r.port)}, args...)
	}
	cmd := npm.Command(t, ctx, "mcp-remote", append([]string{endpoint}, args...)...)
	cmd.Env = append(append(cmd.Env, r.environment(t)...), "MCP_REMOTE_CONFIG_DIR="+r.config)
	log := &bytes.Buffer{}
	cmd.Stderr = log
	client, err := connectGoSDK(ctx, &mcp.CommandTransport{Command: cmd, TerminateDuration: 2 * time.Second}, "2025-11-25")
	if err != nil {
		cancel()
		return goSDK{}, fmt.Errorf("mcp-remote: %w\nits browser: %s\nits log:\n%s", err, r.read(), log)
	}
	t.Cleanup(func() { client.session.Close() })
	return client, nil
}

// stored reads what mcp-remote has kept, such as tokens.json.
func (r *mcpRemote) stored(t *testing.T, file string) (path string, content map[string]any) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(r.config, "*", "*_"+file))
	if err != nil || len(found) != 1 {
		t.Fatalf("mcp-remote has stored %v as %s: %v", found, file, err)
	}
	data, err := os.ReadFile(found[0])
	if err == nil {
		err = json.Unmarshal(data, &content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return found[0], content
}

// expire makes mcp-remote believe that its access token has expired.
func (r *mcpRemote) expire(t *testing.T) {
	t.Helper()
	path, tokens := r.stored(t, "tokens.json")
	tokens["expires_at"] = time.Now().Add(-time.Minute).UnixMilli()
	data, err := json.Marshal(tokens)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *mcpRemote) checkOpened(t *testing.T, want int) {
	t.Helper()
	if got := r.opened(); got != want {
		t.Errorf("the browser was opened %d times, want %d:\n%s", got, want, r.read())
	}
}

// Fresh, and a second start without the browser. Each person has a server of their own here: instances of mcp-remote on one
// machine share a sign-in by the server's URL.
func TestMCPRemote(t *testing.T) {
	t.Parallel()
	everyone(t, func(t *testing.T, email string) {
		r := newMCPRemote(t, deployment.Start(t), email)
		r.port = 0
		first := r.start(t)
		journey{first, true}.check(t, email)
		r.checkOpened(t, 1)
		r.checkAsked(t, r.deployment.MCPURL)
		first.session.Close()

		journey{r.start(t), true}.check(t, email)
		r.checkOpened(t, 1)
	})
}

// mcp-remote speaks the newest protocol to the server, whatever the application speaks.
func TestMCPRemoteProtocolAuto(t *testing.T) {
	t.Parallel()
	everyone(t, func(t *testing.T, email string) {
		r := newMCPRemote(t, deployment.Start(t), email)
		journey{r.start(t, "--protocol", "auto"), true}.check(t, email)
		r.checkOpened(t, 1)
	})
}

// The legacy transport, at its own path.
func TestMCPRemoteSSEOnly(t *testing.T) {
	t.Parallel()
	everyone(t, func(t *testing.T, email string) {
		r := newMCPRemote(t, deployment.Start(t), email)
		sse := strings.TrimSuffix(r.deployment.MCPURL, "/mcp") + "/sse"
		journey{r.startAt(t, sse, "--transport", "sse-only"), true}.check(t, email)
		r.checkOpened(t, 1)
		r.checkAsked(t, sse)
	})
}

// A running session goes on after the server was restarted; so do the registration and the grant, with a refresh that asks
// the identity provider, which was restarted too.
func TestMCPRemoteAcrossRestart(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	r := newMCPRemote(t, d, deployment.Employee)
	running := r.start(t)
	d.Restart(t)
	journey{running, true}.check(t, deployment.Employee)
	running.session.Close()

	r.expire(t)
	d.Restart(t)
	journey{r.start(t), true}.check(t, deployment.Employee)
	r.checkOpened(t, 1)
}

func TestMCPRemoteRefreshes(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	r := newMCPRemote(t, d, deployment.Employee)
	r.start(t).session.Close()
	_, before := r.stored(t, "tokens.json")
	for range 3 {
		r.expire(t)
		session := r.start(t)
		journey{session, true}.check(t, deployment.Employee)
		session.session.Close()
		_, after := r.stored(t, "tokens.json")
		if after["refresh_token"] == before["refresh_token"] {
			t.Error("the refresh token was not rotated")
		}
		before = after
	}
	r.checkOpened(t, 1)
}

// A server that has lost everything: the remembered registration is stale, and the client must notice and register anew.
func TestMCPRemoteAfterWipe(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	r := newMCPRemote(t, d, deployment.Employee)
	r.start(t).session.Close()
	d.Wipe(t)
	journey{r.start(t), true}.check(t, deployment.Employee)
	r.checkOpened(t, 2)
}

// A revoked grant sends the person back to the sign-in, and only there.
func TestMCPRemoteRevoked(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	r := newMCPRemote(t, d, deployment.Employee)
	r.start(t).session.Close()
	_, tokens := r.stored(t, "tokens.json")
	_, client := r.stored(t, "client_info.json")
	response, err := http.PostForm(d.Issuer+"/revoke", url.Values{
		"token": {tokens["refresh_token"].(string)}, "client_id": {client["client_id"].(string)},
	})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST /revoke: %s", response.Status)
	}
	journey{r.start(t), true}.check(t, deployment.Employee)
	r.checkOpened(t, 2)
	if _, again := r.stored(t, "client_info.json"); again["client_id"] != client["client_id"] {
		t.Error("the client registered anew, although only its grant was revoked")
	}
}
