package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"
)

const (
	keyIDLength = 8
	// rotateEvery is how long a key seals, and leadTime how long it only opens before that. Functions read the keyset
	// every maxAge, so leadTime must be more than that: each has seen a key before another seals with it.
	rotateEvery = 30 * 24 * time.Hour
	leadTime    = 24 * time.Hour
)

// Keyset is every key that seals or opens. Its methods are pure.
type Keyset struct{ Keys []Key }

// NewKey makes a key from 32 bytes of random for its secret and some more for its id.
func NewKey(random io.Reader, primaryFrom time.Time) (Key, error) {
	var bytes [32 + keyIDLength]byte
	if _, err := io.ReadFull(random, bytes[:]); err != nil {
		return Key{}, fmt.Errorf("drawing a key: %w", err)
	}
	return KeyFrom([32]byte(bytes[:32]), bytes[32:], primaryFrom), nil
}

// KeyFrom makes a key of a secret and of the bytes that its id is to be told from. The id is public: idSeed must say
// nothing about the secret.
func KeyFrom(secret [32]byte, idSeed []byte, primaryFrom time.Time) Key {
	id := new(big.Int).SetBytes(idSeed).Text(62)
	for len(id) < keyIDLength {
		id = "0" + id
	}
	return Key{ID: id[len(id)-keyIDLength:], Secret: secret, PrimaryFrom: primaryFrom}
}

// Primary is the key that seals at now: the latest to have become primary. When every key's time lies ahead, because
// the clock that made the keyset is ahead of ours, it is the first of them. ok is false only when no key is live.
func (k Keyset) Primary(now time.Time) (primary Key, ok bool) {
	var next Key
	for _, key := range k.Keys {
		switch {
		case !key.live(now):
		case key.PrimaryFrom.After(now):
			if next.ID == "" || before(key, next) {
				next = key
			}
		case !ok || before(primary, key):
			primary, ok = key, true
		}
	}
	if !ok {
		return next, next.ID != ""
	}
	return primary, true
}

// Openable is the key of that id, if it still opens at now.
func (k Keyset) Openable(id string, now time.Time) (Key, bool) {
	for _, key := range k.Keys {
		if key.ID == id {
			return key, key.live(now)
		}
	}
	return Key{}, false
}

func (k Key) live(now time.Time) bool { return k.Expires.IsZero() || now.Before(k.Expires) }

// before orders keys by the time they become primary, and by id where that is equal.
func before(a, b Key) bool {
	return a.PrimaryFrom.Before(b.PrimaryFrom) || a.PrimaryFrom.Equal(b.PrimaryFrom) && a.ID < b.ID
}

// Rotation says what Rotate changed, by key id.
type Rotation struct {
	Added   string
	Removed []string
}

// Changed reports whether there is anything to store.
func (r Rotation) Changed() bool { return r.Added != "" || len(r.Removed) > 0 }

// Rotate returns the keyset as it should stand at now. A day before the newest key has sealed for 30 days it adds
// fresh, which becomes primary a day later; the superseded key then opens for as long as the last value it sealed can
// live, and a day more for functions that could not read the keyset. Keys whose time is over are removed.
func (k Keyset) Rotate(now time.Time, fresh func(primaryFrom time.Time) (Key, error)) (Keyset, Rotation, error) {
	var next Keyset
	var done Rotation
	newest := Key{}
	for _, key := range k.Keys {
		if !key.live(now) {
			done.Removed = append(done.Removed, key.ID)
			continue
		}
		next.Keys = append(next.Keys, key)
		if newest.ID == "" || before(newest, key) {
			newest = key
		}
	}
	if newest.ID == "" || !now.Before(newest.PrimaryFrom.Add(rotateEvery-leadTime)) {
		primaryFrom := now.Add(leadTime).UTC().Truncate(time.Second)
		if newest.ID == "" { // nothing else can seal until then
			primaryFrom = now.UTC().Truncate(time.Second)
		}
		key, err := fresh(primaryFrom)
		if err != nil {
			return Keyset{}, Rotation{}, err
		}
		for i := range next.Keys {
			if next.Keys[i].Expires.IsZero() {
				next.Keys[i].Expires = primaryFrom.Add(Longest + leadTime)
			}
		}
		next.Keys = append(next.Keys, key)
		done.Added = key.ID
	}
	return next, done, nil
}

// storedKeyset is the plaintext that the sources keep: in the file of seal/local, and wrapped by KMS in seal/kms.
type storedKeyset struct {
	Version int         `json:"version"`
	Keys    []storedKey `json:"keys"`
}

type storedKey struct {
	ID          string    `json:"id"`
	Secret      []byte    `json:"secret"`
	PrimaryFrom time.Time `json:"primary_from,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
}

// Encode writes the keyset, secrets included.
func (k Keyset) Encode() ([]byte, error) {
	stored := storedKeyset{Version: 1}
	for _, key := range k.Keys {
		stored.Keys = append(stored.Keys, storedKey{key.ID, key.Secret[:], key.PrimaryFrom, key.Expires})
	}
	return json.Marshal(stored)
}

// DecodeKeyset reads what Encode wrote. Its errors quote nothing of the input.
func DecodeKeyset(data []byte) (Keyset, error) {
	var stored storedKeyset
	if err := json.Unmarshal(data, &stored); err != nil {
		return Keyset{}, errors.New("decoding keyset: not the JSON of a keyset")
	}
	if stored.Version != 1 {
		return Keyset{}, fmt.Errorf("decoding keyset: version %d is not known here", stored.Version)
	}
	var k Keyset
	for _, s := range stored.Keys {
		if !validKeyID(s.ID) || len(s.Secret) != 32 {
			return Keyset{}, errors.New("decoding keyset: a key is malformed")
		}
		if slices.ContainsFunc(k.Keys, func(other Key) bool { return other.ID == s.ID }) {
			return Keyset{}, errors.New("decoding keyset: a key id stands twice")
		}
		k.Keys = append(k.Keys, Key{s.ID, [32]byte(s.Secret), s.PrimaryFrom, s.Expires})
	}
	if len(k.Keys) == 0 {
		return Keyset{}, errors.New("decoding keyset: it holds no key")
	}
	return k, nil
}

func validKeyID(id string) bool {
	if len(id) != keyIDLength {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
