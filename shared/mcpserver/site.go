package mcpserver

import (
	"encoding/json"
	"net/http"
	"regexp"

	"mcp-access-oauth/shared/oauth"
)

// site is everything that follows from the resource's URL, made once.
type site struct {
	host     string
	resource oauth.Resource
	// metadata holds the resource metadata by its path (RFC 9728 section 3.1): each document names exactly itself.
	metadata map[string][]byte
	// metadataURL is where the document for an endpoint's path stands.
	metadataURL map[string]string
	server      []byte // the copy of the server metadata
	oneOrigin   bool   // the issuer is this origin
}

// resourcePaths are the endpoints and the resource that each belongs to. /messages is a part of /sse.
var resourcePaths = map[string]string{"": "", oauth.PathMCP: oauth.PathMCP, oauth.PathSSE: oauth.PathSSE, oauth.PathMessages: oauth.PathSSE}

func newSite(issuer string, resource oauth.Resource, toolScopes []string) *site {
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err) // our own structs of strings and booleans always encode
		}
		return data
	}
	s := &site{
		resource:    resource,
		metadata:    map[string][]byte{},
		metadataURL: map[string]string{},
		server:      encode(oauth.NewServerMetadata(issuer, resource, toolScopes)),
		oneOrigin:   issuer == resource.Origin(),
	}
	for endpoint, path := range resourcePaths {
		s.metadata[oauth.PathResourceMetadata+path] = encode(oauth.NewResourceMetadata(issuer, resource, path, toolScopes))
		s.metadataURL[endpoint] = resource.Origin() + oauth.PathResourceMetadata + path
	}
	return s
}

// functionURL is the host of a Lambda function URL.
var functionURL = regexp.MustCompile(`^[a-z0-9]{32}\.lambda-url\.[a-z0-9-]+\.on\.aws$`)

// site is the site that a request is for. It is configured, or follows from the function URL's own host, which the
// platform names; a host that a client could choose is never believed.
func (s *Server) site(r *http.Request) (*site, error) {
	if s.fixed != nil {
		return s.fixed, nil
	}
	host := s.config.Host(r)
	if known := s.derived.Load(); known != nil && known.host == host {
		return known, nil
	}
	misdirected := &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusMisdirectedRequest,
		Description: "this server answers at its function URL; behind another name, set MCP_URL"}
	if !functionURL.MatchString(host) {
		return nil, misdirected
	}
	resource, err := oauth.NewResource("https://" + host + oauth.PathMCP)
	if err != nil {
		misdirected.Cause = err
		return nil, misdirected
	}
	found := newSite(s.config.Issuer, resource, s.config.Policy.Scopes())
	found.host = host
	s.derived.Store(found)
	return found, nil
}

// serveMetadata answers the discovery documents of the MCP origin, for any origin and without credentials.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request, site *site, path string) {
	oauth.AllowAnyOrigin("GET, HEAD", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := site.metadata[path]
		if !ok {
			document, ok = site.serverMetadata(w, r, path)
		}
		switch {
		case !ok:
			oauth.WriteError(w, &oauth.Error{Code: "not_found", Description: "there is nothing at this path", Status: http.StatusNotFound})
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			oauth.MethodNotAllowed(w, "GET, HEAD, OPTIONS")
		default:
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Cache-Control", "public, max-age=300")
			_, _ = w.Write(document) // fails only when the client has gone
		}
	})).ServeHTTP(w, r)
}

// serverMetadata is the copy for clients of 2025-03-26, which look for the authorization server at the MCP origin. Later
// clients read the resource metadata and must refuse a document whose issuer is another origin (RFC 8414 section 3.3),
// so that for them there is none.
func (site *site) serverMetadata(w http.ResponseWriter, r *http.Request, path string) ([]byte, bool) {
	switch path {
	case oauth.PathServerMetadata, oauth.PathServerMetadata + oauth.PathMCP, oauth.PathServerMetadata + oauth.PathSSE:
	default:
		return nil, false
	}
	w.Header().Set("Vary", "MCP-Protocol-Version")
	if !site.oneOrigin && r.Header.Get("MCP-Protocol-Version") >= "2025-06-18" {
		return nil, false
	}
	return site.server, true
}
