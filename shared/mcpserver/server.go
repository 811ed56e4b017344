package mcpserver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/state"
	"mcp-access-oauth/shared/tools"
)

// Config is what the endpoint is made of.
type Config struct {
	// Issuer is the authorization server (RFC 8414 section 2).
	Issuer string
	// Resource is this endpoint. Its zero value means that Host tells.
	Resource oauth.Resource
	// Host gives the name under which the platform received a request, never what the client says of it: on AWS
	// requestContext.domainName. It is asked only where Resource is the zero value, and only a Lambda function URL's
	// host is believed.
	Host func(*http.Request) string
	// AllowedOrigins are browser origins, beside our own and loopback, that may call.
	AllowedOrigins []string
	Policy         policy.Policy
	// Authenticate answers for an access token, as grants.Store.Authenticate does.
	Authenticate func(ctx context.Context, token string) (grants.Access, error)
	Tools        []tools.Tool
	// State keeps what tools remember of a person, and carries the legacy transport. Without it tools have no state,
	// and GET /sse is not offered.
	State *state.Store
	Audit *audit.Log
	Now   func() time.Time // nil means time.Now
	// Version is this server's own version, told to clients.
	Version string

	// Options and Extra add to the MCP server what a test needs beside the product's own tools. What Extra registers is
	// Listed, like any tool that declares nothing.
	Options []server.ServerOption
	Extra   func(*server.MCPServer)
}

// Server answers every path of the MCP origin. Make it with New.
type Server struct {
	config    Config
	tools     map[string]policy.Access
	mcp       *server.MCPServer
	transport *server.StreamableHTTPServer
	mailbox   *state.Mailbox
	origins   map[string]bool
	fixed     *site
	derived   atomic.Pointer[site]
	pace      pace
}

const instructions = "Tools of this server act for the person who signed in. " +
	"The resource history://images lists the images that this person has generated."

// New makes the endpoint. It fails on a tool that is declared twice or whose schemas do not compile, and on a
// TOOL_POLICY that names a tool which does not exist.
func New(c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{config: c, tools: map[string]policy.Access{}, origins: map[string]bool{}, pace: legacyPace}
	for _, origin := range c.AllowedOrigins {
		s.origins[origin] = true
	}
	switch {
	case c.Resource != oauth.Resource{}:
		s.fixed = newSite(c.Issuer, c.Resource, c.Policy.Scopes())
	case c.Host == nil:
		return nil, fmt.Errorf("making MCP endpoint: neither its URL nor a way to learn its host is known")
	}

	hooks := &server.Hooks{}
	hooks.AddBeforeCallTool(s.decide)
	hooks.AddOnError(clarify)
	options := []server.ServerOption{
		server.WithTitle("MCP server with a login of its own"),
		server.WithInstructions(instructions),
		server.WithToolCapabilities(false), // the list changes with the person, not with time
		server.WithToolFilter(s.visible),
		server.WithHooks(hooks),
		server.WithCacheHints(0, mcp.CacheScopePrivate), // what is listed differs by person
	}
	if c.State != nil {
		options = append(options, server.WithResourceCapabilities(false, false))
	}
	s.mcp = server.NewMCPServer("mcp-access-oauth", cmp.Or(c.Version, "dev"), append(options, c.Options...)...)
	s.mcp.Use(s.translateErrors)
	for _, tool := range c.Tools {
		if _, twice := s.tools[tool.Name]; twice {
			return nil, fmt.Errorf("making MCP endpoint: two tools are named %q", tool.Name)
		}
		if err := s.register(tool); err != nil {
			return nil, fmt.Errorf("making MCP endpoint: tool %q: %w", tool.Name, err)
		}
	}
	if c.State != nil {
		s.registerHistory()
		s.mailbox = state.NewMailbox(c.State)
	}
	if c.Extra != nil {
		c.Extra(s.mcp)
	}
	for _, name := range c.Policy.Tools() {
		if s.mcp.GetTool(name) == nil {
			return nil, fmt.Errorf("TOOL_POLICY names the tool %q, which does not exist", name)
		}
	}
	s.transport = server.NewStreamableHTTPServer(s.mcp,
		server.WithStateLess(true),
		server.WithDisableStreaming(true),
		server.WithHTTPContextFunc(s.attachSession),
		server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)), // failures to write mean that the client has gone
	)
	return s, nil
}

// ServeHTTP answers the paths of oauth.Endpoints that belong to the mcp function, and a copy of the server metadata
// for clients that look for it here. Where everything is one origin, discovery answers that path instead.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	site, err := s.site(r)
	if err != nil {
		oauth.WriteError(w, err)
		return
	}
	switch path := r.URL.EscapedPath(); path { // to the letter: a path has one spelling
	case oauth.PathMCP, oauth.PathSSE:
		s.guard(w, r, site, path, "GET, POST, DELETE")
	case oauth.PathMessages:
		s.guard(w, r, site, path, "POST")
	default:
		s.serveMetadata(w, r, site, path)
	}
}

// guard judges a request in the order that clients rely on: first whether its origin may speak to us at all, then
// preflights, which carry no token, then the bearer, and only then method and body. So a request without a token is
// told where to get one, whatever else is wrong with it.
func (s *Server) guard(w http.ResponseWriter, r *http.Request, site *site, path, methods string) {
	privateHeaders(w.Header())
	if !s.allowOrigin(w, r, site) {
		return
	}
	if r.Method == http.MethodOptions {
		preflight(w, r, methods)
		return
	}
	access, ok := s.authenticate(w, r, site, path)
	if !ok {
		return
	}
	switch {
	case path == oauth.PathMessages && r.Method == http.MethodPost:
		s.postMessage(w, r, site, &access)
	case path == oauth.PathMessages:
		oauth.MethodNotAllowed(w, "POST, OPTIONS")
	case r.Method == http.MethodPost:
		s.post(w, r, site, &access)
	case path == oauth.PathSSE && r.Method == http.MethodGet && s.mailbox != nil && !modern(r):
		s.stream(w, r, &access)
	case path == oauth.PathSSE && s.mailbox != nil:
		oauth.MethodNotAllowed(w, "GET, POST, OPTIONS")
	default:
		// The stream at GET and the end of a session at DELETE are optional in the versions that have them, and gone in
		// 2026-07-28: nothing is ever sent outside a request, and there are no sessions.
		oauth.MethodNotAllowed(w, "POST, OPTIONS")
	}
}

// modern reports whether a request names protocol version 2026-07-28 or later.
func modern(r *http.Request) bool {
	return mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion))
}

var (
	noStore   = []string{"private, no-store"}
	varyOn    = []string{"Authorization, Origin"}
	noSniff   = []string{"nosniff"}
	noBuffers = []string{"no"}
)

// privateHeaders keep answers, which differ by person, out of every cache. The slices are shared and never changed.
func privateHeaders(h http.Header) {
	h["Cache-Control"] = noStore
	h["Vary"] = varyOn
	h["X-Content-Type-Options"] = noSniff
}

// hasScope reports whether a token has a scope.
func hasScope(access *grants.Access, scope string) bool { return slices.Contains(access.Scopes, scope) }
