package dynamo

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mcp-access-oauth/shared/table"
)

// maxPage is the largest page of List. DynamoDB ends a page at 1 MB in any case.
const maxPage = 1000

// List implements table.Table by one strongly consistent Query. Expired items count towards the limit that DynamoDB
// applies, so a page may hold fewer.
func (t *Table) List(ctx context.Context, partition string, opts table.ListOptions) (table.Page, error) {
	if err := opts.Check(); err != nil {
		return table.Page{}, err
	}
	if !(table.Key{Partition: partition, Sort: "any"}).Possible() {
		return table.Page{}, nil
	}
	query := &dynamodb.QueryInput{
		TableName:              &t.name,
		ConsistentRead:         aws.Bool(true),
		ScanIndexForward:       aws.Bool(!opts.Descending),
		Limit:                  aws.Int32(int32(opts.PageSize(maxPage))),
		KeyConditionExpression: aws.String("pk = :pk"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":pk": &types.AttributeValueMemberS{Value: partition},
		},
	}
	if opts.After != "" {
		query.KeyConditionExpression = aws.String("pk = :pk AND sk > :after")
		query.ExpressionAttributeValues[":after"] = &types.AttributeValueMemberS{Value: opts.After}
	}
	if opts.Cursor != "" {
		last, err := table.ParsePartitionCursor(partition, opts.Cursor)
		if err != nil {
			return table.Page{}, err
		}
		// DynamoDB refuses a start that the condition excludes. Since the page before, After may have moved past it.
		switch {
		case opts.After == "" || last.Sort > opts.After:
			query.ExclusiveStartKey = keyAttributes(last)
		case opts.Descending:
			return table.Page{}, nil
		}
	}
	out, err := t.query(ctx, query)
	if err != nil {
		return table.Page{}, err
	}
	var page table.Page
	now := t.now()
	for _, attributes := range out.Items {
		s, err := parse(attributes)
		if err != nil {
			return table.Page{}, err
		}
		if s.item.Live(now) {
			page.Items = append(page.Items, s.item)
		}
	}
	if len(out.LastEvaluatedKey) > 0 {
		page.Cursor = table.PartitionCursor(keyOf(out.LastEvaluatedKey))
	}
	return page, nil
}

// ListIndex implements table.Table by one Query of the index, which yields keys, and one read of the items.
func (t *Table) ListIndex(ctx context.Context, index table.Index, value string, opts table.ListOptions) (table.Page, error) {
	if err := table.CheckIndex(index, value); err != nil {
		return table.Page{}, err
	}
	query := &dynamodb.QueryInput{
		TableName:                &t.name,
		IndexName:                aws.String(string(index)),
		Limit:                    aws.Int32(int32(opts.PageSize(table.MaxGet))),
		KeyConditionExpression:   aws.String("#index = :value"),
		ExpressionAttributeNames: map[string]string{"#index": string(index)},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":value": &types.AttributeValueMemberS{Value: value},
		},
	}
	if opts.Cursor != "" {
		last, err := table.ParseIndexCursor(index, value, opts.Cursor)
		if err != nil {
			return table.Page{}, err
		}
		query.ExclusiveStartKey = keyAttributes(last)
		query.ExclusiveStartKey[string(index)] = &types.AttributeValueMemberS{Value: value}
	}
	out, err := t.query(ctx, query)
	if err != nil {
		return table.Page{}, err
	}
	keys := make([]table.Key, len(out.Items))
	for i, attributes := range out.Items {
		keys[i] = keyOf(attributes)
	}
	items, err := t.Get(ctx, keys...)
	if err != nil {
		return table.Page{}, err
	}
	var page table.Page
	for _, item := range items {
		if item != nil && item.Indexes[index] == value {
			page.Items = append(page.Items, *item)
		}
	}
	if len(out.LastEvaluatedKey) > 0 {
		page.Cursor = table.IndexCursor(index, value, keyOf(out.LastEvaluatedKey))
	}
	return page, nil
}

func (t *Table) query(ctx context.Context, query *dynamodb.QueryInput) (out *dynamodb.QueryOutput, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.limits.call)
	defer cancel()
	_, err = t.attempt(ctx, "listing items", func(ctx context.Context) (err error) {
		out, err = t.client.Query(ctx, query, once)
		return err
	})
	return out, err
}

func keyOf(a map[string]types.AttributeValue) table.Key {
	return table.Key{Partition: text(a, "pk"), Sort: text(a, "sk")}
}
