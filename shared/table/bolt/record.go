package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"mcp-access-oauth/shared/table"
)

// An item's key in the items bucket is the length of its partition in two bytes, the partition, and the sort: all
// items of a partition stand together, in bytewise order of their sorts, and no partition is the prefix of another.
//
// Its value is a record:
//
//	1 byte    the format, 1
//	22 bytes  the version
//	8 bytes   when it expires, in Unix seconds, big endian; the least int64 means never
//	2 bytes   the length of the head so far and the two index values that follow
//	2 bytes   the length of the user value; the user value; the client value
//	the data
//
// An entry of the index bucket has no value. Its key is one letter for the index, the length of the value in two
// bytes, the value, and the item's key.
type record []byte

const (
	format      = 1
	versionAt   = 1
	expiresAt   = versionAt + table.VersionBytes
	headAt      = expiresAt + 8
	userLenAt   = headAt + 2
	userAt      = userLenAt + 2
	neverExpire = math.MinInt64
)

// errFormat is a fault of the file, not of the caller: a later version of this program wrote it, or it is damaged.
var errFormat = errors.New("the store holds a record of unknown format")

// indexes are the indexes in the order in which a record holds their values, with their letters in the index bucket.
var indexes = [...]struct {
	index  table.Index
	letter byte
}{{table.ByUser, 'u'}, {table.ByClient, 'c'}}

func encode(item table.Item, version string) []byte {
	user, client := item.Indexes[table.ByUser], item.Indexes[table.ByClient]
	head := userAt + len(user) + len(client)
	b := make([]byte, 0, head+len(item.Data))
	b = append(b, format)
	b = append(b, version...)
	expires := int64(neverExpire)
	if !item.Expires.IsZero() {
		expires = item.Expires.Unix()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	b = binary.BigEndian.AppendUint16(b, uint16(head))
	b = binary.BigEndian.AppendUint16(b, uint16(len(user)))
	b = append(b, user...)
	b = append(b, client...)
	return append(b, item.Data...)
}

// check makes the accessors below safe to call.
func (r record) check() error {
	if len(r) < userAt || r[0] != format || r.head() > len(r) || r.head() < userAt+r.userLen() {
		return errFormat
	}
	return nil
}

func (r record) version() []byte { return r[versionAt:expiresAt] }
func (r record) expires() int64  { return int64(binary.BigEndian.Uint64(r[expiresAt:])) }
func (r record) head() int       { return int(binary.BigEndian.Uint16(r[headAt:])) }
func (r record) userLen() int    { return int(binary.BigEndian.Uint16(r[userLenAt:])) }

// values returns the value that the record bears for each of indexes; empty where it bears none.
func (r record) values() [len(indexes)][]byte {
	if r == nil {
		return [len(indexes)][]byte{}
	}
	client := userAt + r.userLen()
	return [len(indexes)][]byte{r[userAt:client], r[client:r.head()]}
}

// live says of a record what table.Item.Live says of an item: it expires at the instant named.
func (r record) live(now time.Time) bool {
	return r.expires() == neverExpire || now.Unix() < r.expires()
}

// item copies the record out of the file's memory, in two allocations and one for the map of indexes.
func (r record) item(key table.Key) *table.Item {
	head := string(r[:r.head()])
	item := &table.Item{Key: key, Version: head[versionAt:expiresAt], Data: bytes.Clone(r[r.head():])}
	if e := r.expires(); e != neverExpire {
		item.Expires = time.Unix(e, 0).UTC()
	}
	client := userAt + r.userLen()
	if client > userAt {
		item.Indexes = map[table.Index]string{table.ByUser: head[userAt:client]}
	}
	if len(head) > client {
		if item.Indexes == nil {
			item.Indexes = make(map[table.Index]string, 1)
		}
		item.Indexes[table.ByClient] = head[client:]
	}
	return item
}

// lookUp finds the record under an encoded key. It is good until the transaction ends or writes there.
func lookUp(items *bbolt.Bucket, key []byte) (record, bool, error) {
	r := record(items.Get(key))
	if r == nil {
		return nil, false, nil
	}
	return r, true, r.check()
}

// read finds an item, expired or not; nil when there is none.
func read(items *bbolt.Bucket, key table.Key) (*table.Item, error) {
	r, found, err := lookUp(items, encodeKey(key))
	if err != nil {
		return nil, unavailable(err)
	}
	if !found {
		return nil, nil
	}
	return r.item(key), nil
}

// reindex moves the index entries of the item at key from its stored record, if any, to its new one, if any. An item
// that keeps its values, as nearly every replaced one does, costs nothing here.
func reindex(bucket *bbolt.Bucket, key []byte, stored, written record) error {
	before, after := stored.values(), written.values()
	for i, index := range indexes {
		if bytes.Equal(before[i], after[i]) {
			continue
		}
		if len(before[i]) > 0 {
			if err := bucket.Delete(append(indexPrefix(index.letter, before[i]), key...)); err != nil {
				return err
			}
		}
		if len(after[i]) > 0 {
			if err := bucket.Put(append(indexPrefix(index.letter, after[i]), key...), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func encodeKey(key table.Key) []byte {
	return append(partitionPrefix(key.Partition, len(key.Sort)), key.Sort...)
}

// partitionPrefix begins the keys of a partition, with room for a sort behind it.
func partitionPrefix(partition string, room int) []byte {
	b := make([]byte, 0, 2+len(partition)+room)
	b = binary.BigEndian.AppendUint16(b, uint16(len(partition)))
	return append(b, partition...)
}

// decodeKey is encodeKey undone.
func decodeKey(b []byte) (table.Key, error) {
	if len(b) < 2 {
		return table.Key{}, errFormat
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n > len(b) {
		return table.Key{}, errFormat
	}
	return table.Key{Partition: string(b[:n]), Sort: string(b[n:])}, nil
}

func indexPrefix[S string | []byte](letter byte, value S) []byte {
	b := make([]byte, 0, 3+len(value)+2*table.MaxKeyBytes)
	b = append(b, letter)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}
