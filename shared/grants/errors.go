package grants

import (
	"errors"

	"mcp-access-oauth/shared/oauth"
)

var (
	// ErrInvalidToken is returned by Authenticate for anything that is not a live access token: made up, expired,
	// revoked, another kind of secret. It says nothing about the table, whose faults are table.ErrUnavailable.
	ErrInvalidToken = errors.New("grants: access token is not valid")
	// ErrExists is returned by Create when the transaction has already become a grant.
	ErrExists = errors.New("grants: the transaction was already used")
	// ErrNotFound is returned for a grant that does not exist, has ended, or is another person's.
	ErrNotFound = errors.New("grants: no such grant")
	// ErrSessionEnded is what a Renew function returns when the identity provider has ended the person's session.
	ErrSessionEnded = errors.New("grants: the identity provider ended the session")

	// errCorrupt is an item that we did not write. It is a fault and no verdict on the token.
	errCorrupt = errors.New("grants: item is not a grant of ours")
)

// The refusals of the token endpoint (RFC 6749 section 5.2). They tell a developer what to look at, and an attacker
// nothing that he did not send.
var (
	errCode          = oauth.NewError(oauth.InvalidGrant, "the code is unknown, expired or already used")
	errOtherClient   = oauth.NewError(oauth.InvalidGrant, "it was issued to another client")
	errRedirectURI   = oauth.NewError(oauth.InvalidGrant, "redirect_uri is not that of the authorization request")
	errVerifier      = oauth.NewError(oauth.InvalidGrant, "code_verifier is missing or does not match the code_challenge")
	errOtherResource = oauth.NewError(oauth.InvalidGrant, "it was issued for another resource; sign in again")
	errRefreshToken  = oauth.NewError(oauth.InvalidGrant, "the refresh token is unknown, expired or revoked")
	errSessionEnded  = oauth.NewError(oauth.InvalidGrant, "the identity provider ended the session; sign in again")
)
