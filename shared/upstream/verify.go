package upstream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// algorithms are the signature algorithms that ID tokens may have: asymmetric ones only. What a discovery document lists
// never widens this, and a token's own header is never trusted beyond choosing among them (RFC 8725 section 3.1).
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// skew is how far the provider's clock may be ahead of ours. go-oidc allows nbf the same.
const skew = 5 * time.Minute

// verify holds an ID token to OpenID Connect Core section 3.1.3.7. go-oidc checks the signature, iss, aud, exp and nbf;
// the rest is here. The nonce is the caller's.
func (p *Provider) verify(ctx context.Context, m *metadata, raw string) (*oidc.IDToken, error) {
	var fault keyFault
	verifier := oidc.NewVerifier(m.issuer, m.keys, &oidc.Config{
		ClientID: p.cfg.ClientID, SupportedSigningAlgs: algorithms, Now: p.cfg.Now,
	})
	token, err := verifier.Verify(context.WithValue(ctx, keyFaultKey{}, &fault), raw)
	switch {
	case fault.err != nil:
		return nil, failure(ErrUnavailable, "verifying the ID token: %w", fault.err)
	case err != nil:
		return nil, failure(ErrVerification, "verifying the ID token: %s", clean(err.Error(), raw))
	}
	var claims struct {
		AuthorizedParty *string `json:"azp"`
	}
	if err := token.Claims(&claims); err != nil {
		return nil, failure(ErrVerification, "the ID token's azp is not a string")
	}
	// (4) and (5): with several audiences azp must be there, and when it is there it must be us.
	if claims.AuthorizedParty == nil && len(token.Audience) > 1 {
		return nil, failure(ErrVerification, "the ID token has several audiences and no azp")
	}
	if claims.AuthorizedParty != nil && *claims.AuthorizedParty != p.cfg.ClientID {
		return nil, failure(ErrVerification, "the ID token was issued to another client: azp is %q", clean(*claims.AuthorizedParty))
	}
	// iat is required (section 2), and a token from the future comes from a broken clock or a forger.
	if token.IssuedAt.Unix() <= 0 || token.IssuedAt.After(p.cfg.Now().Add(skew)) {
		return nil, failure(ErrVerification, "the ID token has no iat, or one in the future")
	}
	return token, nil
}

// bearsOtherIssuer reports an ID token whose iss, unverified, is not ours.
func bearsOtherIssuer(raw, issuer string) bool {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(payload, &claims) == nil && claims.Issuer != "" && claims.Issuer != issuer
}
