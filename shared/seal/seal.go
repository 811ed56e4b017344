// Package seal encrypts what browsers carry for us, cookies and the state of forms, with AES-256-GCM under a keyset
// that two sources can supply: seal/local (a file or COOKIE_ENCRYPTION_KEY) and seal/kms (wrapped by AWS KMS).
package seal

import (
	"errors"
	"time"
)

var (
	// ErrInvalid is returned by Open for anything that this keyset did not seal for this purpose and binding:
	// garbage, a flipped bit, a value sealed for another place, or a key that is gone.
	ErrInvalid = errors.New("seal: not a value of ours")
	// ErrUnavailable wraps a fault that passes: the keyset cannot be read now. Endpoints answer it with 503.
	ErrUnavailable = errors.New("seal: keyset unavailable")
)

// Purpose separates the uses of one keyset: each purpose has a key of its own, derived by HKDF (RFC 5869), so that a
// value sealed for one can never be opened as another.
type Purpose string

// Key is one master key of a keyset.
type Key struct {
	ID     string // 8 characters of base62, in front of every value it sealed
	Secret [32]byte
	// PrimaryFrom is when this key begins to seal; before it only opens.
	PrimaryFrom time.Time
	// Expires is when the key no longer opens anything; zero means not before it is superseded.
	Expires time.Time
}
