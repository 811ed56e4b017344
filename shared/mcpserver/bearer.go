package mcpserver

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
)

// maxToken bounds what is looked at as a token; ours are far shorter.
const maxToken = 4096

type presented int

const (
	noToken presented = iota
	oneToken
	malformed // something that claims to be a bearer token and cannot be one
	ambiguous // more than one way to present a token (RFC 6750 section 2)
)

// bearer finds the access token. It counts in the Authorization header alone (RFC 6750 section 2.1: one header, the
// scheme in any case, one space, b64token); never in the query, the body or a cookie.
func bearer(r *http.Request) (token string, _ presented) {
	headers := r.Header["Authorization"]
	switch {
	case len(headers) == 0:
		return "", noToken
	case len(headers) > 1:
		return "", ambiguous
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		if name, _, _ := strings.Cut(strings.ToLower(scheme), "\t"); name == "bearer" {
			return "", malformed
		}
		return "", noToken
	}
	token = strings.Trim(token, " ") // RFC 9110 section 11.4: 1*SP
	switch {
	case token == "":
		return "", noToken
	case len(token) > maxToken || !b64token(token):
		return "", malformed
	case strings.Contains(r.URL.RawQuery, "access_token=") && r.URL.Query().Has("access_token"):
		return "", ambiguous
	}
	return token, oneToken
}

// b64token is the syntax of a bearer token (RFC 6750 section 2.1).
func b64token(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		c := body[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return body != ""
}

// authenticate answers for the bearer, or refuses the request with a challenge.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request, site *site, path string) (grants.Access, bool) {
	refuse := func(status int, code, description string) (grants.Access, bool) {
		site.challenge(w, path, status, code, description, oauth.ScopeMCP)
		return grants.Access{}, false
	}
	token, what := bearer(r)
	switch what {
	case noToken:
		// RFC 6750 section 3.1: no error code where no authentication was tried.
		return refuse(http.StatusUnauthorized, "", "this MCP server needs an access token; its resource metadata names the authorization server")
	case malformed:
		return refuse(http.StatusUnauthorized, oauth.InvalidToken, "the Authorization header does not hold one bearer token")
	case ambiguous:
		return refuse(http.StatusBadRequest, oauth.InvalidRequest, "present the access token once, in one Authorization header")
	}
	access, err := s.config.Authenticate(r.Context(), token)
	switch {
	case errors.Is(err, grants.ErrInvalidToken):
		return refuse(http.StatusUnauthorized, oauth.InvalidToken, "the access token is unknown, expired or revoked")
	case err != nil:
		audit.Fault(r.Context(), err)
		oauth.WriteError(w, oauth.Unavailable(err))
		return grants.Access{}, false
	case access.Resource != site.resource.String():
		// RFC 8707 section 2 and MCP: a token for another audience opens nothing here.
		return refuse(http.StatusUnauthorized, oauth.InvalidToken, "the access token is for another resource")
	case !s.config.Now().Before(access.Expires):
		return refuse(http.StatusUnauthorized, oauth.InvalidToken, "the access token has expired")
	case !hasScope(&access, oauth.ScopeMCP):
		site.challengeScope(w, path, &access, oauth.ScopeMCP)
		return grants.Access{}, false
	}
	return access, true
}

// challengeScope asks for a token with one more scope. What the token already has is named too, since a client asks for
// exactly what the challenge says and would lose the rest (RFC 6750 section 3.1).
func (site *site) challengeScope(w http.ResponseWriter, path string, access *grants.Access, needed string) {
	scopes := slices.Clone(access.Scopes)
	scopes = slices.DeleteFunc(scopes, func(scope string) bool { return scope == oauth.ScopeOfflineAccess || scope == needed })
	scopes = append(scopes, needed)
	if !slices.Contains(scopes, oauth.ScopeMCP) {
		scopes = append(scopes, oauth.ScopeMCP)
	}
	slices.Sort(scopes)
	site.challenge(w, path, http.StatusForbidden, oauth.InsufficientScope, "the access token lacks the scope "+needed, oauth.JoinScope(scopes))
}

// challenge refuses a request and says how to get a token (RFC 6750 section 3, RFC 9728 section 5.1). AWS renames the
// header WWW-Authenticate on its way, so the body repeats what it says.
func (site *site) challenge(w http.ResponseWriter, path string, status int, code, description, scope string) {
	metadata := site.metadataURL[path]
	var header strings.Builder
	header.WriteString("Bearer ")
	if code != "" {
		header.WriteString(`error="` + code + `", error_description="` + description + `", `)
	}
	header.WriteString(`resource_metadata="` + metadata + `", scope="` + scope + `"`)
	w.Header().Set("WWW-Authenticate", header.String())
	if code == "" {
		code = "unauthorized"
	}
	oauth.WriteJSON(w, status, struct {
		Error            string `json:"error"`
		Description      string `json:"error_description"`
		ResourceMetadata string `json:"resource_metadata"`
		Scope            string `json:"scope"`
	}{code, description, metadata, scope})
}

// untilExpiry is how much longer a token lives.
func (s *Server) untilExpiry(access *grants.Access) time.Duration {
	return access.Expires.Sub(s.config.Now())
}
