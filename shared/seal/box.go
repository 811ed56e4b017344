package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
)

// overhead is what a box adds to its plaintext: a 12-byte nonce in front and a 16-byte tag behind.
const overhead = 12 + 16

// Box encrypts plaintext with AES-256-GCM under a random nonce, and authenticates aad with it. One key may seal at most
// 2^32 boxes (NIST SP 800-38D section 8.3).
func Box(key [32]byte, aad, plaintext []byte) []byte {
	return newAEAD(key).Seal(nil, nil, plaintext, aad)
}

// OpenBox is the reverse of Box. It returns ErrInvalid for any other key, aad or bytes.
func OpenBox(key [32]byte, aad, boxed []byte) ([]byte, error) {
	return openWith(newAEAD(key), aad, boxed)
}

// DeriveKey is HKDF-SHA256 (RFC 5869) of a secret of full entropy, without salt, for the use that info names.
func DeriveKey(secret []byte, info string) [32]byte {
	key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil { // only a length over 8,160 bytes can fail
		panic("seal: deriving a key: " + err.Error())
	}
	return [32]byte(key)
}

func newAEAD(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return aead
		}
	}
	panic("seal: making a cipher: " + err.Error()) // only a wrong key size can fail
}

func openWith(aead cipher.AEAD, aad, boxed []byte) ([]byte, error) {
	plaintext, err := aead.Open(nil, nil, boxed, aad)
	if err != nil {
		return nil, ErrInvalid
	}
	if plaintext == nil {
		plaintext = []byte{}
	}
	return plaintext, nil
}
