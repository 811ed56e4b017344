package clients

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strings"

	"mcp-access-oauth/shared/table"
)

const (
	partition = "client"
	idPrefix  = "dyn_"
	// documentPrefix begins the sort key of a metadata document's copy. No id begins with it: '=' is not allowed there.
	documentPrefix = "doc="
	maxIDBytes     = 128
)

// Key is where the table keeps a client, for a Get together with other records. ok is false for an id that no client
// can have. A Document client's item is a copy, and its absence says nothing.
func Key(id string) (key table.Key, ok bool) {
	if isDocumentID(id) {
		sum := sha256.Sum256([]byte(id))
		return table.Key{Partition: partition, Sort: documentPrefix + base62(sum[:])}, true
	}
	if !validID(id) {
		return table.Key{}, false
	}
	return table.Key{Partition: partition, Sort: id}, true
}

// validID takes the unreserved characters of RFC 3986 section 2.3.
func validID(id string) bool {
	if id == "" || len(id) > maxIDBytes {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", rune(c)) {
			return false
		}
	}
	return true
}

// Decode reads a client from its item.
func Decode(item table.Item) (Client, error) {
	var r struct {
		ID string `json:"client_id"`
		Client
	}
	if err := json.Unmarshal(item.Data, &r); err != nil {
		return Client{}, fmt.Errorf("decoding client: %w", err)
	}
	if key, ok := Key(r.ID); !ok || key != item.Key {
		return Client{}, fmt.Errorf("decoding client: the record names another client than its key")
	}
	r.Client.ID = r.ID
	r.stored = stored{version: item.Version, expires: item.Expires}
	if r.Kind == Document {
		r.stored.fingerprint = r.Fingerprint()
	}
	return r.Client, nil
}

// encode makes the item of a client. Version and Expires are the caller's.
func encode(c Client) (table.Item, error) {
	key, ok := Key(c.ID)
	if !ok {
		return table.Item{}, fmt.Errorf("encoding client: bad id")
	}
	data, err := json.Marshal(struct {
		ID string `json:"client_id"`
		Client
	}{c.ID, c})
	if err != nil {
		return table.Item{}, fmt.Errorf("encoding client: %w", err)
	}
	return table.Item{Key: key, Data: data}, nil
}

// hashID is the id of a client that has no secret: a hash of every stored field, so that the same metadata is always the
// same client. 256 bits leave no room for a second client with a chosen id.
func hashID(c Client) (string, error) {
	c.ID = ""
	data, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding client: %w", err)
	}
	sum := sha256.Sum256(append([]byte("client id/1\x00"), data...))
	return idPrefix + base62(sum[:]), nil
}

// random is prefix and 256 random bits.
func random(rand io.Reader, prefix string) (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return prefix + base62(b[:]), nil
}

// base62 writes 32 bytes in 43 characters.
func base62(b []byte) string {
	s := new(big.Int).SetBytes(b).Text(62)
	return strings.Repeat("0", max(0, 43-len(s))) + s
}
