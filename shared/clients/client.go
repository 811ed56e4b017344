package clients

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"mcp-access-oauth/shared/oauth"
)

// Kind says where a client's metadata comes from, and so how far it is trusted.
type Kind int

// The kinds of client.
const (
	// Registered clients registered themselves (RFC 7591); anyone can.
	Registered Kind = iota + 1
	// PreRegistered clients were named by the operator.
	PreRegistered
	// Document clients are named by the URL of their metadata document, which vouches for nothing but that domain.
	Document
)

func (k Kind) String() string {
	switch k {
	case Registered:
		return "registered"
	case PreRegistered:
		return "pre-registered"
	case Document:
		return "document"
	}
	return "unknown"
}

// Client is one client and its metadata (RFC 7591 section 2). The JSON form is the stored record; the id is the key.
type Client struct {
	ID        string `json:"-"`
	Kind      Kind   `json:"kind"`
	Name      string `json:"client_name,omitempty"`
	URI       string `json:"client_uri,omitempty"`
	LogoURI   string `json:"logo_uri,omitempty"` // never fetched and never shown as an image
	PolicyURI string `json:"policy_uri,omitempty"`
	TOSURI    string `json:"tos_uri,omitempty"`
	// RedirectURIs stand sorted and without loopback ports: any port matches.
	RedirectURIs  []string `json:"redirect_uris,omitempty"`
	GrantTypes    []string `json:"grant_types,omitempty"`
	ResponseTypes []string `json:"response_types,omitempty"`
	// Scope is the default of a registered or document client, and the ceiling of a pre-registered one.
	Scope string `json:"scope,omitempty"`
	// AuthMethod is the client's way to authenticate, or the one it prefers.
	AuthMethod string `json:"token_endpoint_auth_method,omitempty"`
	// AuthMethods are all ways that this client may use, where a document offers more than one (OpenID RP Metadata
	// Choices); otherwise it is empty and AuthMethod is the only one.
	AuthMethods []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	// SigningAlg, when set, is the only algorithm of its assertions.
	SigningAlg string `json:"token_endpoint_auth_signing_alg,omitempty"`
	// SecretHash is the SHA-256 of the secret. Secrets are ours and carry 256 bits, so that no slow hash is needed.
	SecretHash      []byte          `json:"secret_sha256,omitempty"`
	JWKS            json.RawMessage `json:"jwks,omitempty"`
	JWKSURI         string          `json:"jwks_uri,omitempty"`
	ApplicationType string          `json:"application_type,omitempty"`
	IssuedAt        time.Time       `json:"issued_at,omitzero"`
	SecretExpiresAt time.Time       `json:"secret_expires_at,omitzero"` // zero: never
	// Fetched and FreshUntil belong to Document clients.
	Fetched    time.Time `json:"fetched,omitzero"`
	FreshUntil time.Time `json:"fresh_until,omitzero"`

	// stored says what the table holds of this client; it is zero for one that does not come from there.
	stored stored
}

// stored identifies the table's item of a client.
type stored struct {
	version     string
	expires     time.Time
	fingerprint string // of a Document client alone
}

// Methods are the authentication methods that the client may use.
func (c Client) Methods() []string {
	if len(c.AuthMethods) > 0 {
		return c.AuthMethods
	}
	return []string{c.AuthMethod}
}

// Public reports whether the client can do without authentication. A document client that offers several methods may
// be public and still have authenticated this time; Credentials.Method tells.
func (c Client) Public() bool { return slices.Contains(c.Methods(), oauth.AuthNone) }

// Allows reports whether the client may use a grant type.
func (c Client) Allows(grantType string) bool { return slices.Contains(c.GrantTypes, grantType) }

// MatchRedirect reports whether the client may be answered at uri.
func (c Client) MatchRedirect(uri string) bool { return oauth.MatchRedirectURI(c.RedirectURIs, uri) }

// Domain is the host that vouches for a Document client, and empty for all others.
func (c Client) Domain() string {
	if c.Kind != Document {
		return ""
	}
	u, err := url.Parse(c.ID)
	if err != nil {
		return ""
	}
	return u.Host
}

// DefaultScopes are granted when a request names none.
func (c Client) DefaultScopes() []string {
	scopes, err := oauth.ParseScope(c.Scope)
	if err != nil { // checked when it was stored
		return nil
	}
	return scopes
}

// ScopeCeiling are the scopes that bound what the client may be granted; nil means no bound of its own.
func (c Client) ScopeCeiling() []string {
	if c.Kind != PreRegistered {
		return nil
	}
	return append([]string{}, c.DefaultScopes()...)
}

// Fingerprint stands for everything that a person approves when approving this client. Another name, website, redirect
// URI or key location is another fingerprint, so that a remembered approval no longer applies; a rotated key inside the
// same key set is not.
func (c Client) Fingerprint() string {
	document, err := json.Marshal([]any{
		"client/1", c.ID, c.Kind, c.Name, c.URI, c.PolicyURI, c.TOSURI, normalRedirectURIs(c.RedirectURIs), c.Methods(), c.JWKSURI,
	})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	sum := sha256.Sum256(document)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// normalRedirectURIs sorts redirect URIs, each once, and removes loopback ports, which vary from run to run of a native
// client (RFC 8252 section 7.3).
func normalRedirectURIs(uris []string) []string {
	out := make([]string, len(uris))
	for i, uri := range uris {
		out[i] = uri
		if portless, ok := oauth.WithoutLoopbackPort(uri); ok {
			out[i] = portless
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
