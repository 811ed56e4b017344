package oauth

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Discovery serves the documents by which clients find their way: the server's metadata (RFC 8414), the same for
// clients that know OpenID Connect Discovery alone, an empty key set, and an answer to whoever opens the bare origin.
// Every other path is a 404 that browser clients can read. The documents are encoded once.
type Discovery struct {
	server, openID, keys, root document
}

type document struct {
	contentType string
	body        []byte
}

// NewDiscovery prepares the documents of the authorization server at issuer.
func NewDiscovery(issuer string, resource Resource, toolScopes []string) *Discovery {
	metadata := NewServerMetadata(issuer, resource, toolScopes)
	encode := func(v any) document {
		body, err := json.Marshal(v)
		if err != nil {
			panic(err) // our own structs of strings and booleans always encode
		}
		return document{"application/json", body}
	}
	return &Discovery{
		server: encode(metadata),
		openID: encode(metadata.ForOpenIDDiscovery()),
		keys:   encode(map[string]any{"keys": []any{}}),
		root: document{"text/plain; charset=utf-8", fmt.Appendf(nil,
			"This is the login server of a remote MCP server.\nGive your MCP client this URL: %s\n", resource)},
	}
}

func (d *Discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	AllowAnyOrigin("GET, HEAD", http.HandlerFunc(d.serve)).ServeHTTP(w, r)
}

func (d *Discovery) serve(w http.ResponseWriter, r *http.Request) {
	var found document
	switch r.URL.EscapedPath() { // to the letter: no second spelling
	case PathServerMetadata, PathServerMetadata + PathMCP, PathServerMetadata + PathSSE:
		// Some clients append the resource's path as if the issuer had one (RFC 8414 section 3.1); the issuer in the
		// document tells them what it is.
		found = d.server
	case PathOpenIDMetadata:
		found = d.openID
	case PathJWKS:
		found = d.keys
	case "/":
		found = d.root
	default:
		WriteError(w, &Error{Code: "not_found", Description: "there is nothing at this path", Status: http.StatusNotFound})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		MethodNotAllowed(w, "GET, HEAD, OPTIONS")
		return
	}
	h := w.Header()
	h.Set("Content-Type", found.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=300")
	// The server writes no body in answer to HEAD; writing is how it learns the length.
	_, _ = w.Write(found.body)
}

// MethodNotAllowed answers 405 with the methods that are allowed (RFC 9110 section 15.5.6).
func MethodNotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	WriteError(w, &Error{Code: InvalidRequest, Description: "this path answers " + allow, Status: http.StatusMethodNotAllowed})
}
