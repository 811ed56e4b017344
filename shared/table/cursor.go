package table

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// A cursor is base64url text of
//
//	8 bytes   the head of SHA-256 over the list's name, so that a cursor of one list is refused by another
//	2 bytes   the length of the partition
//	the partition and the sort of the last key that was considered
//
// It names a place, not a snapshot: whoever bends it only gets another place in a list that it may read anyway.

const cursorTag = 8

// PartitionCursor returns the cursor that continues a List after last.
func PartitionCursor(last Key) string { return cursor(partitionList(last.Partition), last) }

// IndexCursor returns the cursor that continues a ListIndex after last.
func IndexCursor(index Index, value string, last Key) string {
	return cursor(indexList(index, value), last)
}

// ParsePartitionCursor returns the key that PartitionCursor was given, or ErrCursor.
func ParsePartitionCursor(partition, text string) (Key, error) {
	last, err := parseCursor(partitionList(partition), text)
	if err == nil && last.Partition != partition {
		err = ErrCursor
	}
	return last, err
}

// ParseIndexCursor returns the key that IndexCursor was given, or ErrCursor.
func ParseIndexCursor(index Index, value, text string) (Key, error) {
	return parseCursor(indexList(index, value), text)
}

func cursor(list string, last Key) string {
	b := listTag(list)
	b = binary.BigEndian.AppendUint16(b, uint16(len(last.Partition)))
	b = append(b, last.Partition...)
	b = append(b, last.Sort...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(list, text string) (Key, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < cursorTag+2 || string(b[:cursorTag]) != string(listTag(list)) {
		return Key{}, ErrCursor
	}
	b = b[cursorTag:]
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n > len(b) {
		return Key{}, ErrCursor
	}
	last := Key{Partition: string(b[:n]), Sort: string(b[n:])}
	if !last.Possible() {
		return Key{}, ErrCursor
	}
	return last, nil
}

func partitionList(partition string) string      { return "partition\x00" + partition }
func indexList(index Index, value string) string { return "index\x00" + string(index) + "\x00" + value }

func listTag(list string) []byte {
	sum := sha256.Sum256([]byte(list))
	return append(make([]byte, 0, 64), sum[:cursorTag]...)
}
