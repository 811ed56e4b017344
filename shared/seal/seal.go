// Package seal encrypts what browsers carry for us, cookies and the state of forms, with AES-256-GCM under a keyset
// that two sources can supply: seal/local (a file or COOKIE_ENCRYPTION_KEY) and seal/kms (wrapped by AWS KMS).
//
// It owns the format of sealed values, the choice of the key that seals, and when the keyset is read again. It hands
// off where keys come from to a Source. The same box, without a keyset, seals claims under per-grant keys (Box).
package seal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrInvalid is returned by Open for anything that this keyset did not seal for this purpose and binding:
	// garbage, a flipped bit, a value sealed for another place, or a key that is gone.
	ErrInvalid = errors.New("seal: not a value of ours")
	// ErrUnavailable wraps a fault that passes: the keyset cannot be read now. Endpoints answer it with 503.
	ErrUnavailable = errors.New("seal: keyset unavailable")
)

// Longest is the longest life of anything sealed: the remembered approval. A superseded key is kept this long after
// the last value that it can have sealed.
const Longest = 30 * 24 * time.Hour

// Purpose separates the uses of one keyset: each purpose has a key of its own, derived by HKDF (RFC 5869), so that a
// value sealed for one can never be opened as another.
type Purpose string

// Key is one master key of a keyset. It prints as its id alone.
type Key struct {
	ID     string   // 8 characters of base62, in front of every value it sealed
	Secret [32]byte `json:"-"`
	// PrimaryFrom is when this key begins to seal; before it only opens.
	PrimaryFrom time.Time
	// Expires is when the key no longer opens anything; zero means not before it is superseded.
	Expires time.Time
}

// Format keeps the secret out of every verb of package fmt.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "seal.Key(%s)", k.ID) }

// Source supplies the keyset. Load is called on first use, every 12 hours, and for an unknown key id; it may answer
// from memory when nothing has changed. Its errors are taken for faults that pass.
type Source interface {
	Load(ctx context.Context) (Keyset, error)
}
