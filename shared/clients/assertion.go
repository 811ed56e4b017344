package clients

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

const (
	// assertionLife is the longest life that an assertion may have left.
	assertionLife = 5 * time.Minute
	// clockSkew is how far a client's clock may be off.
	clockSkew = 30 * time.Second
	// maxAssertionAge bounds iat.
	maxAssertionAge = 10 * time.Minute
	maxJTIBytes     = 256
)

// assertionTypes are the typ header values of a client assertion. Newer profiles ask for an explicit type (RFC 8725
// section 3.11), most clients send JWT or nothing; a token of any other type was made for something else.
var assertionTypes = []string{"", "jwt", "client-authentication+jwt", "oauth-client-auth+jwt"}

// assertionClaims are the claims of RFC 7523 section 3.
type assertionClaims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  audience     `json:"aud"`
	Expires   *numericDate `json:"exp"`
	NotBefore *numericDate `json:"nbf"`
	IssuedAt  *numericDate `json:"iat"`
	ID        string       `json:"jti"`
}

// audience is a string or an array of strings (RFC 7519 section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// numericDate is a time in seconds, perhaps with a fraction (RFC 7519 section 2).
type numericDate float64

func (n numericDate) time() time.Time {
	const farthest = 1 << 40 // beyond it a conversion could overflow, and a far future look like the past
	return time.UnixMilli(int64(min(max(float64(n), -farthest), farthest) * 1000))
}

// verifyAssertion checks private_key_jwt (RFC 7523 section 3). The id is written down last, when nothing else can fail,
// so that a stranger's garbage costs no write and a client's mistake does not use its assertion up.
func (a *Authenticator) verifyAssertion(ctx context.Context, c Client, cr Credentials) error {
	allowed := oauth.AssertionAlgorithms
	if c.SigningAlg != "" {
		allowed = []string{c.SigningAlg}
	}
	algorithms := make([]jose.SignatureAlgorithm, len(allowed))
	for i, name := range allowed {
		algorithms[i] = jose.SignatureAlgorithm(name)
	}
	signed, err := jose.ParseSignedCompact(cr.assertion, algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return failed(cr)
	}
	header := signed.Signatures[0].Protected
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/") // RFC 7515 section 4.1.9
	if !slices.Contains(assertionTypes, typ) {
		return failed(cr)
	}
	payload, err := a.verifySignature(ctx, c, signed, header)
	if err != nil {
		if oerr, ok := errors.AsType[*oauth.Error](err); ok {
			return oerr
		}
		return failed(cr)
	}
	claims, err := a.checkClaims(c, payload)
	if err != nil {
		return refused("client_assertion " + err.Error())
	}
	return a.useOnce(ctx, c, claims)
}

// verifySignature tries the client's keys for the header's algorithm and key id. The header's own jku, jwk and x5u are
// never looked at (RFC 8725 section 3.10). A key set fetched before its client rotated is read once more.
func (a *Authenticator) verifySignature(ctx context.Context, c Client, signed *jose.JSONWebSignature, header jose.Header) ([]byte, error) {
	verify := func(keys []jose.JSONWebKey) ([]byte, bool) {
		for _, key := range keys {
			if header.KeyID != "" && key.KeyID != header.KeyID || string(algorithmOf(key)) != header.Algorithm {
				continue
			}
			if payload, err := signed.Verify(key.Key); err == nil {
				return payload, true
			}
		}
		return nil, false
	}
	if len(c.JWKS) > 0 {
		keys, err := parseKeySet(c.JWKS)
		if err != nil {
			return nil, fmt.Errorf("reading client's keys: %w", err)
		}
		if payload, ok := verify(keys); ok {
			return payload, nil
		}
		return nil, errors.New("no key of the client verifies the assertion")
	}
	if c.JWKSURI == "" || a.KeySets == nil {
		return nil, errors.New("the client has no keys")
	}
	for _, refetch := range []bool{false, true} {
		keys, err := a.KeySets.get(ctx, c.JWKSURI, refetch)
		if err != nil {
			return nil, err
		}
		if payload, ok := verify(keys); ok {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the client verifies the assertion")
}

// checkClaims checks the claims of a verified assertion.
func (a *Authenticator) checkClaims(c Client, payload []byte) (assertionClaims, error) {
	var claims assertionClaims
	if _, err := parseObject(payload); err != nil {
		return claims, errors.New("is malformed")
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return claims, errors.New("is malformed")
	}
	if claims.Issuer != c.ID || claims.Subject != c.ID {
		return claims, errors.New("must have the client_id as iss and sub")
	}
	// RFC 7523 section 3: we are the audience. One that names others too could be presented to us by one of them.
	ours := []string{a.Issuer, a.Issuer + oauth.PathToken}
	if len(claims.Audience) == 0 || slices.ContainsFunc(claims.Audience, func(aud string) bool { return !slices.Contains(ours, aud) }) {
		return claims, errors.New("must have the issuer or the token endpoint, and nothing else, as aud")
	}
	now := a.Now()
	switch {
	case claims.Expires == nil:
		return claims, errors.New("has no exp")
	case !now.Before(claims.Expires.time().Add(clockSkew)):
		return claims, errors.New("has expired")
	case claims.Expires.time().After(now.Add(assertionLife + clockSkew)):
		return claims, errors.New("must expire within 5 minutes")
	case claims.NotBefore != nil && claims.NotBefore.time().After(now.Add(clockSkew)):
		return claims, errors.New("is not valid yet")
	case claims.IssuedAt != nil && claims.IssuedAt.time().After(now.Add(clockSkew)):
		return claims, errors.New("was issued in the future")
	case claims.IssuedAt != nil && claims.IssuedAt.time().Before(now.Add(-maxAssertionAge)):
		return claims, errors.New("was issued too long ago")
	case claims.ID == "" || len(claims.ID) > maxJTIBytes:
		return claims, errors.New("must have a jti of at most 256 bytes")
	}
	return claims, nil
}

// useOnce writes the assertion's id down until it has expired, so that it works once (RFC 7523 section 3).
func (a *Authenticator) useOnce(ctx context.Context, c Client, claims assertionClaims) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "assertion/1\x00%d\x00%s%s", len(c.ID), c.ID, claims.ID))
	_, err := a.Table.Create(ctx, table.Item{
		// A partition each, since nothing lists them and a busy client should not heat one partition.
		Key:     table.Key{Partition: "assertion/" + base64.RawURLEncoding.EncodeToString(sum[:]), Sort: "jti"},
		Data:    []byte("{}"),
		Expires: claims.Expires.time().Add(clockSkew + time.Second), // items expire to the second
	})
	switch {
	case errors.Is(err, table.ErrExists):
		return refused("client_assertion was used before")
	case err != nil:
		return fmt.Errorf("writing assertion id: %w", err)
	}
	return nil
}
