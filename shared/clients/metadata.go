package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mcp-access-oauth/shared/oauth"
)

// Bounds of client metadata.
const (
	maxNameRunes    = 100
	maxURIBytes     = 512
	maxRedirectURIs = 20
	maxListValues   = 20
	maxValueBytes   = 128
)

// redirectError is a refused redirect URI; every other fault of metadata is a plain error. The endpoints give each its
// code.
type redirectError struct{ error }

func (e redirectError) Unwrap() error { return e.error }

// parseMetadata reads what registered clients, operator's files and documents have in common (RFC 7591 section 2).
// Members that it does not know are ignored, as that section asks; so are software_statement and contacts, which we do
// not rely on. Errors are short sentences for the one who wrote the metadata.
func parseMetadata(o object, nativeSchemes []string) (Client, error) {
	var c Client
	name, err := o.text("client_name", 8*maxNameRunes)
	if err != nil {
		return Client{}, err
	}
	if c.Name = cleanName(name); utf8.RuneCountInString(c.Name) > maxNameRunes {
		return Client{}, fmt.Errorf("client_name is longer than %d characters", maxNameRunes)
	}
	for _, m := range []struct {
		name string
		to   *string
	}{{"client_uri", &c.URI}, {"logo_uri", &c.LogoURI}, {"policy_uri", &c.PolicyURI}, {"tos_uri", &c.TOSURI}} {
		if *m.to, err = webAddress(o, m.name); err != nil {
			return Client{}, err
		}
	}
	if c.RedirectURIs, err = o.list("redirect_uris", maxRedirectURIs, maxURIBytes); err != nil {
		return Client{}, redirectError{err}
	}
	for _, uri := range c.RedirectURIs {
		if _, err := oauth.ClassifyRedirectURI(uri, nativeSchemes); err != nil {
			return Client{}, redirectError{err}
		}
	}
	c.RedirectURIs = normalRedirectURIs(c.RedirectURIs)
	if c.Scope, err = o.text("scope", oauth.MaxScopeBytes); err != nil {
		return Client{}, err
	}
	scopes, err := oauth.ParseScope(c.Scope)
	if err != nil {
		return Client{}, err
	}
	c.Scope = oauth.JoinScope(scopes)
	if c.ApplicationType, err = o.text("application_type", maxValueBytes); err != nil {
		return Client{}, err
	}
	switch c.ApplicationType {
	case "", "web", "native": // OpenID Connect Registration section 2
	default:
		return Client{}, errors.New("application_type must be web or native")
	}
	if c.SigningAlg, err = o.text("token_endpoint_auth_signing_alg", maxValueBytes); err != nil {
		return Client{}, err
	}
	if err := parseGrantTypes(o, &c); err != nil {
		return Client{}, err
	}
	return c, nil
}

// parseGrantTypes reads grant_types and response_types with the defaults of RFC 7591 section 2. Values that this server
// does not have are dropped, which section 3.2.1 allows and the response tells; if nothing is left of a list it is
// refused.
func parseGrantTypes(o object, c *Client) error {
	grants, err := o.list("grant_types", maxListValues, maxValueBytes)
	if err != nil {
		return err
	}
	if !o.has("grant_types") {
		grants = []string{oauth.GrantAuthorizationCode}
	}
	responses, err := o.list("response_types", maxListValues, maxValueBytes)
	if err != nil {
		return err
	}
	for _, known := range []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials} {
		if slices.Contains(grants, known) {
			c.GrantTypes = append(c.GrantTypes, known)
		}
	}
	if len(c.GrantTypes) == 0 {
		return errors.New("grant_types names none that this server has")
	}
	// RFC 7591 section 2.1: the response type code belongs to the grant type authorization_code.
	if !c.Allows(oauth.GrantAuthorizationCode) {
		if slices.Contains(responses, "code") {
			return errors.New("response_types has code, but grant_types lacks authorization_code")
		}
		return nil
	}
	if o.has("response_types") && !slices.Contains(responses, "code") {
		return errors.New("grant_types has authorization_code, but response_types lacks code")
	}
	c.ResponseTypes = []string{"code"}
	if len(c.RedirectURIs) == 0 {
		return redirectError{errors.New("redirect_uris is missing")}
	}
	return nil
}

// dropGrantType takes a grant type away that this kind of client may not have.
func (c *Client) dropGrantType(grantType string) {
	c.GrantTypes = slices.DeleteFunc(c.GrantTypes, func(g string) bool { return g == grantType })
}

// parseKeys reads jwks or jwks_uri for private_key_jwt. secure checks the form of a jwks_uri.
func parseKeys(o object, c *Client, checkURL func(string) error) error {
	if c.SigningAlg != "" && !slices.Contains(oauth.AssertionAlgorithms, c.SigningAlg) {
		return fmt.Errorf("token_endpoint_auth_signing_alg must be one of %s", strings.Join(oauth.AssertionAlgorithms, ", "))
	}
	switch {
	case o.has("jwks") && o.has("jwks_uri"):
		return errors.New("jwks and jwks_uri must not both be present") // RFC 7591 section 2
	case o.has("jwks"):
		if _, err := parseKeySet(o["jwks"]); err != nil {
			return fmt.Errorf("jwks %w", err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, o["jwks"]); err != nil {
			return errors.New("jwks is malformed")
		}
		c.JWKS = compact.Bytes()
	case o.has("jwks_uri"):
		uri, err := o.text("jwks_uri", maxURIBytes)
		if err != nil {
			return err
		}
		if err := checkURL(uri); err != nil {
			return fmt.Errorf("jwks_uri cannot be fetched: %w", err)
		}
		c.JWKSURI = uri
	default:
		return errors.New("private_key_jwt needs jwks or jwks_uri")
	}
	return nil
}

// webAddress is a member that must be an http or https URL, for a person to follow. Empty counts as absent.
func webAddress(o object, name string) (string, error) {
	s, err := o.text(name, maxURIBytes)
	if err != nil || s == "" {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}) {
		return "", fmt.Errorf("%s must be an https URL", name)
	}
	return s, nil
}

// cleanName keeps what a person can see. Control and format characters go, among them those that turn the direction of
// text and those without width, so that a name cannot pretend to be another one on the consent page; white space becomes
// single spaces.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return ' '
		case r == utf8.RuneError || !unicode.IsGraphic(r) || isFiller(r):
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// isFiller reports letters that draw nothing.
func isFiller(r rune) bool {
	switch r {
	case 0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x034F, 0x17B4, 0x17B5:
		return true
	}
	return 0xFE00 <= r && r <= 0xFE0F || 0xE0100 <= r && r <= 0xE01EF // variation selectors
}
