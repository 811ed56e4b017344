package seal

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// maxAge is how old a keyset may grow before it is read again.
	maxAge = 12 * time.Hour
	// retryAge is the least time between two reads that an unknown key id, or an earlier failure of such a read or of
	// the 12-hourly one, can cause. Anybody can make key ids up; they must not be able to make us read.
	retryAge = time.Minute
	// coldRetryAge is the same while there is no keyset at all.
	coldRetryAge = time.Second
	// loadTimeout bounds one read of the source, and warmPatience how long a request that could do with the keyset
	// at hand waits for a newer one.
	loadTimeout  = 5 * time.Second
	warmPatience = 2 * time.Second

	// maxSealed bounds the text that Open looks at. A cookie holds 4 KB, a form's request about 8.
	maxSealed = 64 << 10
)

// Sealer seals and opens under the keyset of its source. It is safe for concurrent use, reads the source on first use
// and not before, and once warm it goes on working while the source does not answer.
type Sealer struct {
	source Source
	now    func() time.Time

	mu     sync.Mutex
	keys   *ring // nil while cold
	tried  time.Time
	failed error   // what the last read ended with
	flight *flight // the read under way
}

// flight is one read of the source, shared by all who wait for it.
type flight struct{ done chan struct{} }

// ring is a keyset with the keys derived from it so far.
type ring struct {
	Keyset
	loaded  time.Time
	derived sync.Map // of use to cipher.AEAD, or to [32]byte for Derive
}

// use names one derived key.
type use struct {
	keyID   string
	purpose Purpose
	derive  bool
}

// New returns a Sealer on source.
func New(source Source, now func() time.Time) *Sealer { return &Sealer{source: source, now: now} }

// Seal encrypts plaintext for one purpose and bound to one place, such as a cookie's name; Open must be told both. The
// result is base64url text (RFC 4648 section 5) with the key id in front. It fails only with ErrUnavailable.
func (s *Sealer) Seal(ctx context.Context, purpose Purpose, bind string, plaintext []byte) (string, error) {
	ring, err := s.current(ctx)
	if err != nil {
		return "", err
	}
	key, ok := ring.Primary(s.now())
	if !ok {
		return "", fmt.Errorf("%w: every key has expired", ErrUnavailable)
	}
	boxed := ring.aead(key, purpose).Seal(nil, nil, plaintext, associate(key.ID, purpose, bind))
	return format(key.ID, boxed), nil
}

// Open decrypts what Seal made for the same purpose and place. Anything else is ErrInvalid. ErrUnavailable means that
// the keyset could not be read, so that nothing can be said about the value.
func (s *Sealer) Open(ctx context.Context, purpose Purpose, bind string, sealed string) ([]byte, error) {
	id, boxed, ok := parse(sealed)
	if !ok {
		return nil, ErrInvalid
	}
	ring, key, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return openWith(ring.aead(key, purpose), associate(id, purpose, bind), boxed)
}

// Derive is a pseudorandom function keyed by one key of the set: the same purpose, key and info always give the same 32
// bytes, which say nothing about the key or about any other info. An empty keyID means the primary key. An unknown or
// expired one is ErrInvalid.
func (s *Sealer) Derive(ctx context.Context, purpose Purpose, keyID string, info string) ([32]byte, error) {
	var ring *ring
	var key Key
	var err error
	if keyID == "" {
		if ring, err = s.current(ctx); err == nil {
			var ok bool
			if key, ok = ring.Primary(s.now()); !ok {
				err = fmt.Errorf("%w: every key has expired", ErrUnavailable)
			}
		}
	} else if !validKeyID(keyID) {
		err = ErrInvalid
	} else {
		ring, key, err = s.find(ctx, keyID)
	}
	if err != nil {
		return [32]byte{}, err
	}
	secret := ring.prf(key, purpose)
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte(info))
	return [32]byte(mac.Sum(nil)), nil
}

// KeyID is the id of the key that a sealed value names. ok is false for text that Seal cannot have made; a true one says
// nothing about whether the value opens.
func KeyID(sealed string) (id string, ok bool) {
	id, _, ok = parse(sealed)
	return id, ok
}

// format and parse are the text of a sealed value. They are each other's inverse on all they accept, so that one sealed
// value has one spelling.
func format(id string, boxed []byte) string { return id + base64.RawURLEncoding.EncodeToString(boxed) }

func parse(sealed string) (id string, boxed []byte, ok bool) {
	if len(sealed) < keyIDLength || len(sealed) > maxSealed || !validKeyID(sealed[:keyIDLength]) {
		return "", nil, false
	}
	text := sealed[keyIDLength:]
	// Strict refuses stray bits behind the last byte; line breaks, which the decoder skips, are refused here.
	if strings.ContainsAny(text, "\r\n") {
		return "", nil, false
	}
	boxed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(boxed) < overhead {
		return "", nil, false
	}
	return sealed[:keyIDLength], boxed, true
}

// associate is the associated data: key id, purpose and place, each ending where only it can end.
func associate(id string, purpose Purpose, bind string) []byte {
	aad := make([]byte, 0, keyIDLength+binary.MaxVarintLen64+len(purpose)+len(bind))
	aad = append(aad, id...) // always keyIDLength bytes
	aad = binary.AppendUvarint(aad, uint64(len(purpose)))
	aad = append(aad, purpose...)
	return append(aad, bind...)
}

func (r *ring) aead(key Key, purpose Purpose) cipher.AEAD {
	u := use{key.ID, purpose, false}
	if v, ok := r.derived.Load(u); ok {
		return v.(cipher.AEAD)
	}
	v, _ := r.derived.LoadOrStore(u, newAEAD(DeriveKey(key.Secret[:], "mcp-access-oauth seal "+string(purpose))))
	return v.(cipher.AEAD)
}

func (r *ring) prf(key Key, purpose Purpose) [32]byte {
	u := use{key.ID, purpose, true}
	if v, ok := r.derived.Load(u); ok {
		return v.([32]byte)
	}
	v, _ := r.derived.LoadOrStore(u, DeriveKey(key.Secret[:], "mcp-access-oauth derive "+string(purpose)))
	return v.([32]byte)
}

// current is the keyset to seal with, read anew when it has grown old.
func (s *Sealer) current(ctx context.Context) (*ring, error) {
	now := s.now()
	s.mu.Lock()
	keys := s.keys
	fresh := keys != nil && now.Sub(keys.loaded) < maxAge
	wait := false
	if !fresh {
		wait = s.startLocked(ctx, now)
	}
	flight := s.flight
	s.mu.Unlock()
	switch {
	case fresh:
		return keys, nil
	case keys == nil:
		return s.await(ctx, flight)
	case wait: // the one who started the read waits a little for it, the others go on with what they have
		patient, cancel := context.WithTimeout(ctx, warmPatience)
		defer cancel()
		if newer, err := s.await(patient, flight); err == nil {
			return newer, nil
		}
	}
	return keys, nil
}

// find is the key of that id, for which the keyset is read again when it is unknown.
func (s *Sealer) find(ctx context.Context, id string) (*ring, Key, error) {
	keys, err := s.current(ctx)
	if err != nil {
		return nil, Key{}, err
	}
	now := s.now()
	if key, ok := keys.Openable(id, now); ok {
		return keys, key, nil
	}
	s.mu.Lock()
	s.startLocked(ctx, now)
	flight := s.flight
	s.mu.Unlock()
	// With the source out of reach we cannot tell an unknown key from one that we have yet to read.
	if keys, err = s.await(ctx, flight); err != nil {
		return nil, Key{}, err
	}
	if key, ok := keys.Openable(id, now); ok {
		return keys, key, nil
	}
	return nil, Key{}, ErrInvalid
}

// startLocked begins a read of the source, unless one is under way or the last is too recent, and reports whether it
// did. The read outlives the request that caused it, within loadTimeout, since others may wait for it.
func (s *Sealer) startLocked(ctx context.Context, now time.Time) bool {
	pause := retryAge
	if s.keys == nil {
		pause = coldRetryAge
	}
	if s.flight != nil || !s.tried.IsZero() && now.Sub(s.tried) < pause {
		return false
	}
	s.tried = now
	f := &flight{done: make(chan struct{})}
	s.flight = f
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		set, err := s.source.Load(ctx)
		if _, ok := set.Primary(now); err == nil && !ok {
			err = errors.New("the keyset holds no live key")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed = err; err == nil {
			s.keys = &ring{Keyset: set, loaded: now}
		}
		s.flight = nil
		close(f.done)
	}()
	return true
}

// await waits for a read, if there is one, and returns the keyset that it left, or why there is none newer.
func (s *Sealer) await(ctx context.Context, f *flight) (*ring, error) {
	if f != nil {
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: waiting for the keyset: %w", ErrUnavailable, ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, fmt.Errorf("%w: reading the keyset: %w", ErrUnavailable, s.failed)
	}
	return s.keys, nil
}
