package clients

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

// Authenticator checks client authentication. One is shared by the token, revocation and introspection endpoints.
type Authenticator struct {
	// Table keeps the ids of assertions that were used.
	Table table.Table
	// Issuer is this server's identifier. It and the token endpoint below it are the audiences of assertions.
	Issuer string
	// KeySets fetches key sets by jwks_uri. Nil refuses clients that have one.
	KeySets *KeySets
	Now     func() time.Time
}

// Authenticate checks that the request comes from c, by exactly the method that c is registered with. The error is 401
// invalid_client and the same for every reason that a stranger could learn from, or 503 for a fault that passes. An
// assertion is used up by success alone.
func (a *Authenticator) Authenticate(ctx context.Context, c Client, cr Credentials) error {
	if cr.ClientID != c.ID || !slices.Contains(c.Methods(), cr.Method) {
		return a.Unknown(cr)
	}
	switch cr.Method {
	case oauth.AuthNone:
		return nil
	case oauth.AuthSecretBasic, oauth.AuthSecretPost:
		expired := !c.SecretExpiresAt.IsZero() && !a.Now().Before(c.SecretExpiresAt)
		if !secretMatches(c.SecretHash, cr.secret) || expired {
			return failed(cr)
		}
		return nil
	case oauth.AuthPrivateKeyJWT:
		return a.verifyAssertion(ctx, c, cr)
	}
	return failed(cr)
}

// Unknown answers for a client that is not there as Authenticate answers a wrong secret: same text, same work.
func (a *Authenticator) Unknown(cr Credentials) *oauth.Error {
	secretMatches(nil, cr.secret)
	return failed(cr)
}

// failed is the one answer to wrong credentials.
func failed(cr Credentials) *oauth.Error {
	e := refused(unknownOrWrong)
	if cr.Method == oauth.AuthSecretBasic {
		return challenge(e)
	}
	return e
}

// secretMatches compares in constant time, and hashes and compares even where there is nothing to compare with.
func secretMatches(hash []byte, secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	known := len(hash) == len(sum)
	if !known {
		hash = make([]byte, len(sum))
	}
	return subtle.ConstantTimeCompare(hash, sum[:]) == 1 && known
}
