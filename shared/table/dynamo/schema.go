package dynamo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"mcp-access-oauth/shared/table"
)

// TTLAttribute is the attribute by which DynamoDB removes what has expired.
const TTLAttribute = "expires"

// Schema is the table as this package needs it. In production template.yaml makes the same one.
func Schema(tableName string) *dynamodb.CreateTableInput {
	attribute := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	keys := func(hash string) []types.KeySchemaElement {
		return []types.KeySchemaElement{
			{AttributeName: &hash, KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		}
	}
	index := func(index table.Index) types.GlobalSecondaryIndex {
		return types.GlobalSecondaryIndex{
			IndexName:  aws.String(string(index)),
			KeySchema:  keys(string(index)),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}
	}
	return &dynamodb.CreateTableInput{
		TableName:   &tableName,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			attribute("pk"), attribute("sk"), attribute(string(table.ByUser)), attribute(string(table.ByClient)),
		},
		KeySchema:              keys("pk"),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{index(table.ByUser), index(table.ByClient)},
	}
}

// CreateTable makes the table of Schema, unless it is there, and waits until it can be used, a minute at most. It is
// for tests and the local stack.
func CreateTable(ctx context.Context, client *dynamodb.Client, tableName string) error {
	_, err := client.CreateTable(ctx, Schema(tableName))
	if _, there := errors.AsType[*types.ResourceInUseException](err); err != nil && !there {
		return fmt.Errorf("creating table %s: %w", tableName, err)
	}
	ready := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	})
	if err := ready.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &tableName}, time.Minute); err != nil {
		return fmt.Errorf("waiting for table %s: %w", tableName, err)
	}
	_, err = client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: &tableName,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(TTLAttribute), Enabled: aws.Bool(true),
		},
	})
	// dynalite has no such operation, and a table that was there has it enabled: ValidationException. Neither matters
	// here, since readers check the expiry themselves.
	if answer, ok := errors.AsType[smithy.APIError](err); err != nil &&
		!(ok && (answer.ErrorCode() == "UnknownOperationException" || answer.ErrorCode() == "ValidationException")) {
		return fmt.Errorf("turning on expiry of table %s: %w", tableName, err)
	}
	return nil
}
