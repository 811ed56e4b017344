package grants

import (
	"encoding/json"
	"fmt"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/seal"
)

// Purposes of the ciphertexts of one grant. Purpose and grant id are the additional data of each, so that none can be
// moved to another place or another grant (ATTACKS H07).
const (
	purposeDataKey  = "grant data key"
	purposeClaims   = "grant claims"
	purposeUpstream = "grant upstream refresh token"
	purposeResponse = "grant refresh response"
)

func (g Grant) aad(purpose string) []byte { return []byte(purpose + "\x00" + g.ID) }

// box seals under the data key.
func (g Grant) box(dataKey []byte, purpose string, plaintext []byte) []byte {
	return seal.Box([32]byte(dataKey), g.aad(purpose), plaintext)
}

func (g Grant) openBox(dataKey []byte, purpose string, boxed []byte) ([]byte, error) {
	plaintext, err := seal.OpenBox([32]byte(dataKey), g.aad(purpose), boxed)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", purpose, err)
	}
	return plaintext, nil
}

// under seals with a key derived from a secret that only its holder knows.
func (g Grant) under(secret, purpose string, plaintext []byte) []byte {
	return seal.Box(seal.DeriveKey([]byte(secret), purpose), g.aad(purpose), plaintext)
}

func (g Grant) openUnder(secret, purpose string, boxed []byte) ([]byte, error) {
	plaintext, err := seal.OpenBox(seal.DeriveKey([]byte(secret), purpose), g.aad(purpose), boxed)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", purpose, err)
	}
	return plaintext, nil
}

// wrap keeps the data key for the holder of a secret.
func (g Grant) wrap(secret string, dataKey []byte) []byte {
	return g.under(secret, purposeDataKey, dataKey)
}

func (g Grant) unwrap(secret string, wrapped []byte) ([]byte, error) {
	dataKey, err := g.openUnder(secret, purposeDataKey, wrapped)
	if err == nil && len(dataKey) != 32 {
		err = fmt.Errorf("opening %s: %w", purposeDataKey, seal.ErrInvalid)
	}
	return dataKey, err
}

func (g *Grant) sealIdentity(dataKey []byte, who policy.Identity) error {
	claims, err := json.Marshal(who)
	if err != nil {
		return fmt.Errorf("encoding claims: %w", err)
	}
	g.Claims = g.box(dataKey, purposeClaims, claims)
	return nil
}

func (g Grant) openIdentity(dataKey []byte) (policy.Identity, error) {
	claims, err := g.openBox(dataKey, purposeClaims, g.Claims)
	if err != nil {
		return policy.Identity{}, err
	}
	var who policy.Identity
	if err := json.Unmarshal(claims, &who); err != nil {
		return policy.Identity{}, fmt.Errorf("decoding claims: %w", err)
	}
	return who, nil
}
