package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// MethodS256 is the one code challenge method we take (RFC 7636 section 4.2). OAuth 2.1 section 4.1.1 and MCP make it
// mandatory for every client.
const MethodS256 = "S256"

// S256Challenge is BASE64URL(SHA256(verifier)) (RFC 7636 section 4.2).
func S256Challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ValidChallenge reports whether s can be the S256 challenge of anything: 43 characters of base64url that encode 32
// bytes.
func ValidChallenge(s string) bool {
	if len(s) != 43 {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == sha256.Size
}

// ValidVerifier reports whether s has the form of a code_verifier (RFC 7636 section 4.1): 43 to 128 unreserved
// characters.
func ValidVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return true
}

// VerifyS256 compares in constant time (RFC 7636 section 4.6).
func VerifyS256(challenge, verifier string) bool {
	return ValidVerifier(verifier) && subtle.ConstantTimeCompare([]byte(S256Challenge(verifier)), []byte(challenge)) == 1
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
