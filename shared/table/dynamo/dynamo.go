// Package dynamo keeps a table.Table in one DynamoDB table: the backend of a server on AWS Lambda.
//
// It owns the shape of a stored item, the conditions of writes, the retrying of calls within a bounded time, and the
// answer to "did my write count?" when an answer was lost (docs/decisions/0002-version-is-the-attempt-id.md). It makes
// no table in production, template.yaml does; Schema is for tests and the local stack. What the data means is the
// caller's affair.
//
// An item has these attributes:
//
//	pk, sk        S  the key
//	data          B  Item.Data; absent when empty
//	version       S  the attempt id of the write that stored the item
//	prev          S  the version that this write replaced; absent on an item that was created
//	expires       N  Unix seconds, the table's TTL attribute; absent when never. Readers and conditions compare it with
//	                 their own clock, since DynamoDB removes an item up to days later
//	user, client  S  the values of Item.Indexes, the hash keys of the indexes of the same names, each with sk as its
//	                 range key
//
// The indexes project keys only. A write that keeps an item's index values, as every refresh of a grant does, then
// costs nothing at the indexes; ListIndex reads the items themselves from the table, by one BatchGetItem.
//
// The permissions it needs: GetItem, BatchGetItem, PutItem, DeleteItem and Query on the table, Query on its indexes.
package dynamo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mcp-access-oauth/shared/table"
)

// Table is a table.Table in DynamoDB. Make it with New.
type Table struct {
	client *dynamodb.Client
	name   string
	now    func() time.Time
	limits limits
}

var _ table.Table = (*Table)(nil)

// New returns the table called tableName. It calls nothing yet. The client's own retryer is not used: see attempt.
func New(client *dynamodb.Client, tableName string, now func() time.Time) *Table {
	return &Table{client: client, name: tableName, now: now, limits: limits{bound, patience}}
}

// ForEmulator lets calls last ten times as long, and returns the table. An emulator shares the machine with everything that
// asks it, and its answer comes late when that is busy, not when a connection has died.
func (t *Table) ForEmulator() *Table {
	t.limits = limits{10 * bound, 10 * patience}
	return t
}

// Get implements table.Table: one GetItem for one key, one BatchGetItem for several.
func (t *Table) Get(ctx context.Context, keys ...table.Key) ([]*table.Item, error) {
	if len(keys) > table.MaxGet {
		return nil, fmt.Errorf("reading %d items in one call: the most is %d", len(keys), table.MaxGet)
	}
	ctx, cancel := context.WithTimeout(ctx, t.limits.call)
	defer cancel()
	found := make([]*table.Item, len(keys))
	var wanted []table.Key
	for _, key := range keys {
		if key.Possible() {
			wanted = append(wanted, key)
		}
	}
	stored, err := t.load(ctx, wanted)
	if err != nil {
		return nil, err
	}
	now := t.now()
	for i, key := range keys {
		if s, ok := stored[key]; ok && s.item.Live(now) {
			item := s.item
			found[i] = &item
		}
	}
	return found, nil
}

// Create implements table.Table.
func (t *Table) Create(ctx context.Context, item table.Item) (string, error) {
	return t.put(ctx, item, "", table.ErrExists, condition{
		expression: "attribute_not_exists(pk) OR #expires <= :now",
		names:      map[string]string{"#expires": "expires"},
		values:     map[string]types.AttributeValue{":now": t.nowValue()},
	})
}

// Replace implements table.Table.
func (t *Table) Replace(ctx context.Context, item table.Item) (string, error) {
	return t.put(ctx, item, item.Version, table.ErrConflict, t.standing(item.Version))
}

// Delete implements table.Table.
func (t *Table) Delete(ctx context.Context, key table.Key, version string) error {
	if !key.Possible() || version == "" {
		return table.ErrConflict
	}
	ctx, cancel := context.WithTimeout(ctx, t.limits.call)
	defer cancel()
	condition := t.standing(version)
	lost, err := t.attempt(ctx, "deleting an item", func(ctx context.Context) error {
		_, err := t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName:                 &t.name,
			Key:                       keyAttributes(key),
			ConditionExpression:       &condition.expression,
			ExpressionAttributeNames:  condition.names,
			ExpressionAttributeValues: condition.values,
		}, once)
		return err
	})
	refusal, refused := errors.AsType[*types.ConditionalCheckFailedException](err)
	switch {
	case !refused:
		return err
	case !lost:
		return table.ErrConflict
	}
	// An earlier attempt may have deleted it. If nothing stands there now, what the caller wanted is so.
	stored, err := t.remaining(ctx, key, refusal)
	if err != nil {
		return err
	}
	if stored != nil {
		return table.ErrConflict
	}
	return nil
}

// condition is a condition expression with what it names.
type condition struct {
	expression string
	names      map[string]string
	values     map[string]types.AttributeValue
}

// standing is the condition that a live item of this version stands there.
func (t *Table) standing(version string) condition {
	return condition{
		expression: "#version = :version AND (attribute_not_exists(#expires) OR #expires > :now)",
		names:      map[string]string{"#version": "version", "#expires": "expires"},
		values: map[string]types.AttributeValue{
			":version": &types.AttributeValueMemberS{Value: version},
			":now":     t.nowValue(),
		},
	}
}

func (t *Table) nowValue() types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(t.now().Unix(), 10)}
}

// put stores item in the place of version replaces, which is empty for Create, or fails with refusedAs.
func (t *Table) put(
	ctx context.Context, item table.Item, replaces string, refusedAs error, condition condition,
) (version string, err error) {
	if err := item.Check(); err != nil {
		return "", err
	}
	if replaces == "" && errors.Is(refusedAs, table.ErrConflict) {
		return "", table.ErrConflict // no stored item lacks a version
	}
	ctx, cancel := context.WithTimeout(ctx, t.limits.call)
	defer cancel()
	// One attempt id for all attempts: whichever of them is stored, it is this write.
	id := table.NewVersion()
	lost, err := t.attempt(ctx, "storing an item", func(ctx context.Context) error {
		_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName:                           &t.name,
			Item:                                attributes(item, id, replaces),
			ConditionExpression:                 &condition.expression,
			ExpressionAttributeNames:            condition.names,
			ExpressionAttributeValues:           condition.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}, once)
		return err
	})
	refusal, refused := errors.AsType[*types.ConditionalCheckFailedException](err)
	switch {
	case err == nil:
		return id, nil
	case !refused:
		return "", err
	case !lost:
		return "", refusedAs
	}
	stored, err := t.remaining(ctx, item.Key, refusal)
	if err != nil {
		return "", err
	}
	switch {
	case stored == nil:
		return "", errOvertaken
	case stored.item.Version == id || stored.prev == id:
		return id, nil // ours, and perhaps already built upon
	case replaces == "":
		return "", refusedAs // an item stands there, which is all that ErrExists says
	case stored.prev == replaces || stored.item.Version == replaces:
		return "", refusedAs // another came first, or what we wanted to replace has expired
	default:
		return "", errOvertaken
	}
}

// errOvertaken is the answer when an earlier attempt's answer was lost and so much was written since that the item no
// longer tells whether that attempt counted.
var errOvertaken = fmt.Errorf("%w: an answer was lost, and others have written since", table.ErrUnavailable)

// remaining returns the item in the way of a write: as the refusal shows it, or read anew where it shows none, because
// there is none or because the endpoint does not say (dynalite).
func (t *Table) remaining(
	ctx context.Context, key table.Key, refusal *types.ConditionalCheckFailedException,
) (*stored, error) {
	if len(refusal.Item) > 0 {
		return parse(refusal.Item)
	}
	found, err := t.load(ctx, []table.Key{key})
	if err != nil {
		return nil, err
	}
	return found[key], nil
}

// load reads items strongly consistently, expired or not. The keys are possible ones; any of them may come twice.
func (t *Table) load(ctx context.Context, keys []table.Key) (map[table.Key]*stored, error) {
	found := make(map[table.Key]*stored, len(keys))
	take := func(attributes map[string]types.AttributeValue) error {
		s, err := parse(attributes)
		if err == nil {
			found[s.item.Key] = s
		}
		return err
	}
	var err error
	switch len(keys) {
	case 0:
	case 1:
		_, err = t.attempt(ctx, "reading an item", func(ctx context.Context) error {
			out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
				TableName: &t.name, Key: keyAttributes(keys[0]), ConsistentRead: aws.Bool(true),
			}, once)
			if err != nil || len(out.Item) == 0 {
				return err
			}
			return take(out.Item)
		})
	default:
		pending := make([]map[string]types.AttributeValue, 0, len(keys))
		distinct := make(map[table.Key]bool, len(keys)) // BatchGetItem refuses a key that comes twice
		for _, key := range keys {
			if !distinct[key] {
				distinct[key] = true
				pending = append(pending, keyAttributes(key))
			}
		}
		_, err = t.attempt(ctx, "reading items", func(ctx context.Context) (err error) {
			pending, err = t.loadBatch(ctx, pending, take)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// loadBatch reads items by their keys and returns the keys it still has to read: DynamoDB answers with a part where it
// is throttled or the whole would be over 16 MB. It is an error only when it got nowhere.
func (t *Table) loadBatch(
	ctx context.Context, pending []map[string]types.AttributeValue, take func(map[string]types.AttributeValue) error,
) ([]map[string]types.AttributeValue, error) {
	for len(pending) > 0 {
		out, err := t.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
			RequestItems: map[string]types.KeysAndAttributes{
				t.name: {Keys: pending, ConsistentRead: aws.Bool(true)},
			},
		}, once)
		if err != nil {
			return pending, err
		}
		for _, attributes := range out.Responses[t.name] {
			if err := take(attributes); err != nil {
				return pending, err
			}
		}
		before := len(pending)
		pending = out.UnprocessedKeys[t.name].Keys
		if len(pending) >= before {
			return pending, errUnprocessed
		}
	}
	return nil, nil
}
