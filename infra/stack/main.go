// Command stack is `make stack`: the functions as they are built for AWS, each as its own process or several, under a
// Lambda Runtime API, routed and configured as template.yaml says, with DynamoDB, KMS and Secrets Manager beside them.
// The HTTP API stands at PORT, the function URL at PORT+1 and the demo identity provider at PORT+2. It needs no Docker
// and no account, and behaves as AWS does where it hurts: one request at a time per process, which stands still between
// two, cold starts, limits of headers, bodies and time, and WWW-Authenticate renamed.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"mcp-access-oauth/shared/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

// settings are the environment of `make stack`.
type settings struct {
	port      int    // PORT
	processes int    // PROCESSES: the most per function
	dist      string // DIST: the built functions
	template  string // TEMPLATE
	data      string // DATA_DIR; empty keeps nothing
	// parameters are those of the template that the environment sets.
	parameters map[string]string
	// clientSecret is ACCESS_CLIENT_SECRET, what Secrets Manager holds; the demo identity provider knows one of its own.
	clientSecret string
	// loopbackDocuments is ALLOW_LOOPBACK_DOCUMENTS, which no deployment has.
	loopbackDocuments string
	// bedrock is AWS_ENDPOINT_URL_BEDROCK_RUNTIME, a test's stand-in for the image models in the place of our own.
	bedrock *url.URL
}

// parameters of the template by the names that their values have for `make run`, and in the functions' environments.
var parameters = map[string]string{
	"ALLOWED_EMAILS": "AllowedEmails", "TOOL_POLICY": "ToolPolicy", "ALLOWED_ORIGINS": "AllowedOrigins",
	"NATIVE_SCHEMES": "NativeSchemes", "OPERATOR_NAME": "OperatorName", "CLIENTS": "Clients", "REGISTRATIONS_PER_MINUTE": "RegistrationsPerMinute",
	"ACCESS_SCOPES": "AccessScopes", "ACCESS_ISSUER": "AccessIssuer", "ACCESS_CLIENT_ID": "AccessClientId",
	"IMAGE_MODEL": "ImageModel", "IMAGE_REGION": "ImageRegion", // bedrock is a stand-in here too
}

func readSettings(env func(string) string) (settings, error) {
	s := settings{port: 8788, processes: 10, data: env("DATA_DIR"),
		dist: cmp.Or(env("DIST"), filepath.Join("dist", runtime.GOARCH)), template: cmp.Or(env("TEMPLATE"), "template.yaml")}
	for _, number := range []struct {
		name      string
		value     *int
		min, most int
	}{{"PORT", &s.port, 1, 65533}, {"PROCESSES", &s.processes, 1, 1000}} {
		text := env(number.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < number.min || n > number.most {
			return settings{}, fmt.Errorf("%s must be a number from %d to %d", number.name, number.min, number.most)
		}
		*number.value = n
	}
	s.clientSecret, s.loopbackDocuments = env("ACCESS_CLIENT_SECRET"), env("ALLOW_LOOPBACK_DOCUMENTS")
	s.parameters = map[string]string{}
	for variable, parameter := range parameters {
		if value := env(variable); value != "" {
			s.parameters[parameter] = value
		}
	}
	if endpoint := env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"); endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || !config.Loopback(u.Hostname()) { // the functions' keys here are no keys of AWS
			return settings{}, errors.New("AWS_ENDPOINT_URL_BEDROCK_RUNTIME must be the URL of a stand-in on this machine")
		}
		s.bedrock = u
	}
	dist, err := filepath.Abs(s.dist)
	s.dist = dist
	return s, err
}

func run(ctx context.Context, env func(string) string, stdout, stderr io.Writer) error {
	s, err := readSettings(env)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	fmt.Fprintln(stdout, "Starting DynamoDB, KMS, Secrets Manager and the demo identity provider ...")
	cloud, err := startCloud(ctx, s, stderr)
	if err != nil {
		return err
	}
	defer cloud.close()

	t, err := loadTemplate(s.template, cloud.parameters, cloud.attributes)
	if err != nil {
		return err
	}
	pools, err := newPools(t, s, cloud, stderr, log)
	if err != nil {
		return err
	}
	defer func() {
		for _, p := range pools {
			p.close()
		}
	}()
	routes, err := t.routes()
	if err != nil {
		return err
	}
	byRoute := map[string]*pool{}
	for route, function := range routes {
		byRoute[route] = pools[function]
	}

	failed := make(chan error, 2)
	for i, handler := range []http.Handler{httpAPI(byRoute, apiTimeLimit), functionURL(pools["McpFunction"])} {
		server, err := serve(s.port+i, handler, failed)
		if err != nil {
			return err
		}
		defer server.Close()
	}
	banner(stdout, s, len(pools))
	select {
	case <-ctx.Done():
		fmt.Fprintln(stdout, "\nStopping.")
		return nil
	case err := <-failed:
		return err
	}
}

// newPools makes a pool per function, by logical id.
func newPools(t *template, s settings, cloud *cloud, output io.Writer, log *slog.Logger) (map[string]*pool, error) {
	functions, err := t.functions()
	if err != nil {
		return nil, err
	}
	granted, err := t.policies(functions)
	if err != nil {
		return nil, fmt.Errorf("reading the roles of %s: %w", s.template, err)
	}
	cloud.permissions.granted.Store(granted)
	pools := map[string]*pool{}
	for _, f := range functions {
		bootstrap := filepath.Join(s.dist, f.folder, "bootstrap")
		if _, err := os.Stat(bootstrap); err != nil {
			return nil, fmt.Errorf("%s is not built; run `make build` first: %w", f.folder, err)
		}
		pools[f.logicalID] = newPool(f, bootstrap, cloud.environment(f), s.processes, output, log)
	}
	return pools, nil
}

// serve listens on 127.0.0.1 and, where this machine has it, on ::1.
func serve(port int, handler http.Handler, failed chan<- error) (*http.Server, error) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	for _, host := range []string{"127.0.0.1", "::1"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			_ = server.Close()
			return nil, fmt.Errorf("listening on port %d: %w; choose another with PORT=", port, err)
		}
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	return server, nil
}

func banner(w io.Writer, s settings, functions int) {
	fmt.Fprintf(w, `
mcp-access-oauth is ready: %d functions, up to %d processes each, as template.yaml routes them

  MCP URL             http://localhost:%d/mcp
  Login (HTTP API)    http://localhost:%d
  Demo sign-in        http://127.0.0.1:%d

  Try it              npx mcp-remote http://localhost:%d/mcp

Ctrl-C ends it.
`, functions, s.processes, s.port+1, s.port, s.port+2, s.port+1)
}
