package oauth

// Front is the address that a path stands at on AWS. Locally both fronts are one origin.
type Front int

const (
	// Login is the HTTP API: the issuer's origin.
	Login Front = iota
	// MCP is the function URL with response streaming: the resource's origin.
	MCP
)

// Endpoint is one path of the service and the function that answers it.
type Endpoint struct {
	Path     string
	Front    Front
	Function string // the folder under functions/
}

// Endpoints is the map of the whole service. infra/local mounts it in one process, template.yaml routes it, and a test
// holds the two against each other. On the login front every other path goes to discovery, which answers 404; on the
// MCP front there is only one function.
var Endpoints = []Endpoint{
	{PathServerMetadata, Login, "discovery"},
	{PathOpenIDMetadata, Login, "discovery"},
	{PathJWKS, Login, "discovery"},
	{PathRegister, Login, "register"},
	{PathAuthorize, Login, "authorize"},
	{PathCallback, Login, "callback"},
	{PathToken, Login, "token"},
	{PathRevoke, Login, "token"},
	{PathIntrospect, Login, "token"},
	{PathMCP, MCP, "mcp"},
	{PathSSE, MCP, "mcp"},
	{PathMessages, MCP, "mcp"},
	{PathResourceMetadata, MCP, "mcp"},
	{PathResourceMetadata + PathMCP, MCP, "mcp"},
	{PathResourceMetadata + PathSSE, MCP, "mcp"},
}
