package conformance

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/state"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/test/conformance/fixtures"
	"mcp-access-oauth/test/npm"
)

const bearer = "the-token-of-the-suite"

// The suite's server mode, for both revisions that it freezes requirements of. It has no way to send a token, so that the
// header is added on the way in.
func TestServer(t *testing.T) {
	t.Parallel()
	url := serve(t)
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			baseline := filepath.Join(npm.Root(t), "test", "conformance", "baseline-"+revision+".yml")
			cmd := npm.Command(t, ctx, "conformance", "server", "--url", url, "--requirements", revision, "--expected-failures", baseline)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("the suite fails: %v\n%s", err, out)
			}
			if total := regexp.MustCompile(`(?m)^Total: .*$`).Find(out); total != nil {
				t.Logf("%s: %s", revision, total)
			} else {
				t.Errorf("the suite ran nothing:\n%s", out)
			}
		})
	}
}

// serve starts the production MCP endpoint with the fixtures added.
func serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin := "http://" + strings.Replace(listener.Addr().String(), "127.0.0.1", "localhost", 1)
	resource, err := oauth.NewResource(origin + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	store, err := bolt.Open(filepath.Join(t.TempDir(), "table.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	const email = "suite@example.com"
	listed, err := policy.New(email, "")
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := mcpserver.New(mcpserver.Config{
		Issuer:   origin,
		Resource: resource,
		Policy:   listed,
		Tools:    tools.All(tools.Deps{}),
		State:    &state.Store{Table: store, Now: time.Now},
		Options:  fixtures.Options(),
		Extra:    fixtures.Register,
		Authenticate: func(_ context.Context, token string) (grants.Access, error) {
			if token != bearer {
				return grants.Access{}, grants.ErrInvalidToken
			}
			return grants.Access{
				GrantID: "grant", ClientID: "suite", Identity: policy.Identity{Issuer: origin, Subject: "suite", Email: email},
				Scopes: []string{oauth.ScopeMCP}, Resource: resource.String(), Expires: time.Now().Add(time.Hour),
			}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+bearer)
		endpoint.ServeHTTP(w, r)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return origin + "/mcp"
}
