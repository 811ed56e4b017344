package template

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/shared/audit"
)

// TestNestedStack: the alarms get every parameter that they declare, from what it is named after.
func TestNestedStack(t *testing.T) {
	alarms := written(t, alarmsFile)
	both(t, func(t *testing.T, d document) {
		nested := d.Resources["Alarms"].Properties
		if nested["TemplateURL"] != "infra/alarms.yaml" {
			t.Errorf("template %v", nested["TemplateURL"])
		}
		given, _ := nested["Parameters"].(map[string]any)
		want := slices.Sorted(maps.Keys(alarms.Parameters))
		if got := slices.Sorted(maps.Keys(given)); !slices.Equal(got, want) {
			t.Errorf("parameters %v, want %v", got, want)
		}
		for folder, id := range d.functions(t) {
			if name := strings.ToUpper(folder[:1]) + folder[1:]; !refers(given[name], id) {
				t.Errorf("%s is %v, want the function %s", name, given[name], id)
			}
		}
	})
}

// metric is one metric that an alarm looks at, with its single dimension.
type metric struct{ namespace, name, dimension, of string }

func metrics(alarm resource) []metric {
	one := func(m any) metric {
		var dimension any
		for _, dimension = range list(at(m, "Dimensions")) {
		}
		namespace, _ := at(m, "Namespace").(string)
		if namespace == "" {
			namespace, _ = at(m, "Namespace", "Ref").(string)
		}
		name, _ := at(m, "MetricName").(string)
		key, _ := at(dimension, "Name").(string)
		of, _ := at(dimension, "Value", "Ref").(string)
		return metric{namespace, name, key, of}
	}
	if alarm.Properties["MetricName"] != nil {
		return []metric{one(any(alarm.Properties))}
	}
	var found []metric
	for _, m := range list(alarm.Properties["Metrics"]) {
		if stat := at(m, "MetricStat", "Metric"); stat != nil {
			found = append(found, one(stat))
		}
	}
	return found
}

// TestAlarms: there is an alarm for errors, throttles, 5xx of both fronts, and reuse; each looks at metrics that exist,
// tells the topic, and says where to read on.
func TestAlarms(t *testing.T) {
	d := written(t, alarmsFile)
	manual, err := os.ReadFile(root + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	everyFunction := func(name string) []metric {
		var all []metric
		for _, function := range []string{"Discovery", "Register", "Authorize", "Callback", "Token", "Mcp", "Janitor"} {
			all = append(all, metric{"AWS/Lambda", name, "FunctionName", function})
		}
		return all
	}
	want := map[string][]metric{
		"Errors":    everyFunction("Errors"),
		"Throttles": everyFunction("Throttles"),
		"TableThrottles": {
			{"AWS/DynamoDB", "ReadThrottleEvents", "TableName", "TableName"},
			{"AWS/DynamoDB", "WriteThrottleEvents", "TableName", "TableName"},
		},
		"LoginFailures": {{"AWS/ApiGateway", "5xx", "ApiId", "ApiId"}},
		"McpFailures":   {{"AWS/Lambda", "Url5xxCount", "FunctionName", "Mcp"}},
		"RefreshReuse":  {{"StackName", "Reuse", "", ""}},
	}
	for id, r := range d.Resources {
		if r.Type != "AWS::CloudWatch::Alarm" {
			continue
		}
		if got := metrics(r); !slices.Equal(got, want[id]) {
			t.Errorf("%s looks at %v, want %v", id, got, want[id])
		}
		delete(want, id)
		if actions := list(r.Properties["AlarmActions"]); len(actions) != 1 || !refers(actions[0], "Topic") {
			t.Errorf("%s tells %v", id, actions)
		}
		description, _ := r.Properties["AlarmDescription"].(string)
		_, section, _ := strings.Cut(strings.TrimSuffix(description, "."), "docs/operations.md, ")
		if section == "" || !strings.Contains(string(manual), "\n### "+section+"\n") {
			t.Errorf("%s: %q does not say where to read on", id, description)
		}
		if r.Properties["TreatMissingData"] != "notBreaching" || r.Properties["ComparisonOperator"] != "GreaterThanThreshold" {
			t.Errorf("%s: %v of missing data, %v", id, r.Properties["TreatMissingData"], r.Properties["ComparisonOperator"])
		}
	}
	for id := range want {
		t.Errorf("there is no alarm %s", id)
	}
}

// TestReuse: the alarm counts the audit events that mean theft, by the words that package audit writes.
func TestReuse(t *testing.T) {
	filter := written(t, alarmsFile).Resources["RefreshReuseFilter"].Properties
	pattern, _ := filter["FilterPattern"].(string)
	for _, word := range []string{`$.msg = "audit"`, `$.action = "` + audit.RefreshReused + `"`, `$.action = "` + audit.CodeReplayed + `"`} {
		if !strings.Contains(pattern, word) {
			t.Errorf("the filter %s has no %s", pattern, word)
		}
	}
	transformation := list(filter["MetricTransformations"])[0]
	if at(transformation, "MetricName") != "Reuse" || !refers(at(transformation, "MetricNamespace"), "StackName") || !refers(filter["LogGroupName"], "LogGroup") {
		t.Errorf("filter %v", filter)
	}
}

// TestManual: the operator's manual explains every audit event.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile(root + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{
		audit.SignIn, audit.ConsentApproved, audit.ConsentDenied, audit.CodeRedeemed, audit.CodeReplayed, audit.TokenRefreshed,
		audit.RefreshReused, audit.GrantRevoked, audit.GrantEnded, audit.ClientRegistered, audit.ClientCredentials,
		audit.ToolCalled, audit.ToolDenied, audit.KeyRotated,
	} {
		if !strings.Contains(string(manual), "`"+action+"`") {
			t.Errorf("docs/operations.md does not know %s", action)
		}
	}
}

// TestKeyDeletion: the rule listens for this key alone, and may publish.
func TestKeyDeletion(t *testing.T) {
	d := written(t, alarmsFile)
	detail := at(d.Resources["KeyDeletion"].Properties, "EventPattern", "detail")
	if got := texts(at(detail, "eventName")); !slices.Equal(got, []string{"ScheduleKeyDeletion", "DisableKey"}) {
		t.Errorf("events %v", got)
	}
	if of := list(at(detail, "requestParameters", "keyId")); len(of) != 1 || !refers(at(of[0], "suffix"), "KeyId") {
		t.Errorf("of the keys %v", of)
	}
	permitted := map[any]bool{}
	for _, s := range statements("TopicPolicy", d.Resources["TopicPolicy"].Properties["PolicyDocument"]) {
		if s.condition == nil || !slices.Equal(s.actions, []string{"sns:Publish"}) {
			t.Errorf("%v may %v the topic under %v", s.principal, s.actions, s.condition)
		}
		permitted[at(s.principal, "Service")] = true
	}
	if !permitted["cloudwatch.amazonaws.com"] || !permitted["events.amazonaws.com"] {
		t.Errorf("who may publish: %v", permitted)
	}
}

// TestDashboard: its body is JSON once CloudFormation has put the names in.
func TestDashboard(t *testing.T) {
	d := written(t, alarmsFile)
	body := d.resolve(t, d.Resources["Dashboard"].Properties["DashboardBody"], map[string]string{"AWS::Region": "us-east-1"})
	var dashboard struct{ Widgets []map[string]any }
	if err := json.Unmarshal([]byte(body.(string)), &dashboard); err != nil || len(dashboard.Widgets) == 0 {
		t.Errorf("the dashboard is no JSON with widgets: %v", err)
	}
}

// TestOutputs: a deployment ends by telling what to do next.
func TestOutputs(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		for name, want := range map[string]string{
			"McpUrl": mcpURL, "ConnectCommand": "npx mcp-remote " + mcpURL,
			"ClaudeCommand": "claude mcp add --transport http mcp-access-oauth " + mcpURL,
			"CallbackUrl":   issuer + "/callback", "Issuer": issuer, "TableName": "mcp-Table-X",
		} {
			if got := d.resolve(t, d.Outputs[name]["Value"], deployed); got != want {
				t.Errorf("%s is %v, want %s", name, got, want)
			}
		}
		for name, output := range d.Outputs {
			if output["Description"] == nil {
				t.Errorf("%s: says nothing", name)
			}
		}
	})
}
