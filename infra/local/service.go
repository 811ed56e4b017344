package main

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"mcp-access-oauth/infra/local/demo"
	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/seal/local"
	"mcp-access-oauth/shared/signin"
	"mcp-access-oauth/shared/state"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/tokens"
	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/shared/tools/bedrock"
	"mcp-access-oauth/shared/upstream"
)

// service is the whole product in one process.
type service struct {
	settings settings
	store    *bolt.Table
	handler  http.Handler
	demo     http.Handler // nil with a real identity provider
}

// newService opens the store and builds every handler, as functions/*/main.go do one by one.
func newService(s settings, logger *slog.Logger) (_ *service, err error) {
	if err := os.MkdirAll(s.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making DATA_DIR: %w", err)
	}
	store, err := bolt.Open(filepath.Join(s.dataDir, "store.db"), time.Now)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = store.Close()
		}
	}()
	v := &service{settings: s, store: store}
	keys, err := keyset(s)
	if err != nil {
		return nil, err
	}
	if s.demo {
		if err := v.startDemo(); err != nil {
			return nil, err
		}
	}
	functions, err := v.functions(seal.New(keys, time.Now), audit.New(logger))
	if err != nil {
		return nil, err
	}
	requestID := func(*http.Request) string { return uuid.NewString() }
	v.handler = onlyLoopback(recovered(logger, audit.Requests(logger, time.Now, requestID, routes(functions))))
	return v, nil
}

func (v *service) close() { _ = v.store.Close() }

// front is one address of this process.
type front struct {
	port    int
	handler http.Handler
}

func (v *service) fronts() []front {
	fronts := []front{{v.settings.port, v.handler}}
	if v.demo != nil {
		fronts = append(fronts, front{v.settings.demoPort(), v.demo})
	}
	return fronts
}

// functions builds the handlers by the names of the functions that run them on AWS.
func (v *service) functions(sealer *seal.Sealer, log *audit.Log) (map[string]http.Handler, error) {
	server := v.settings.server
	provider, err := upstream.FromSettings(v.settings.access, server.Issuer+oauth.PathCallback, upstream.StaticSecret(v.settings.access.ClientSecret))
	if err != nil {
		return nil, err
	}
	known, keySets, err := clients.FromEnv(v.settings.own, v.store, server.NativeSchemes, time.Now)
	if err != nil {
		return nil, err
	}
	// A tenth of a second is nothing to someone who signs in, and long for a client that sends its code twice.
	granted := &grants.Store{Table: v.store, Now: time.Now, Audit: log, Settle: 100 * time.Millisecond}
	signIn := &signin.Handler{
		Issuer: server.Issuer, Resource: server.Resource, NativeSchemes: server.NativeSchemes, Policy: server.Policy,
		Operator: server.Operator, ProviderHost: v.settings.access.Host(), Clients: known, Sealer: sealer, Upstream: provider, Grants: granted, Audit: log, Now: time.Now,
	}
	tokenEndpoints := http.NewServeMux()
	(&tokens.Handler{
		Grants: granted, Clients: known, Upstream: provider.Refresh, Issuer: server.Issuer, Resource: server.Resource,
		Authenticator: &clients.Authenticator{Table: v.store, Issuer: server.Issuer, KeySets: keySets, Now: time.Now},
		ToolScopes:    server.Policy.Scopes(), Limiter: tokens.NewLimiter(), Now: time.Now,
	}).Mount(tokenEndpoints)
	painter, err := bedrock.FromEnv(v.settings.own)
	if err != nil {
		return nil, err
	}
	mcp, err := mcpserver.New(mcpserver.Config{
		Issuer: server.Issuer, Resource: server.Resource, AllowedOrigins: server.AllowedOrigins, Policy: server.Policy,
		Authenticate: granted.Authenticate, Tools: tools.All(tools.Deps{Painter: painter, Now: time.Now}), State: &state.Store{Table: v.store, Now: time.Now}, Audit: log, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	return map[string]http.Handler{
		"discovery": oauth.NewDiscovery(server.Issuer, server.Resource, server.Policy.Scopes()),
		"register": clients.NewRegistrationHandler(&clients.Registrar{
			Table: v.store, Now: time.Now, Rand: rand.Reader, NativeSchemes: server.NativeSchemes,
			Scopes: oauth.SupportedScopes(server.Policy.Scopes()), CheckURL: clients.NewFetcher(&safehttp.Client{AllowLoopback: v.settings.clients.AllowLoopbackDocuments}).CheckURL, Audit: log,
			Limit: &clients.Limiter{Table: v.store, Now: time.Now, Rand: rand.Reader, PerMinute: v.settings.clients.RegistrationsPerMinute},
		}),
		"authorize": signIn.Authorize(),
		"callback":  signIn.Callback(),
		"token":     tokenEndpoints,
		"mcp":       mcp,
	}, nil
}

// startDemo makes the demo identity provider the one that people sign in with.
func (v *service) startDemo() error {
	secret := uuid.NewString() // both sides live in this process
	v.settings.access.Issuer = v.settings.demoIssuer()
	v.settings.access.ClientID = "mcp-access-oauth"
	v.settings.access.ClientSecret = secret
	var err error
	v.demo, err = demo.New(demo.Config{
		Issuer: v.settings.demoIssuer(), DataDir: v.settings.dataDir, ClientID: v.settings.access.ClientID, ClientSecret: secret,
		RedirectURIs: []string{v.settings.origin() + oauth.PathCallback},
	})
	return err
}

// keyset is the source of the keys that seal cookies.
func keyset(s settings) (seal.Source, error) {
	if secret := s.env(local.Variable); secret != "" {
		return local.FromSecret(secret)
	}
	return local.Open(s.dataDir)
}
