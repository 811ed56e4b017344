// Package config reads the settings of the service from the environment. Each part of the service asks for the group of
// settings it needs, and an error names the variable and what it should hold, so that a start fails with one clear
// line. Settings are read once, at the start, and never from a request.
package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
)

// Env looks a variable up; os.Getenv is one.
type Env func(name string) string

// Error is a setting that is missing or wrong.
type Error struct{ Variable, Problem string }

func (e *Error) Error() string { return e.Variable + " " + e.Problem }

// Server is what every endpoint needs to know of the service itself.
type Server struct {
	// Issuer is the authorization server's identifier (RFC 8414 section 2), without a trailing slash.
	Issuer string
	// Resource is the protected resource. It is the zero value only in the MCP function without MCP_URL, which then
	// takes its own function URL's host from the event.
	Resource oauth.Resource
	// Policy decides about tools.
	Policy policy.Policy
	// NativeSchemes are the private-use redirect schemes without a dot that are allowed.
	NativeSchemes []string
	// Operator is who runs this server, for the consent page; empty: the hosts' names must do.
	Operator string
	// AllowedOrigins are the browser origins, beside the server's own and loopback, that may call /mcp.
	AllowedOrigins []string
}

// defaultNativeSchemes are the schemes of editors that register themselves with the operating system.
const defaultNativeSchemes = "cursor vscode vscode-insiders windsurf"

// LoadServer reads ISSUER, MCP_URL, ALLOWED_EMAILS, TOOL_POLICY, NATIVE_SCHEMES, OPERATOR_NAME and ALLOWED_ORIGINS.
func LoadServer(env Env) (Server, error) {
	s, err := LoadMCP(env)
	if err != nil {
		return Server{}, err
	}
	if s.Resource == (oauth.Resource{}) {
		return Server{}, &Error{"MCP_URL", "is empty; it names the MCP endpoint, such as https://abc.lambda-url.us-east-1.on.aws/mcp"}
	}
	return s, nil
}

// LoadMCP is LoadServer for the MCP function, which may leave MCP_URL out.
func LoadMCP(env Env) (Server, error) {
	issuer, err := parseIssuer(env("ISSUER"))
	if err != nil {
		return Server{}, err
	}
	s := Server{Issuer: issuer}
	if mcpURL := env("MCP_URL"); mcpURL != "" {
		if s.Resource, err = oauth.NewResource(mcpURL); err != nil {
			return Server{}, &Error{"MCP_URL", "is not the URL of the MCP endpoint, such as https://mcp.example.com/mcp"}
		}
	}
	if s.Policy, err = policy.New(env("ALLOWED_EMAILS"), env("TOOL_POLICY")); err != nil {
		return Server{}, err
	}
	schemes := env("NATIVE_SCHEMES")
	if schemes == "" {
		schemes = defaultNativeSchemes
	}
	for _, scheme := range list(schemes) {
		if !oauth.ValidNativeScheme(scheme) {
			return Server{}, &Error{"NATIVE_SCHEMES", fmt.Sprintf("lists %q, which is not a private-use scheme in lower case", scheme)}
		}
		s.NativeSchemes = append(s.NativeSchemes, scheme)
	}
	s.Operator = strings.TrimSpace(env("OPERATOR_NAME"))
	if utf8.RuneCountInString(s.Operator) > 60 || strings.ContainsFunc(s.Operator, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return Server{}, &Error{"OPERATOR_NAME", "must be one line of at most 60 characters, such as My Company"}
	}
	for _, origin := range list(env("ALLOWED_ORIGINS")) {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || origin != u.Scheme+"://"+u.Host || origin != strings.ToLower(origin) {
			return Server{}, &Error{"ALLOWED_ORIGINS", fmt.Sprintf("lists %q; an origin is scheme://host[:port] in lower case, without a path", origin)}
		}
		s.AllowedOrigins = append(s.AllowedOrigins, origin)
	}
	return s, nil
}

// Access is the identity provider, under the names of the original demo.
type Access struct {
	Issuer, AuthorizationURL, TokenURL, JWKSURL string
	ClientID                                    string
	ClientSecret                                string // empty on AWS, where ClientSecretARN stands instead
	ClientSecretARN                             string
	Scopes                                      []string // empty: openid email profile, and offline_access where offered
	Prompt                                      string   // of every sign-in; empty for the provider's own choice
	GroupsClaim                                 string
	RequireEmailVerified                        bool
}

// LoadAccess reads the ACCESS_* variables. ok is false when none of them names a provider, which only `make run` accepts.
func LoadAccess(env Env) (a Access, ok bool, err error) {
	a = Access{
		Issuer:           env("ACCESS_ISSUER"),
		AuthorizationURL: env("ACCESS_AUTHORIZATION_URL"),
		TokenURL:         env("ACCESS_TOKEN_URL"),
		JWKSURL:          env("ACCESS_JWKS_URL"),
		ClientID:         env("ACCESS_CLIENT_ID"),
		ClientSecret:     env("ACCESS_CLIENT_SECRET"),
		ClientSecretARN:  env("ACCESS_CLIENT_SECRET_ARN"),
		Scopes:           list(env("ACCESS_SCOPES")),
		Prompt:           env("ACCESS_PROMPT"),
		GroupsClaim:      env("ACCESS_GROUPS_CLAIM"),
	}
	if a.GroupsClaim == "" {
		a.GroupsClaim = "groups"
	}
	switch strings.ToLower(env("ACCESS_REQUIRE_EMAIL_VERIFIED")) {
	case "", "false", "0", "no":
	case "true", "1", "yes":
		a.RequireEmailVerified = true
	default:
		return Access{}, true, &Error{"ACCESS_REQUIRE_EMAIL_VERIFIED", "must be true or false"}
	}
	for _, prompt := range strings.Fields(a.Prompt) {
		if prompt != "login" && prompt != "consent" && prompt != "select_account" { // none would sign no one in
			return Access{}, true, &Error{"ACCESS_PROMPT", "must be login, consent or select_account"}
		}
	}
	if a.Issuer == "" && a.AuthorizationURL == "" && a.TokenURL == "" && a.JWKSURL == "" && a.ClientID == "" && a.ClientSecret == "" && a.ClientSecretARN == "" {
		return a, false, nil // the rest holds for the demo identity provider too
	}
	if a.ClientID == "" {
		return Access{}, true, &Error{"ACCESS_CLIENT_ID", "is empty; it is the client id that your identity provider gave this server"}
	}
	if a.ClientSecret != "" && a.ClientSecretARN != "" {
		return Access{}, true, &Error{"ACCESS_CLIENT_SECRET", "and ACCESS_CLIENT_SECRET_ARN are both set; keep one"}
	}
	if a.Issuer == "" {
		for _, v := range []struct{ name, value string }{
			{"ACCESS_AUTHORIZATION_URL", a.AuthorizationURL}, {"ACCESS_TOKEN_URL", a.TokenURL}, {"ACCESS_JWKS_URL", a.JWKSURL},
		} {
			if v.value == "" {
				return Access{}, true, &Error{v.name, "is empty; set ACCESS_ISSUER, or all of ACCESS_AUTHORIZATION_URL, ACCESS_TOKEN_URL and ACCESS_JWKS_URL"}
			}
		}
	}
	for _, v := range []struct{ name, value string }{
		{"ACCESS_ISSUER", a.Issuer}, {"ACCESS_AUTHORIZATION_URL", a.AuthorizationURL}, {"ACCESS_TOKEN_URL", a.TokenURL}, {"ACCESS_JWKS_URL", a.JWKSURL},
	} {
		if v.value != "" && !secureURL(v.value) {
			return Access{}, true, &Error{v.name, "must be an https URL (http only for a loopback host)"}
		}
	}
	return a, true, nil
}

// RequireAccess is LoadAccess where a provider must be named.
func RequireAccess(env Env) (Access, error) {
	a, ok, err := LoadAccess(env)
	if err == nil && !ok {
		err = &Error{"ACCESS_ISSUER", "is empty; it is the issuer URL of your identity provider"}
	}
	return a, err
}

// RequireAccessSecret is RequireAccess on AWS, for a function that asks the provider itself and so proves who asks.
func RequireAccessSecret(env Env) (Access, error) {
	a, err := RequireAccess(env)
	if err == nil && a.ClientSecretARN == "" {
		err = &Error{"ACCESS_CLIENT_SECRET_ARN", "is empty; on AWS it names the Secrets Manager secret that holds the client secret"}
	}
	return a, err
}

// Host names the provider to people: the host that they will sign in at.
func (a Access) Host() string {
	address := a.Issuer
	if address == "" {
		address = a.AuthorizationURL
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// list splits at commas and white space.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}

func parseIssuer(s string) (string, error) {
	s = strings.TrimSuffix(s, "/")
	if s == "" {
		return "", &Error{"ISSUER", "is empty; it is this server's own https URL, such as https://login.example.com"}
	}
	u, err := url.Parse(s)
	// RFC 8414 section 2: https, no query, no fragment. We keep to a bare origin, so that well-known paths have one spelling.
	if err != nil || !secureURL(s) || s != u.Scheme+"://"+u.Host {
		return "", &Error{"ISSUER", "must be an https origin without a path, such as https://login.example.com (http only for a loopback host)"}
	}
	return s, nil
}

func secureURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && Loopback(u.Hostname())
}

// Loopback reports whether a host name or address is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
