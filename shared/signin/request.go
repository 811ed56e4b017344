package signin

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/oauth"
)

// maxStateBytes bounds the client's state, which travels in a cookie of 2 KB.
const maxStateBytes = 768

// terms are what every request is checked against.
type terms struct {
	resource      oauth.Resource
	scopes        []string // all that exist
	nativeSchemes []string
}

// request is an authorization request that has passed every check that can be made before a person signs in.
type request struct {
	client       clients.Client
	redirectURI  string
	redirectKind oauth.RedirectKind
	state        string
	challenge    string   // S256
	scopes       []string // what will be granted
	prompts      []string // values of prompt (OpenID Connect Core section 3.1.2.1)
}

// asksConsent reports that the client wants the person to be asked, whatever was approved before.
func (r request) asksConsent() bool { return slices.Contains(r.prompts, "consent") }

// refusal is why a request is not granted, and where the client may be told.
type refusal struct {
	err *oauth.Error
	// redirectURI is empty until it is known to be the client's; state is the client's own.
	redirectURI, state string
	// direct says that the answer may go to the client without the person's doing (RFC 9700 section 4.11.2).
	direct bool
}

// check decides about an authorization request (RFC 6749 section 4.1.1, OAuth 2.1 section 4.1.1). It is pure: the
// client has been looked up, and nothing is remembered.
func check(p oauth.Params, c clients.Client, t terms) (request, *refusal) {
	r := request{client: c}
	kind, err := checkRedirect(p, c, t.nativeSchemes, &r.redirectURI)
	if err != nil {
		return request{}, &refusal{err: oauth.AsError(err)}
	}
	r.redirectKind = kind
	refuse := func(code, description string) (request, *refusal) {
		e := &refusal{err: oauth.NewError(code, description), redirectURI: r.redirectURI, state: r.state}
		// Anyone can register a web client whose requests are always wrong, and would have an open redirector in us.
		// What the operator listed, and what leads nowhere but to this computer, is harmless.
		e.direct = kind == oauth.RedirectLoopback || c.Kind == clients.PreRegistered
		return request{}, e
	}

	if state := p.Get("state"); len(state) > maxStateBytes {
		return refuse(oauth.InvalidRequest, "state is longer than 768 bytes")
	} else if !utf8.ValidString(state) {
		return refuse(oauth.InvalidRequest, "state is not valid UTF-8")
	} else {
		r.state = state
	}
	switch {
	// OpenID Connect Core section 6: never fetched, never read.
	case p.Get("request") != "":
		return refuse(oauth.RequestNotSupported, "the request parameter is not supported")
	case p.Get("request_uri") != "":
		return refuse(oauth.RequestURINotSupported, "the request_uri parameter is not supported")
	case p.Get("response_type") == "":
		return refuse(oauth.InvalidRequest, "response_type is missing")
	case p.Get("response_type") != "code":
		return refuse(oauth.UnsupportedResponseType, "response_type must be code")
	case p.Get("response_mode") != "" && p.Get("response_mode") != "query":
		return refuse(oauth.UnsupportedResponseType, "response_mode must be query")
	case !c.Allows(oauth.GrantAuthorizationCode):
		return refuse(oauth.UnauthorizedClient, "this client is not registered for the authorization code grant")
	// RFC 7636 section 4.3 takes an omitted method for plain, which we refuse (OAuth 2.1 section 4.1.1).
	case p.Get("code_challenge") == "":
		return refuse(oauth.InvalidRequest, "code_challenge is missing; PKCE is required")
	case p.Get("code_challenge_method") != oauth.MethodS256:
		return refuse(oauth.InvalidRequest, "code_challenge_method must be S256")
	case !oauth.ValidChallenge(p.Get("code_challenge")):
		return refuse(oauth.InvalidRequest, "code_challenge is not an S256 challenge, 43 characters of base64url")
	}
	r.challenge = p.Get("code_challenge")

	if _, err := t.resource.Canonical(p.Resources()); err != nil {
		e := oauth.AsError(err)
		return refuse(e.Code, e.Description)
	}
	asked, err := oauth.ParseScope(p.Get("scope"))
	if err != nil {
		e := oauth.AsError(err)
		return refuse(e.Code, e.Description)
	}
	if r.scopes = oauth.GrantScopes(asked, c.DefaultScopes(), t.scopes, c.ScopeCeiling()); len(r.scopes) == 0 {
		return refuse(oauth.InvalidScope, "this client may have none of the scopes that it asks for")
	}
	// max_age is ignored: it asks about an ID token, which we do not issue.
	r.prompts = strings.Fields(p.Get("prompt"))
	if slices.Contains(r.prompts, "none") {
		if len(r.prompts) > 1 {
			return refuse(oauth.InvalidRequest, "prompt=none cannot be combined with another value")
		}
		return refuse("consent_required", "nobody is signed in here silently; send the person without prompt=none")
	}
	return r, nil
}

// checkRedirect finds the redirect URI, into uri, and its kind. Nothing may be sent there before it has returned.
func checkRedirect(p oauth.Params, c clients.Client, nativeSchemes []string, uri *string) (oauth.RedirectKind, error) {
	given := p.Get("redirect_uri")
	if given == "" {
		// OAuth 2.1 section 4.1.1: optional where the client has exactly one. A loopback URI is registered without its
		// port, so that the client alone knows it.
		if len(c.RedirectURIs) != 1 {
			return 0, oauth.NewError(oauth.InvalidRequest, "redirect_uri is missing")
		}
		if _, loopback := oauth.WithoutLoopbackPort(c.RedirectURIs[0]); loopback {
			return 0, oauth.NewError(oauth.InvalidRequest, "redirect_uri is missing")
		}
		given = c.RedirectURIs[0]
	}
	// Checked anew: what was registered once may be forbidden by now.
	kind, err := oauth.ClassifyRedirectURI(given, nativeSchemes)
	if err != nil {
		return 0, oauth.NewError(oauth.InvalidRequest, oauth.AsError(err).Description)
	}
	if !c.MatchRedirect(given) {
		return 0, oauth.NewError(oauth.InvalidRequest, "redirect_uri is not registered for this client")
	}
	if err := checkRedirectQuery(given); err != nil {
		return 0, err
	}
	*uri = given
	return kind, nil
}

// checkRedirectQuery refuses a redirect URI whose own query would stand beside the answer's parameters, so that a client
// could read the wrong one (RFC 9207 section 2.4 wants iss exactly once).
func checkRedirectQuery(uri string) error {
	_, query, _ := strings.Cut(uri, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return oauth.NewError(oauth.InvalidRequest, "redirect_uri has a malformed query")
	}
	for _, name := range []string{"code", "state", "iss", "error", "error_description", "error_uri"} {
		if values.Has(name) {
			return oauth.NewError(oauth.InvalidRequest, "redirect_uri has the parameter "+name+" in its query, which is the answer's")
		}
	}
	return nil
}
