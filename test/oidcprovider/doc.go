// Package oidcprovider tests the relying party against a certified OpenID provider, the npm package oidc-provider, whose
// authors are not ours: sign-in, refresh, revocation, and the errors in between.
package oidcprovider
