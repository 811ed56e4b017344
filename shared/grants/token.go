package grants

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// Kind is the prefix that tells what a secret is, so that none is ever taken for another (ATTACKS D08).
type Kind string

// The kinds of secret. Each reads <kind>_<grant id>_<secret>, id and secret being base62 of fixed length.
const (
	KindCode    Kind = "ac"
	KindAccess  Kind = "at"
	KindRefresh Kind = "rt"
)

// Lengths in characters: base62 of 16 and of 32 bytes, and of a generation.
const (
	idLength         = 22
	secretLength     = 43
	generationLength = 6
	// A refresh secret is its generation, 32 random bytes, and the MAC of both.
	refreshLength = generationLength + 2*secretLength
)

// NewID returns a fresh grant id: 128 random bits in base62. Sign-in uses it as the transaction's id first. A nil
// random means crypto/rand, and a source that fails is fatal, as crypto/rand's is.
func NewID(random io.Reader) string {
	if random == nil {
		random = rand.Reader
	}
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		panic(fmt.Sprintf("grants: reading randomness: %v", err))
	}
	return base62(b[:], idLength)
}

// GrantID is the grant that a secret of this kind names, if it has the form of one. The form proves nothing.
func (k Kind) GrantID(token string) (string, bool) {
	kind, id, ok := split(token)
	return id, ok && kind == k
}

// GrantID is the grant that an access or refresh token names.
func GrantID(token string) (string, bool) {
	kind, id, ok := split(token)
	return id, ok && (kind == KindAccess || kind == KindRefresh)
}

// split takes a secret apart by its fixed lengths.
func split(token string) (kind Kind, id string, ok bool) {
	const head = 2 + 1 + idLength + 1
	if len(token) < head || token[2] != '_' || token[head-1] != '_' {
		return "", "", false
	}
	kind, id = Kind(token[:2]), token[3:head-1]
	want := secretLength
	switch kind {
	case KindCode, KindAccess:
	case KindRefresh:
		want = refreshLength
	default:
		return "", "", false
	}
	return kind, id, len(token)-head == want && isBase62(id) && isBase62(token[head:])
}

// digest is what the table keeps of a secret. The secrets have 256 random bits, so that a plain hash is enough.
func digest(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// matches compares a secret with a kept digest in constant time.
func matches(kept []byte, token string) bool {
	sum := digest(token)
	return subtle.ConstantTimeCompare(kept, sum[:]) == 1
}

// generation counts the refresh tokens of a grant. It is written in six characters, so that neither token nor item
// grows with it; one refresh a second would fill them in 1,800 years.
type generation int64

func (g generation) String() string {
	return pad(big.NewInt(int64(g)).Text(62), generationLength)
}

// MarshalText implements encoding.TextMarshaler.
func (g generation) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (g *generation) UnmarshalText(text []byte) error {
	n, ok := new(big.Int).SetString(string(text), 62)
	if !ok || len(text) != generationLength || n.Sign() < 0 {
		return fmt.Errorf("grants: generation %q", text)
	}
	*g = generation(n.Int64())
	return nil
}

// newSecret makes a code or an access token of 256 random bits.
func newSecret(m Moment, kind Kind, id string) (string, error) {
	random, err := m.random()
	if err != nil {
		return "", err
	}
	return string(kind) + "_" + id + "_" + base62(random, secretLength), nil
}

// newRefreshToken makes the refresh token of a generation.
func newRefreshToken(m Moment, id string, macKey []byte, gen generation) (string, error) {
	random, err := m.random()
	if err != nil {
		return "", err
	}
	body := gen.String() + base62(random, secretLength)
	return string(KindRefresh) + "_" + id + "_" + body + refreshMAC(macKey, id, body), nil
}

// genuineRefresh reports whether we issued the refresh token, whatever its generation: a token that is no longer
// stored anywhere is proven by its MAC, so that its reuse can be told from an invention.
func genuineRefresh(macKey []byte, token string) (generation, bool) {
	kind, id, ok := split(token)
	if !ok || kind != KindRefresh || len(macKey) == 0 {
		return 0, false
	}
	secret := token[len(token)-refreshLength:]
	body, mac := secret[:generationLength+secretLength], secret[generationLength+secretLength:]
	if subtle.ConstantTimeCompare([]byte(mac), []byte(refreshMAC(macKey, id, body))) != 1 {
		return 0, false
	}
	var gen generation
	if err := gen.UnmarshalText([]byte(body[:generationLength])); err != nil {
		return 0, false
	}
	return gen, true
}

func refreshMAC(macKey []byte, id, body string) string {
	mac := hmac.New(sha256.New, macKey)
	mac.Write([]byte(id)) // fixed lengths: no separator is needed
	mac.Write([]byte(body))
	return base62(mac.Sum(nil), secretLength)
}

// base62 writes bytes as a number in base 62, padded to length.
func base62(b []byte, length int) string {
	return pad(new(big.Int).SetBytes(b).Text(62), length)
}

func pad(s string, length int) string {
	if len(s) >= length {
		return s
	}
	return strings.Repeat("0", length-len(s)) + s
}

func isBase62(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return true
}
