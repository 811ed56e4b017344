package clients

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"mcp-access-oauth/shared/oauth"
)

// assertionType is the client_assertion_type of private_key_jwt (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	maxSecretBytes    = 256
	maxAssertionBytes = 8 << 10
)

// basicChallenge goes with a 401 that answers an Authorization header (RFC 6749 section 5.2).
const basicChallenge = `Basic realm="mcp-access-oauth", charset="UTF-8"`

// Credentials are what a request says of its client. They print without their secret.
type Credentials struct {
	// ClientID is the client's id, not yet proven.
	ClientID string
	// Method is how the client authenticates: one of the oauth.Auth constants.
	Method    string
	secret    string
	assertion string
}

func (c Credentials) String() string { return c.ClientID + " by " + c.Method }

// GoString is String, so that no verb prints the secret.
func (c Credentials) GoString() string { return c.String() }

// ParseCredentials finds the client of a request at the token, revocation or introspection endpoint: HTTP Basic,
// client_secret in the body, a client assertion, or the bare client_id of a public client. More than one of them is
// invalid_request (RFC 6749 sections 2.3 and 5.2). The query is never read (RFC 6749 section 2.3.1).
func ParseCredentials(r *http.Request, form oauth.Params) (Credentials, *oauth.Error) {
	header := r.Header.Values("Authorization")
	secret, assertion := form.Get("client_secret"), form.Get("client_assertion")
	ways := 0
	for _, used := range []bool{len(header) > 0, secret != "", assertion != "" || form.Get("client_assertion_type") != ""} {
		if used {
			ways++
		}
	}
	if ways > 1 || len(header) > 1 {
		return Credentials{}, oauth.NewError(oauth.InvalidRequest, "the client authenticates in more than one way")
	}
	switch {
	case len(header) == 1:
		return basicCredentials(header[0], form)
	case ways == 1 && secret == "":
		return assertionCredentials(assertion, form)
	}
	id := form.Get("client_id")
	if id == "" {
		return Credentials{}, oauth.NewError(oauth.InvalidRequest, "client_id is missing")
	}
	if len(id) > maxURIBytes || len(secret) > maxSecretBytes {
		return Credentials{}, refused("the client's credentials are malformed")
	}
	if secret != "" {
		return Credentials{ClientID: id, Method: oauth.AuthSecretPost, secret: secret}, nil
	}
	return Credentials{ClientID: id, Method: oauth.AuthNone}, nil
}

// basicCredentials reads client_secret_basic: id and secret are form-encoded before they are joined (RFC 6749 section
// 2.3.1).
func basicCredentials(header string, form oauth.Params) (Credentials, *oauth.Error) {
	fail := func(description string) (Credentials, *oauth.Error) {
		return Credentials{}, challenge(refused(description))
	}
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") { // RFC 9110 section 11.1: case-insensitive
		return fail("the Authorization header must use Basic")
	}
	if len(encoded) > 4*maxURIBytes {
		return fail("the Basic credentials are malformed")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return fail("the Basic credentials are malformed")
	}
	rawID, rawSecret, ok := strings.Cut(string(raw), ":")
	if !ok {
		return fail("the Basic credentials are malformed")
	}
	id, errID := url.QueryUnescape(rawID)
	secret, errSecret := url.QueryUnescape(rawSecret)
	if errID != nil || errSecret != nil || id == "" || len(id) > maxURIBytes || len(secret) > maxSecretBytes || !plain(id) || !plain(secret) {
		return fail("the Basic credentials are malformed")
	}
	if named := form.Get("client_id"); named != "" && named != id {
		return Credentials{}, oauth.NewError(oauth.InvalidRequest, "client_id differs from the Basic credentials")
	}
	return Credentials{ClientID: id, Method: oauth.AuthSecretBasic, secret: secret}, nil
}

// assertionCredentials reads private_key_jwt. client_id is optional then, and must agree with the assertion's subject
// where it stands (RFC 7521 section 4.2); nothing is believed before the signature is checked.
func assertionCredentials(assertion string, form oauth.Params) (Credentials, *oauth.Error) {
	if assertion == "" || form.Get("client_assertion_type") == "" {
		return Credentials{}, oauth.NewError(oauth.InvalidRequest, "client_assertion and client_assertion_type belong together")
	}
	if form.Get("client_assertion_type") != assertionType {
		return Credentials{}, refused("client_assertion_type is not supported")
	}
	if len(assertion) > maxAssertionBytes {
		return Credentials{}, refused("client_assertion is malformed")
	}
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 || strings.ContainsAny(assertion, "\r\n") { // which base64 decoders pass over
		return Credentials{}, refused("client_assertion is malformed")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Credentials{}, refused("client_assertion is malformed")
	}
	claims, err := parseObject(payload)
	if err != nil {
		return Credentials{}, refused("client_assertion is malformed")
	}
	var subject string
	if json.Unmarshal(claims["sub"], &subject) != nil || subject == "" || len(subject) > maxURIBytes {
		return Credentials{}, refused("client_assertion names no client")
	}
	if id := form.Get("client_id"); id != "" && id != subject {
		return Credentials{}, refused("client_id differs from client_assertion")
	}
	return Credentials{ClientID: subject, Method: oauth.AuthPrivateKeyJWT, assertion: assertion}, nil
}

func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0xfffd })
}

// refused is 401 invalid_client.
func refused(description string) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: description, Status: http.StatusUnauthorized}
}

// challenge adds WWW-Authenticate. Only a client that used the Authorization header is sent it: browsers would open a
// dialog for it.
func challenge(e *oauth.Error) *oauth.Error {
	e.Challenge = basicChallenge
	return e
}
