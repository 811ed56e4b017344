// Package signin is the browser's way from a client's authorization request to a code: GET and POST /authorize with the
// consent page, the way to the identity provider, and GET /callback. It owns the checks of the request, the cookies and
// sealed values that tie each step to one browser, and remembered approvals. Clients are looked up in package clients,
// people are identified by package upstream, grants are made by package grants, and pages are drawn by package web.
//
// Nothing is stored before a person has signed in. Until then the request travels in what the browser holds:
//
//	GET /authorize   the checked request, sealed, in the consent page's form, bound to the cookie __Host-csrf
//	POST /authorize  the same in the cookie __Host-tx-<transaction id>, made only now that the person has approved;
//	                 the identity provider is sent the transaction id as state, and a nonce and a PKCE challenge that
//	                 are derived from it
//	GET /callback    a state is taken only from the browser that holds its cookie; the grant is created under the
//	                 transaction's id, so that a second use fails
//
// The consent comes before the sign-in, so that no one's session at the identity provider approves anything by itself
// (docs/decisions/0011-consent-before-login.md).
package signin
