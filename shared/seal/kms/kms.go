// Package kms supplies the keyset that AWS Lambda functions share: one record in the table, wrapped by AWS KMS. It owns
// that record and the calls to KMS, and hands off when to read it to seal.Sealer.
//
// The whole keyset, times included, is the plaintext of one KMS Encrypt call (4,096 bytes would hold some 25 keys; there
// are three at most), so a cold start costs one table read and one Decrypt, and who can write to the table can neither
// read a key nor change when it seals. The encryption context {purpose, stack} is authenticated with it and appears in
// CloudTrail and in key policies.
package kms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/table"
)

// Purpose is the value of "purpose" in the encryption context; template.yaml's conditions name it too.
const Purpose = "mcp-access-oauth keyset"

// recordKey is where the record stands. There is one keyset per table.
var recordKey = table.Key{Partition: "keyset", Sort: "browser"}

// attempts bounds how often a lost race for the record is run again.
const attempts = 4

// Config is what a Source is built from.
type Config struct {
	Table table.Table
	// Client makes the KMS client on first use: a function that is never asked to seal does without.
	Client func() *awskms.Client
	// KeyID is the KMS key's id, ARN or alias. Decrypt names it too, so that no other key's ciphertext is accepted.
	KeyID string
	// Stack stands in the encryption context: two stacks that share a key cannot open each other's records.
	Stack string
	Now   func() time.Time
	Rand  io.Reader
}

// Source is the keyset of one stack. It is safe for concurrent use.
type Source struct {
	cfg    Config
	client func() *awskms.Client

	mu     sync.Mutex
	record []byte // the stored bytes that keyset was opened from
	keyset seal.Keyset
}

var _ seal.Source = (*Source)(nil)

// New returns a Source. It makes no call.
func New(cfg Config) *Source { return &Source{cfg: cfg, client: sync.OnceValue(cfg.Client)} }

// Load reads the record, and creates it when there is none. KMS is asked only when the stored bytes differ from those
// opened last. All errors wrap seal.ErrUnavailable.
func (s *Source) Load(ctx context.Context) (seal.Keyset, error) {
	keyset, _, err := s.load(ctx)
	if err != nil {
		return seal.Keyset{}, fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
	}
	return keyset, nil
}

// Rotate does the janitor's part: it adds a key when one is due, removes keys whose time is over, and stores the keyset
// if that changed it. Concurrent calls rotate once. Errors wrap seal.ErrUnavailable and leave the record as it was.
func (s *Source) Rotate(ctx context.Context) (seal.Rotation, error) {
	for range attempts {
		keyset, item, err := s.load(ctx)
		if err != nil {
			return seal.Rotation{}, fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
		}
		next, done, err := keyset.Rotate(s.cfg.Now(), s.newKey)
		if err != nil {
			return seal.Rotation{}, fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
		}
		if !done.Changed() {
			return seal.Rotation{}, nil
		}
		item.Data, err = s.wrap(ctx, next)
		if err == nil {
			_, err = s.cfg.Table.Replace(ctx, item)
		}
		if err == nil {
			s.remember(item.Data, next)
			return done, nil
		}
		if !errors.Is(err, table.ErrConflict) { // somebody else rotated: see whether anything is left to do
			return seal.Rotation{}, fmt.Errorf("%w: storing the rotated keyset: %w", seal.ErrUnavailable, err)
		}
	}
	return seal.Rotation{}, fmt.Errorf("%w: the keyset's record changes all the time", seal.ErrUnavailable)
}

func (s *Source) load(ctx context.Context) (seal.Keyset, table.Item, error) {
	for range attempts {
		items, err := s.cfg.Table.Get(ctx, recordKey)
		if err != nil {
			return seal.Keyset{}, table.Item{}, fmt.Errorf("reading keyset record: %w", err)
		}
		if items[0] != nil {
			keyset, err := s.unwrap(ctx, items[0].Data)
			return keyset, *items[0], err
		}
		keyset, item, err := s.create(ctx)
		if !errors.Is(err, table.ErrExists) { // else another function was first: its keyset it is
			return keyset, item, err
		}
	}
	return seal.Keyset{}, table.Item{}, errors.New("the keyset's record comes and goes")
}

func (s *Source) create(ctx context.Context) (seal.Keyset, table.Item, error) {
	keyset, _, err := seal.Keyset{}.Rotate(s.cfg.Now(), s.newKey)
	if err != nil {
		return seal.Keyset{}, table.Item{}, err
	}
	item := table.Item{Key: recordKey}
	if item.Data, err = s.wrap(ctx, keyset); err != nil {
		return seal.Keyset{}, table.Item{}, err
	}
	if item.Version, err = s.cfg.Table.Create(ctx, item); err != nil {
		return seal.Keyset{}, table.Item{}, fmt.Errorf("creating keyset record: %w", err)
	}
	s.remember(item.Data, keyset)
	return keyset, item, nil
}

func (s *Source) newKey(primaryFrom time.Time) (seal.Key, error) {
	return seal.NewKey(s.cfg.Rand, primaryFrom)
}

func (s *Source) remember(record []byte, keyset seal.Keyset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record, s.keyset = bytes.Clone(record), keyset
}

func (s *Source) encryptionContext() map[string]string {
	return map[string]string{"purpose": Purpose, "stack": s.cfg.Stack}
}

func (s *Source) wrap(ctx context.Context, keyset seal.Keyset) ([]byte, error) {
	plaintext, err := keyset.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding keyset: %w", err)
	}
	out, err := s.client().Encrypt(ctx, &awskms.EncryptInput{
		KeyId:             aws.String(s.cfg.KeyID),
		Plaintext:         plaintext,
		EncryptionContext: s.encryptionContext(),
	}, bounded)
	if err != nil {
		return nil, fmt.Errorf("wrapping keyset: %w", err)
	}
	return out.CiphertextBlob, nil
}

func (s *Source) unwrap(ctx context.Context, record []byte) (seal.Keyset, error) {
	s.mu.Lock()
	known, keyset := bytes.Equal(record, s.record), s.keyset
	s.mu.Unlock()
	if known {
		return keyset, nil
	}
	out, err := s.client().Decrypt(ctx, &awskms.DecryptInput{
		KeyId:             aws.String(s.cfg.KeyID),
		CiphertextBlob:    record,
		EncryptionContext: s.encryptionContext(),
	}, bounded)
	if err != nil {
		return seal.Keyset{}, fmt.Errorf("unwrapping keyset: %w", err)
	}
	if keyset, err = seal.DecodeKeyset(out.Plaintext); err != nil {
		return seal.Keyset{}, err
	}
	s.remember(record, keyset)
	return keyset, nil
}

// bounded keeps the SDK's own retries within a second; its defaults let a throttled call last some five.
func bounded(o *awskms.Options) {
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = 3
		r.MaxBackoff = 300 * time.Millisecond
	})
}
