package mcpserver

import (
	"net/http"
	"net/url"
	"strings"

	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/oauth"
)

// allowOrigin refuses a browser page of a foreign origin, and lets one of an allowed origin read the answer. MCP asks
// servers to check Origin against DNS rebinding; requests without the header come from no browser page. CORS stands
// before authentication, so that a page can read the challenge, and never allows credentials.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request, site *site) bool {
	origins, present := r.Header["Origin"]
	if !present {
		return true
	}
	if len(origins) != 1 || !s.originAllowed(origins[0], site) {
		oauth.WriteJSON(w, http.StatusForbidden, map[string]any{
			"jsonrpc": "2.0", "id": nil,
			"error": map[string]any{"code": -32600, "message": "this origin may not call the server; the operator can name it in ALLOWED_ORIGINS"},
		})
		return false
	}
	h := w.Header()
	h["Access-Control-Allow-Origin"] = origins
	h["Access-Control-Expose-Headers"] = exposed
	return true
}

var exposed = []string{"WWW-Authenticate, Retry-After, Allow, MCP-Protocol-Version"}

func (s *Server) originAllowed(origin string, site *site) bool {
	return origin == site.resource.Origin() || s.origins[origin] || loopbackOrigin(origin)
}

// loopbackOrigin reports whether an origin is a page served by the person's own machine, such as the Inspector's.
func loopbackOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && origin == u.Scheme+"://"+u.Host && config.Loopback(u.Hostname())
}

// preflight answers a browser's question which methods and headers it may send (Fetch standard, CORS-preflight fetch).
// Headers of MCP are a family (Mcp-Param-* are named by tools), so the answer follows the question.
func preflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	allowed := []string{"Authorization", "Content-Type", "Accept", "MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name", "Last-Event-ID"}
	for name := range strings.SplitSeq(r.Header.Get("Access-Control-Request-Headers"), ",") {
		name = strings.TrimSpace(name)
		if len(name) <= 128 && len(allowed) < 64 && len(name) > 4 && strings.EqualFold(name[:4], "mcp-") && headerName(name) {
			allowed = append(allowed, name)
		}
	}
	h.Set("Access-Control-Allow-Methods", methods+", OPTIONS")
	h.Set("Access-Control-Allow-Headers", strings.Join(allowed, ", "))
	h.Set("Access-Control-Max-Age", "7200")
	h.Set("Vary", "Origin, Access-Control-Request-Headers")
	h.Set("Allow", methods+", OPTIONS")
	w.WriteHeader(http.StatusNoContent)
}

// headerName is the part of RFC 9110's token that header names use in practice.
func headerName(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}
