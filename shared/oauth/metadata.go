package oauth

import "slices"

// Paths of the authorization server's endpoints, below the issuer.
const (
	PathAuthorize  = "/authorize"
	PathCallback   = "/callback"
	PathToken      = "/token"
	PathRevoke     = "/revoke"
	PathIntrospect = "/introspect"
	PathRegister   = "/register"
	PathJWKS       = "/jwks.json"

	PathServerMetadata   = "/.well-known/oauth-authorization-server"
	PathOpenIDMetadata   = "/.well-known/openid-configuration"
	PathResourceMetadata = "/.well-known/oauth-protected-resource"
)

// Grant types that the token endpoint knows.
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
)

// Client authentication methods at the token endpoint.
const (
	AuthNone          = "none"
	AuthSecretBasic   = "client_secret_basic"
	AuthSecretPost    = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// AssertionAlgorithms are the algorithms of client assertions: asymmetric ones only.
var AssertionAlgorithms = []string{"RS256", "ES256", "EdDSA"}

// ServerMetadata is the document of RFC 8414 section 2. The three members of OpenID Connect Discovery section 3 that
// RFC 8414 lacks are sent at openid-configuration alone.
type ServerMetadata struct {
	Issuer                                             string   `json:"issuer"`
	AuthorizationEndpoint                              string   `json:"authorization_endpoint"`
	TokenEndpoint                                      string   `json:"token_endpoint"`
	RegistrationEndpoint                               string   `json:"registration_endpoint"`
	RevocationEndpoint                                 string   `json:"revocation_endpoint"`
	IntrospectionEndpoint                              string   `json:"introspection_endpoint"`
	ScopesSupported                                    []string `json:"scopes_supported"`
	ResponseTypesSupported                             []string `json:"response_types_supported"`
	ResponseModesSupported                             []string `json:"response_modes_supported"`
	GrantTypesSupported                                []string `json:"grant_types_supported"`
	CodeChallengeMethodsSupported                      []string `json:"code_challenge_methods_supported"`
	TokenEndpointAuthMethodsSupported                  []string `json:"token_endpoint_auth_methods_supported"`
	TokenEndpointAuthSigningAlgValuesSupported         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationEndpointAuthMethodsSupported             []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationEndpointAuthSigningAlgValuesSupported    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionEndpointAuthMethodsSupported          []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionEndpointAuthSigningAlgValuesSupported []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	AuthorizationResponseIssParameterSupported         bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 section 3
	ClientIDMetadataDocumentSupported                  bool     `json:"client_id_metadata_document_supported"`
	ProtectedResources                                 []string `json:"protected_resources"` // RFC 9728 section 4
	ServiceDocumentation                               string   `json:"service_documentation,omitempty"`

	JWKSURI                          string   `json:"jwks_uri,omitempty"`
	SubjectTypesSupported            []string `json:"subject_types_supported,omitempty"`
	IDTokenSigningAlgValuesSupported []string `json:"id_token_signing_alg_values_supported,omitempty"`
}

// NewServerMetadata describes the authorization server at issuer. toolScopes are the configured per-tool scopes.
func NewServerMetadata(issuer string, resource Resource, toolScopes []string) ServerMetadata {
	confidential := []string{AuthSecretBasic, AuthSecretPost, AuthPrivateKeyJWT}
	all := append([]string{AuthNone}, confidential...)
	return ServerMetadata{
		Issuer:                                             issuer,
		AuthorizationEndpoint:                              issuer + PathAuthorize,
		TokenEndpoint:                                      issuer + PathToken,
		RegistrationEndpoint:                               issuer + PathRegister,
		RevocationEndpoint:                                 issuer + PathRevoke,
		IntrospectionEndpoint:                              issuer + PathIntrospect,
		ScopesSupported:                                    SupportedScopes(toolScopes),
		ResponseTypesSupported:                             []string{"code"},
		ResponseModesSupported:                             []string{"query"},
		GrantTypesSupported:                                []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials},
		CodeChallengeMethodsSupported:                      []string{MethodS256},
		TokenEndpointAuthMethodsSupported:                  all,
		TokenEndpointAuthSigningAlgValuesSupported:         AssertionAlgorithms,
		RevocationEndpointAuthMethodsSupported:             all,
		RevocationEndpointAuthSigningAlgValuesSupported:    AssertionAlgorithms,
		IntrospectionEndpointAuthMethodsSupported:          confidential,
		IntrospectionEndpointAuthSigningAlgValuesSupported: AssertionAlgorithms,
		AuthorizationResponseIssParameterSupported:         true,
		ClientIDMetadataDocumentSupported:                  true,
		ProtectedResources:                                 []string{resource.String()},
	}
}

// ForOpenIDDiscovery adds the members that OpenID Connect Discovery section 3 requires. We issue no ID tokens, so the
// key set is empty; some clients read only this document.
func (m ServerMetadata) ForOpenIDDiscovery() ServerMetadata {
	m.JWKSURI = m.Issuer + PathJWKS
	m.SubjectTypesSupported = []string{"public"}
	m.IDTokenSigningAlgValuesSupported = []string{"RS256"}
	return m
}

// SupportedScopes are all scopes that a client may ask for.
func SupportedScopes(toolScopes []string) []string {
	return append([]string{ScopeMCP, ScopeOfflineAccess}, toolScopes...)
}

// ResourceMetadata is the document of RFC 9728 section 2.
type ResourceMetadata struct {
	Resource               string   `json:"resource"`
	AuthorizationServers   []string `json:"authorization_servers"`
	ScopesSupported        []string `json:"scopes_supported"`
	BearerMethodsSupported []string `json:"bearer_methods_supported"`
	ResourceName           string   `json:"resource_name,omitempty"`
}

// NewResourceMetadata describes the resource at path ("", /mcp or /sse) of the MCP origin: each document names exactly
// itself (RFC 9728 section 3.3). offline_access is no scope of a resource and is not listed, or clients would ask for
// it (SEP-2207).
func NewResourceMetadata(issuer string, resource Resource, path string, toolScopes []string) ResourceMetadata {
	return ResourceMetadata{
		Resource:               resource.Origin() + path,
		AuthorizationServers:   []string{issuer},
		ScopesSupported:        append([]string{ScopeMCP}, slices.Clone(toolScopes)...),
		BearerMethodsSupported: []string{"header"}, // RFC 6750 section 2.1
		ResourceName:           "mcp-access-oauth",
	}
}
