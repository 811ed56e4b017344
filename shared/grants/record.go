package grants

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"mcp-access-oauth/shared/table"
)

const (
	partitionPrefix = "grant#"
	sortKey         = "grant"
)

// Key is where the grant stands. Any id may be asked for; one that we did not make is merely absent.
func Key(id string) table.Key { return table.Key{Partition: partitionPrefix + id, Sort: sortKey} }

// UserIndex is the value of the table's user index for a person (policy.Identity.User): a hash, for the index is not
// sealed.
func UserIndex(user string) string { return hashed("user\x00" + user) }

// clientIndex is a hash too, for a client id may be a URL of any length.
func clientIndex(clientID string) string { return hashed("client\x00" + clientID) }

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// item is the grant as the table stores it. A tombstone stands in no index.
func (g Grant) item() (table.Item, error) {
	data, err := json.Marshal(g)
	if err != nil {
		return table.Item{}, fmt.Errorf("encoding grant: %w", err)
	}
	// The table counts in seconds; the grant's own time is checked to the millisecond by every transition.
	expires := max(g.Ends, g.Created.add(keepTombstone)).time().Add(time.Second).Truncate(time.Second)
	item := table.Item{Key: Key(g.ID), Data: data, Expires: expires}
	if g.Revoked == 0 {
		item.Indexes = map[table.Index]string{table.ByClient: clientIndex(g.ClientID)}
		if g.User != "" {
			item.Indexes[table.ByUser] = g.User
		}
	}
	return item, nil
}

// Decode reads a grant from its item. An item under another grant's key is not taken for one.
func Decode(item table.Item) (Grant, error) {
	var g Grant
	if err := json.Unmarshal(item.Data, &g); err != nil {
		return Grant{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if item.Key != Key(g.ID) {
		return Grant{}, fmt.Errorf("%w: it stands under another key", errCorrupt)
	}
	return g, nil
}
