package oauth

import (
	"net/url"
	"strings"
)

// Paths of the MCP endpoint. /mcp and /sse are two spellings of one resource.
const (
	PathMCP = "/mcp"
	PathSSE = "/sse"
	// PathMessages takes the posts of the legacy HTTP+SSE transport (MCP 2024-11-05).
	PathMessages = "/messages"
)

// Resource is the one protected resource that this server issues tokens for, named by its MCP URL.
type Resource struct {
	origin string // scheme://host[:port], lower case, without a default port
	mcpURL string
}

// NewResource takes the MCP URL, such as https://abc.lambda-url.us-east-1.on.aws/mcp. The bare origin, with or without
// a slash, names it too, since that is what a function URL's attribute gives.
func NewResource(mcpURL string) (Resource, error) {
	origin, path, ok := splitResource(mcpURL)
	if !ok || path != "" && path != PathMCP {
		return Resource{}, NewError(InvalidTarget, "the MCP URL must be an http or https URL whose path is "+PathMCP)
	}
	return Resource{origin: origin, mcpURL: origin + PathMCP}, nil
}

// String is the canonical audience: the MCP URL.
func (r Resource) String() string { return r.mcpURL }

// Origin is scheme://host[:port].
func (r Resource) Origin() string { return r.origin }

// Canonical answers the resource parameters of a request (RFC 8707 section 2) with the canonical audience. None means
// the default. The origin, /mcp and /sse, with or without a trailing slash and in any case of scheme and host, are the
// same resource; anything else, and more than one, is invalid_target.
func (r Resource) Canonical(values []string) (string, error) {
	switch len(values) {
	case 0:
		return r.mcpURL, nil
	case 1:
	default:
		return "", NewError(InvalidTarget, "more than one resource was named")
	}
	if values[0] == "" { // RFC 6749 section 3.1: a parameter without a value counts as omitted
		return r.mcpURL, nil
	}
	origin, path, ok := splitResource(values[0])
	if !ok || origin != r.origin || path != "" && path != PathMCP && path != PathSSE {
		return "", NewError(InvalidTarget, "resource is not "+r.mcpURL)
	}
	return r.mcpURL, nil
}

// splitResource normalises scheme and host (RFC 3986 section 6.2.2.1), a default port and one trailing slash.
func splitResource(s string) (origin, path string, ok bool) {
	if strings.ContainsAny(s, "#?") { // RFC 8707 section 2: no fragment; a query would name something else
		return "", "", false
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Opaque != "" || u.Host == "" || u.RawPath != "" || !hasPlainHost(u) {
		return "", "", false
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return "", "", false
	}
	if strings.Contains(s, "%") { // an encoded character would be another spelling to compare
		return "", "", false
	}
	return scheme + "://" + host, strings.TrimSuffix(u.Path, "/"), true
}
