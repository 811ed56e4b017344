// Command local is `make run`: every handler of the service in one process on this machine, with an embedded store and,
// when no identity provider is named, a demo one. It is the same handlers that the Lambda functions run; only the
// listener, the table and the keyset's source differ.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"

	"mcp-access-oauth/shared/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A call leaves some kilobytes behind, and next to nothing lives on: at Go's default the collector would run dozens of
	// times a second under load, and shrink the stacks that the next call grows again. This costs 10 MB and saves a
	// third of the time (make bench).
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
	err := loadDotEnv(".env")
	if err == nil {
		err = run(ctx, os.Getenv, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mcp-access-oauth:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. Whatever can be wrong with the settings, the ports and the store ends it before it says
// that it is ready.
func run(ctx context.Context, env config.Env, stdout, stderr io.Writer) error {
	s, err := readSettings(env)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	service, err := newService(s, logger)
	if err != nil {
		return err
	}
	defer service.close()

	sites := make([]*site, 0, 2)
	defer func() {
		for _, site := range sites {
			site.shutdown()
		}
	}()
	failed := make(chan error, 4)
	for _, front := range service.fronts() {
		site, err := listen(front.port, front.handler, logger)
		if err != nil {
			return err
		}
		sites = append(sites, site)
	}
	for _, site := range sites {
		site.serve(failed)
	}
	banner(stdout, s)
	select {
	case <-ctx.Done():
		fmt.Fprintln(stdout, "\nStopping.")
		return nil
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	}
}

// settings are what `make run` can be told.
type settings struct {
	port    int
	dataDir string
	demo    bool // no identity provider is named
	access  config.Access
	server  config.Server
	env     config.Env
	own     config.Env // env, with what this program decides itself
	clients config.Clients
}

const (
	defaultPort    = 8788
	defaultDataDir = "data"
	// demoEmails are on the list when the demo identity provider runs and ALLOWED_EMAILS says nothing.
	demoEmails = "employee1@mycompany.com,teammate1@mycompany.com"
)

func readSettings(env config.Env) (settings, error) {
	s := settings{port: defaultPort, dataDir: defaultDataDir, env: env}
	if text := env("PORT"); text != "" {
		port, err := strconv.Atoi(text)
		if err != nil || port < 1 || port > 65533 {
			return settings{}, &config.Error{Variable: "PORT", Problem: "must be a number from 1 to 65533"}
		}
		s.port = port
	}
	if dir := env("DATA_DIR"); dir != "" {
		s.dataDir = dir
	}
	access, named, err := config.LoadAccess(env)
	if err != nil {
		return settings{}, err
	}
	if access.ClientSecretARN != "" {
		return settings{}, &config.Error{Variable: "ACCESS_CLIENT_SECRET_ARN", Problem: "is for AWS; set ACCESS_CLIENT_SECRET here"}
	}
	s.access, s.demo = access, !named
	s.own = func(name string) string {
		switch value := env(name); {
		case name == "ISSUER":
			return s.origin()
		case name == "MCP_URL":
			return s.origin() + "/mcp"
		case name == "ALLOWED_EMAILS" && value == "" && s.demo:
			return demoEmails
		default:
			return value
		}
	}
	if s.server, err = config.LoadServer(s.own); err != nil {
		return settings{}, err
	}
	s.clients, err = config.LoadClients(s.own)
	return s, err
}

// origin is the one origin of the service: issuer and resource alike.
func (s settings) origin() string { return fmt.Sprintf("http://localhost:%d", s.port) }

// demoIssuer is another site than localhost, as the identity provider is in production: cookies ignore ports.
func (s settings) demoIssuer() string { return fmt.Sprintf("http://127.0.0.1:%d", s.demoPort()) }

func (s settings) demoPort() int { return s.port + 2 }
