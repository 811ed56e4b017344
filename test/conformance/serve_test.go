package conformance

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
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
	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/npm"
)

// serve starts the MCP endpoint with the fixtures added, and returns an address that adds a token to every request.
func serve(t *testing.T) string {
	t.Helper()
	if os.Getenv("MCP_TEST_TARGET") == "stack" {
		return serveFunctions(t)
	}
	return serveHandler(t)
}

const bearer = "the-token-of-the-suite"

// serveHandler serves the production handler in this process.
func serveHandler(t *testing.T) string {
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

// serveFunctions starts the stack with the functions as they are built for AWS, but for mcp, which has the fixtures besides.
// The token is a person's, of a sign-in.
func serveFunctions(t *testing.T) string {
	t.Helper()
	dist := t.TempDir()
	built := deployment.Functions(t)
	functions, err := os.ReadDir(built)
	if err != nil {
		t.Fatal(err)
	}
	for _, function := range functions {
		if function.Name() == "mcp" {
			continue
		}
		if err := os.Symlink(filepath.Join(built, function.Name()), filepath.Join(dist, function.Name())); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", filepath.Join(dist, "mcp", "bootstrap"), "./test/conformance/function")
	cmd.Dir, cmd.Env = npm.Root(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the function with the fixtures: %v\n%s", err, out)
	}
	d := deployment.Start(t, "DIST="+dist, "PROCESSES=40")
	_, token := d.SignIn(t, deployment.Employee)
	target, err := url.Parse(strings.TrimSuffix(d.MCPURL, "/mcp"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewUnstartedServer(nil)
	own := strings.Replace(proxy.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	silent := log.New(io.Discard, "", 0) // that the suite goes away is no news
	proxy.Config.Handler = &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: silent, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if r.In.Host != own {
			r.Out.Host = r.In.Host // the suite tries others
		}
		r.Out.Header.Set("Authorization", "Bearer "+token.AccessToken)
	}}
	proxy.Start()
	t.Cleanup(proxy.Close)
	return "http://" + own + "/mcp"
}
