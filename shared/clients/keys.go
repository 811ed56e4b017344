package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/shared/oauth"
)

const (
	maxKeys    = 20
	minRSABits = 2048
	// keyRefetch is how often a key set may be read again because an assertion names a key that it lacks.
	keyRefetch = time.Minute
)

var errNoKey = errors.New("has no key for RS256, ES256 or EdDSA")

// parseKeySet reads a JWK Set (RFC 7517 section 5) and keeps the keys that can verify an assertion. Keys of other types
// or uses are passed over; private or symmetric material anywhere refuses the whole set.
func parseKeySet(raw []byte) ([]jose.JSONWebKey, error) {
	set, err := parseObject(raw)
	if err != nil {
		return nil, errors.New("must be a JWK Set")
	}
	var members []json.RawMessage
	if err := json.Unmarshal(set["keys"], &members); err != nil {
		return nil, errors.New("must be a JWK Set")
	}
	if len(members) > maxKeys {
		return nil, fmt.Errorf("has more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, member := range members {
		o, err := parseObject(member)
		if err != nil {
			return nil, errors.New("must be a JWK Set")
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // RFC 7518 section 6
			if _, ok := o[private]; ok {
				return nil, errors.New("holds a private or symmetric key")
			}
		}
		var key jose.JSONWebKey
		if key.UnmarshalJSON(member) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") && algorithmOf(key) != "" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errNoKey
	}
	return keys, nil
}

// algorithmOf is the one algorithm of ours that a key is for, or "".
func algorithmOf(key jose.JSONWebKey) jose.SignatureAlgorithm {
	var algorithm jose.SignatureAlgorithm
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits { // RFC 7518 section 3.3
			algorithm = jose.RS256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			algorithm = jose.ES256
		}
	case ed25519.PublicKey:
		algorithm = jose.EdDSA
	}
	if key.Algorithm != "" && key.Algorithm != string(algorithm) && (key.Algorithm != "Ed25519" || algorithm != jose.EdDSA) { // RFC 9864
		return ""
	}
	return algorithm
}

// KeySets fetches the key sets that clients name by jwks_uri, and remembers them.
type KeySets struct {
	fetcher *Fetcher
	now     func() time.Time

	mu     sync.Mutex
	cached map[string]keySet
	wrong  map[string]failure
}

type keySet struct {
	keys       []jose.JSONWebKey
	fetched    time.Time
	freshUntil time.Time
}

// NewKeySets returns KeySets over fetcher.
func NewKeySets(fetcher *Fetcher, now func() time.Time) *KeySets {
	return &KeySets{fetcher: fetcher, now: now, cached: make(map[string]keySet), wrong: make(map[string]failure)}
}

// get is the key set at uri. refetch reads it anew although it is fresh, at most once a minute. When the fetch fails for
// a passing reason, keys no older than a day serve on. A set that is wrong is read again after backOff.
func (s *KeySets) get(ctx context.Context, uri string, refetch bool) ([]jose.JSONWebKey, error) {
	now := s.now()
	s.mu.Lock()
	known, ok := s.cached[uri]
	wrong, refused := s.wrong[uri]
	s.mu.Unlock()
	if ok && (!refetch && now.Before(known.freshUntil) || refetch && now.Sub(known.fetched) < keyRefetch) {
		return known.keys, nil
	}
	if refused && now.Before(wrong.until) {
		return nil, wrong.err
	}
	document, err := s.fetcher.get(ctx, uri, "the client's key set", maxKeySetBytes, s.now)
	if err != nil {
		if ok && errors.Is(err, ErrUnavailable) && now.Sub(known.fetched) < maxDocumentLife {
			return known.keys, nil
		}
		return nil, err
	}
	keys, err := parseKeySet(document.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		err = &oauth.Error{Code: oauth.InvalidClient, Description: "the client's key set " + err.Error(), Status: http.StatusUnauthorized}
		rememberFailure(s.wrong, uri, err, s.now())
		return nil, err
	}
	remember(s.cached, uri, keySet{keys, now, now.Add(lifetime(document))}, func(old keySet) bool { return !now.Before(old.freshUntil) })
	return keys, nil
}
