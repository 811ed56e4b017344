package template

import (
	"slices"
	"testing"

	"mcp-access-oauth/shared/table/dynamo"
)

// TestTable: the deployed table is the one that table/dynamo describes, and does not get lost.
func TestTable(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		table, schema := d.Resources["Table"], dynamo.Schema("x")
		var definitions, keys, indexes []string
		for _, a := range schema.AttributeDefinitions {
			definitions = append(definitions, *a.AttributeName+" "+string(a.AttributeType))
		}
		for _, k := range schema.KeySchema {
			keys = append(keys, *k.AttributeName+" "+string(k.KeyType))
		}
		for _, i := range schema.GlobalSecondaryIndexes {
			line := *i.IndexName + " " + string(i.Projection.ProjectionType)
			for _, k := range i.KeySchema {
				line += " " + *k.AttributeName + " " + string(k.KeyType)
			}
			indexes = append(indexes, line)
		}
		if got := pairs(table.Properties["AttributeDefinitions"], "AttributeName", "AttributeType"); !slices.Equal(got, definitions) {
			t.Errorf("attributes %v, want %v", got, definitions)
		}
		if got := pairs(table.Properties["KeySchema"], "AttributeName", "KeyType"); !slices.Equal(got, keys) {
			t.Errorf("keys %v, want %v", got, keys)
		}
		var got []string
		for _, i := range list(table.Properties["GlobalSecondaryIndexes"]) {
			line, _ := at(i, "IndexName").(string)
			projection, _ := at(i, "Projection", "ProjectionType").(string)
			line += " " + projection
			for _, pair := range pairs(at(i, "KeySchema"), "AttributeName", "KeyType") {
				line += " " + pair
			}
			got = append(got, line)
		}
		if !slices.Equal(got, indexes) {
			t.Errorf("indexes %v, want %v", got, indexes)
		}
		if at(table.Properties, "TimeToLiveSpecification", "AttributeName") != dynamo.TTLAttribute || at(table.Properties, "TimeToLiveSpecification", "Enabled") != true {
			t.Errorf("time to live: %v", table.Properties["TimeToLiveSpecification"])
		}
		if at(table.Properties, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") != true || table.Properties["DeletionProtectionEnabled"] != true {
			t.Error("the table can be lost")
		}
		if table.Properties["BillingMode"] != "PAY_PER_REQUEST" {
			t.Errorf("billing: %v", table.Properties["BillingMode"])
		}
	})
}

func pairs(items any, first, second string) []string {
	var found []string
	for _, item := range list(items) {
		a, _ := at(item, first).(string)
		b, _ := at(item, second).(string)
		found = append(found, a+" "+b)
	}
	return found
}

// TestWhatStays: what cannot be made again outlives the stack, and bears no name of ours that a new stack would collide
// with. Nothing else outlives it.
func TestWhatStays(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		// A deployment that fails leaves no key behind, which costs a dollar a month; the table's deletion protection would
		// make such a rollback fail.
		stays := map[string]string{
			"AWS::DynamoDB::Table": "Retain", "AWS::KMS::Key": "RetainExceptOnCreate", "AWS::Logs::LogGroup": "RetainExceptOnCreate",
		}
		for id, r := range d.Resources {
			policy, stay := stays[r.Type]
			if r.DeletionPolicy != policy || stay != (r.UpdateReplacePolicy == "Retain") {
				t.Errorf("%s: deletion %q, replacement %q", id, r.DeletionPolicy, r.UpdateReplacePolicy)
			}
			for _, name := range []string{"TableName", "LogGroupName", "FunctionName", "RoleName", "ManagedPolicyName", "AliasName"} {
				if r.Type != "AWS::Lambda::Permission" && r.Properties[name] != nil {
					t.Errorf("%s: is named %v", id, r.Properties[name])
				}
			}
		}
	})
}

// TestKeyAndLogs: the key rotates, and logs end when the parameter says.
func TestKeyAndLogs(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		key := d.Resources["Key"].Properties
		if key["EnableKeyRotation"] != true || key["PendingWindowInDays"] != 30.0 {
			t.Errorf("key: rotation %v, window %v", key["EnableKeyRotation"], key["PendingWindowInDays"])
		}
		if !refers(d.Resources["Logs"].Properties["RetentionInDays"], "LogRetentionDays") {
			t.Errorf("logs: kept %v days", d.Resources["Logs"].Properties["RetentionInDays"])
		}
		if len(d.Parameters["LogRetentionDays"]["AllowedValues"].([]any)) == 0 {
			t.Error("LogRetentionDays takes what CloudWatch refuses")
		}
	})
}
