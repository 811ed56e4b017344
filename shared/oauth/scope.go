package oauth

import (
	"slices"
	"strings"
)

// The scopes that exist everywhere. An operator may add one per tool by configuration.
const (
	// ScopeMCP is the default and suffices for every tool that asks for no scope of its own.
	ScopeMCP = "mcp"
	// ScopeOfflineAccess is echoed when asked for. Refresh tokens are issued by grant type, asked or not.
	ScopeOfflineAccess = "offline_access"
)

// MaxScopeBytes bounds a scope parameter.
const MaxScopeBytes = 1024

// ParseScope splits a scope parameter (RFC 6749 section 3.3) into its distinct tokens, in order. An empty parameter has
// none. Characters outside scope-token (%x21 / %x23-5B / %x5D-7E), and a parameter over MaxScopeBytes, are
// invalid_scope.
func ParseScope(s string) ([]string, error) {
	if len(s) > MaxScopeBytes {
		return nil, NewError(InvalidScope, "scope is longer than 1024 bytes")
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return nil, NewError(InvalidScope, "scope holds a character that RFC 6749 section 3.3 does not allow")
		}
	}
	var scopes []string
	for token := range strings.SplitSeq(s, " ") {
		if token != "" && !slices.Contains(scopes, token) {
			scopes = append(scopes, token)
		}
	}
	return scopes, nil
}

// JoinScope is the parameter form of scopes.
func JoinScope(scopes []string) string { return strings.Join(scopes, " ") }

// GrantScopes decides what an authorization request is granted: the requested scopes, or the client's default where it
// asks for none, without those that are not supported or that exceed ceiling (nil: no ceiling); where nothing is left,
// the default scope, if the ceiling allows it. An empty answer means that this client may have no scope at all.
func GrantScopes(requested, clientDefault, supported, ceiling []string) []string {
	allowed := func(scope string) bool {
		return slices.Contains(supported, scope) && (ceiling == nil || slices.Contains(ceiling, scope))
	}
	if len(requested) == 0 {
		requested = clientDefault
	}
	var granted []string
	for _, scope := range requested {
		if allowed(scope) && !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	// offline_access alone opens nothing, so it is no answer to "none left".
	if !slices.ContainsFunc(granted, func(s string) bool { return s != ScopeOfflineAccess }) && allowed(ScopeMCP) {
		granted = append(granted, ScopeMCP)
	}
	return granted
}

// NarrowScopes answers the scope parameter of a refresh (RFC 6749 section 6): requested must be a subset of granted;
// none requested means all granted.
func NarrowScopes(requested, granted []string) ([]string, error) {
	if len(requested) == 0 {
		return granted, nil
	}
	for _, scope := range requested {
		if !slices.Contains(granted, scope) {
			return nil, NewError(InvalidScope, "scope is wider than what was granted")
		}
	}
	return requested, nil
}
