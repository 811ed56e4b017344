// Package upstream is the OpenID Connect relying party: it sends people to the company's identity provider, verifies
// what comes back, and asks the provider again when a grant is refreshed. It owns discovery, the token endpoint, ID token
// verification, UserInfo, and the differences between providers; it keeps nothing but caches. State, nonce and verifier
// are made and remembered by package signin, refresh tokens are stored by package grants, and package policy decides what
// an identity may do.
//
// # What a sign-in costs
//
// One call to the token endpoint. Discovery and the key set are read once and kept for an hour. UserInfo is asked only
// when the ID token has no e-mail, when it says that the groups did not fit in, or when the scope groups was asked for
// and no groups came; so most providers are never asked.
//
// # Differences between providers
//
// Cloudflare Access: the issuer is the token URL without its final /token (issuer.go). It sends no email_verified, and
// its access tokens are opaque; we never look inside an access token of any provider. Groups are trimmed near 4 KB.
//
// Entra ID: only a tenant's own issuer is taken, since the one of /common/ and /organizations/ is a template that no
// token bears. Groups over the limit come as _claim_names, which counts as no groups (claims.go). The e-mail may be
// declared unverified by the optional claim xms_edov. preferred_username is no e-mail: whoever may edit it could
// become anyone.
//
// Okta: the ID token of the code flow is thin, so UserInfo gives the e-mail and the groups.
//
// Cognito: the groups are in cognito:groups, and email_verified is a string in UserInfo.
//
// Keycloak: roles are nested, which ACCESS_GROUPS_CLAIM reaches as realm_access.roles.
//
// Google: the ID token may name the issuer without https://, and refresh tokens come by access_type=offline and not by
// a scope (provider.go). There are no groups.
//
// Auth0: the issuer ends in a slash, which is easily forgotten and then added (discovery.go).
package upstream
