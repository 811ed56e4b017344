package dynamo

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mcp-access-oauth/shared/table"
)

// errItem is a fault of the table, not of the caller: something else has written to it.
var errItem = errors.New("dynamo: the table holds an item of unknown form")

// stored is an item as the table holds it.
type stored struct {
	item table.Item
	prev string // the version that item.Version replaced; empty for a created item
}

func keyAttributes(key table.Key) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: key.Partition},
		"sk": &types.AttributeValueMemberS{Value: key.Sort},
	}
}

// attributes is item as it is stored by the write with this attempt id.
func attributes(item table.Item, id, replaces string) map[string]types.AttributeValue {
	a := keyAttributes(item.Key)
	a["version"] = &types.AttributeValueMemberS{Value: id}
	if replaces != "" {
		a["prev"] = &types.AttributeValueMemberS{Value: replaces}
	}
	if len(item.Data) > 0 {
		a["data"] = &types.AttributeValueMemberB{Value: item.Data}
	}
	if !item.Expires.IsZero() {
		a["expires"] = &types.AttributeValueMemberN{Value: strconv.FormatInt(item.Expires.Unix(), 10)}
	}
	for index, value := range item.Indexes {
		if value != "" {
			a[string(index)] = &types.AttributeValueMemberS{Value: value}
		}
	}
	return a
}

// parse is attributes undone.
func parse(a map[string]types.AttributeValue) (*stored, error) {
	s := &stored{prev: text(a, "prev")}
	s.item.Key = table.Key{Partition: text(a, "pk"), Sort: text(a, "sk")}
	s.item.Version = text(a, "version")
	if s.item.Version == "" || !s.item.Key.Possible() {
		return nil, fmt.Errorf("%w: no key or version", errItem)
	}
	if data, ok := a["data"].(*types.AttributeValueMemberB); ok {
		s.item.Data = data.Value
	}
	if expires, ok := a["expires"].(*types.AttributeValueMemberN); ok {
		seconds, err := strconv.ParseInt(expires.Value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: expires: %w", errItem, err)
		}
		s.item.Expires = time.Unix(seconds, 0).UTC()
	}
	for _, index := range []table.Index{table.ByUser, table.ByClient} {
		if value := text(a, string(index)); value != "" {
			if s.item.Indexes == nil {
				s.item.Indexes = make(map[table.Index]string, 2)
			}
			s.item.Indexes[index] = value
		}
	}
	return s, nil
}

func text(a map[string]types.AttributeValue, name string) string {
	if s, ok := a[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}
