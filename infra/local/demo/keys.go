package demo

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const keyFile = "demo-identity-provider.json"

// keys are what outlives a restart.
type keys struct {
	signing *rsa.PrivateKey
	id      string
	// tokens seals codes and access tokens, refresh seals refresh tokens, so that none opens as the other.
	tokens, refresh op.Crypto
}

// storedKeys is the content of the file.
type storedKeys struct {
	SigningKey []byte `json:"signing_key"` // PKCS #8
	SealingKey []byte `json:"sealing_key"`
}

// loadKeys reads the file, or creates it when there is none.
func loadKeys(dir string) (*keys, error) {
	path := filepath.Join(dir, keyFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = createKeys(path)
	}
	if err != nil {
		return nil, err
	}
	var stored storedKeys
	if err := json.Unmarshal(content, &stored); err != nil || len(stored.SealingKey) != 32 {
		return nil, fmt.Errorf("%s is damaged; remove it, and everyone has to sign in again", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(stored.SigningKey)
	signing, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is damaged; remove it, and everyone has to sign in again", path)
	}
	sum := sha256.Sum256(signing.N.Bytes())
	k := &keys{signing: signing, id: fmt.Sprintf("%x", sum[:8])}
	for _, use := range []struct {
		crypto *op.Crypto
		info   string
	}{{&k.tokens, "access tokens and codes"}, {&k.refresh, "refresh tokens"}} {
		derived, err := hkdf.Key(sha256.New, stored.SealingKey, nil, use.info, 32)
		if err != nil {
			return nil, fmt.Errorf("deriving a key: %w", err)
		}
		*use.crypto = op.NewAES256GCMCrypto([32]byte(derived), "")
	}
	return k, nil
}

// createKeys writes the file in one step, so that a start that is cut short leaves none.
func createKeys(path string) ([]byte, error) {
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	stored := storedKeys{SealingKey: make([]byte, 32)}
	if stored.SigningKey, err = x509.MarshalPKCS8PrivateKey(signing); err != nil {
		return nil, fmt.Errorf("encoding the signing key: %w", err)
	}
	_, _ = rand.Read(stored.SealingKey) // never fails
	content, err := json.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("encoding the keys: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), keyFile+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone already when all went well
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, err
	}
	return content, os.Rename(file.Name(), path)
}

// The library's views of the signing key.

type signingKey struct{ *keys }

func (k signingKey) ID() string                                  { return k.id }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k signingKey) Key() any                                    { return k.signing }

type publicKey struct{ *keys }

func (k publicKey) ID() string                         { return k.id }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.signing.PublicKey }
