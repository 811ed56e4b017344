package table

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrKey is returned for a key, an After or an index value that no backend can store. Reads of such a key find
// nothing instead, so that an identifier of a stranger's making is merely unknown.
var ErrKey = errors.New("table: bad key")

const (
	// MaxKeyBytes bounds each half of a Key. DynamoDB would take 2,048 and 1,024 bytes.
	MaxKeyBytes = 512
	// MaxIndexBytes bounds a value of Item.Indexes. DynamoDB would take 2,048 bytes.
	MaxIndexBytes = 1024
)

// Possible reports whether an item can stand under k: both halves non-empty, valid UTF-8 (DynamoDB's strings are;
// replacing a bad byte could make one key of two) and at most MaxKeyBytes long.
func (k Key) Possible() bool {
	return possible(k.Partition, MaxKeyBytes) && possible(k.Sort, MaxKeyBytes)
}

// Check is what every backend asks before it stores i: ErrKey or ErrTooLarge. An empty index value is no value.
func (i Item) Check() error {
	if !i.Key.Possible() {
		return ErrKey
	}
	for index, value := range i.Indexes {
		if value == "" {
			continue
		}
		if err := CheckIndex(index, value); err != nil {
			return err
		}
	}
	if len(i.Data) > MaxItemBytes {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(i.Data))
	}
	return nil
}

// CheckIndex is what every backend asks of the arguments of ListIndex.
func CheckIndex(index Index, value string) error {
	if index != ByUser && index != ByClient {
		return fmt.Errorf("%w: no index is named %q", ErrKey, index)
	}
	if !possible(value, MaxIndexBytes) {
		return fmt.Errorf("%w: value of index %q", ErrKey, index)
	}
	return nil
}

// Check is what every backend asks of the options of List and ListIndex. Of a cursor it knows nothing yet.
func (o ListOptions) Check() error {
	if o.After != "" && !possible(o.After, MaxKeyBytes) {
		return fmt.Errorf("%w: after", ErrKey)
	}
	return nil
}

// PageSize is Limit with its default, and no more than most.
func (o ListOptions) PageSize(most int) int {
	if o.Limit <= 0 {
		return min(100, most)
	}
	return min(o.Limit, most)
}

func possible(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s)
}

// VersionBytes is the length of the text that NewVersion returns.
const VersionBytes = 22

// NewVersion returns an attempt id: 128 random bits as base64url text, so that no two writes ever bear the same.
func NewVersion() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process first
	return base64.RawURLEncoding.EncodeToString(id[:])
}
