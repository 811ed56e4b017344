package template

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/seal/kms"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/tools/bedrock"
)

// statement is one statement of a policy.
type statement struct {
	owner                      string
	sid                        any
	effect                     any
	actions                    []string
	resources                  []any
	condition, principal, deny any
}

// statements are those of a role's own policies and of the policies of ours that are attached to it.
func (d document) statements(t *testing.T, role string) []statement {
	t.Helper()
	var documents []any
	for _, policy := range list(d.Resources[role].Properties["Policies"]) {
		documents = append(documents, at(policy, "PolicyDocument"))
	}
	for _, attached := range list(d.Resources[role].Properties["ManagedPolicyArns"]) {
		policy, _ := at(attached, "Ref").(string)
		if d.Resources[policy].Type != "AWS::IAM::ManagedPolicy" {
			t.Errorf("%s: %v is attached, a policy that is not written here", role, attached)
			continue
		}
		documents = append(documents, d.Resources[policy].Properties["PolicyDocument"])
	}
	var found []statement
	for _, document := range documents {
		found = append(found, statements(role, document)...)
	}
	return found
}

func statements(owner string, document any) []statement {
	var found []statement
	for _, s := range list(at(document, "Statement")) {
		if branches := list(at(s, "Fn::If")); branches != nil {
			s = branches[1] // as if the condition held; the other branch is AWS::NoValue
		}
		found = append(found, statement{
			owner: owner, sid: at(s, "Sid"), effect: at(s, "Effect"), actions: texts(at(s, "Action")), resources: list(at(s, "Resource")),
			condition: at(s, "Condition"), principal: at(s, "Principal"), deny: at(s, "NotAction"),
		})
	}
	return found
}

// role is the logical id of a function's role.
func (d document) role(t *testing.T, function string) string {
	t.Helper()
	reference := texts(at(d.Resources[function].Properties, "Role", "Fn::GetAtt"))
	if len(reference) != 2 || d.Resources[reference[0]].Type != "AWS::IAM::Role" {
		t.Fatalf("%s: role %v, want one of this template: SAM's own attaches AWS's wide policies", function, reference)
	}
	return reference[0]
}

// TestLeastPrivilege: every function has a role of its own, and no policy names an action or a resource by a wildcard.
// The one exception is X-Ray, which has no resources.
func TestLeastPrivilege(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		owner := map[string]string{}
		for folder, function := range d.functions(t) {
			role := d.role(t, function)
			if other := owner[role]; other != "" {
				t.Errorf("%s and %s share %s", folder, other, role)
			}
			owner[role] = folder
			if d.Resources[function].Properties["Policies"] != nil {
				t.Errorf("%s: Policies beside a role do nothing", function)
			}
		}
		for id, r := range d.Resources {
			if r.Type != "AWS::IAM::Role" {
				continue
			}
			for _, s := range d.statements(t, id) {
				if s.effect != "Allow" || s.deny != nil || len(s.actions) == 0 || len(s.resources) == 0 {
					t.Errorf("%s %v: want an Allow of named actions on named resources", id, s.sid)
				}
				for _, action := range s.actions {
					if strings.ContainsAny(action, "*?") {
						t.Errorf("%s %v: action %s", id, s.sid, action)
					}
				}
				for _, on := range s.resources {
					xray := !slices.ContainsFunc(s.actions, func(a string) bool { return !strings.HasPrefix(a, "xray:Put") })
					if strings.ContainsAny(fmt.Sprint(on), "*?") && !xray {
						t.Errorf("%s %v: resource %v", id, s.sid, on)
					}
				}
			}
		}
	})
}

// TestWhoMayDoWhat names the services that each function may call at all.
func TestWhoMayDoWhat(t *testing.T) {
	want := map[string]string{
		"discovery": "logs xray",
		"register":  "dynamodb logs xray",
		"authorize": "dynamodb kms logs xray",
		"callback":  "dynamodb kms logs secretsmanager xray",
		"token":     "dynamodb logs secretsmanager xray",
		"mcp":       "bedrock dynamodb logs xray",
		"janitor":   "dynamodb kms logs xray",
	}
	both(t, func(t *testing.T, d document) {
		for folder, function := range d.functions(t) {
			var services []string
			for _, s := range d.statements(t, d.role(t, function)) {
				for _, action := range s.actions {
					service, _, _ := strings.Cut(action, ":")
					services = append(services, service)
				}
				for _, on := range s.resources {
					var fine bool
					switch service, _, _ := strings.Cut(s.actions[0], ":"); service {
					case "dynamodb":
						fine = attribute(on, "Table", "Arn") // never an index
					case "kms":
						fine = attribute(on, "Key", "Arn")
					case "logs":
						fine = attribute(on, "Logs", "Arn")
					case "secretsmanager":
						fine = refers(on, "AccessClientSecretArn")
					case "bedrock":
						fine = slices.Contains(imageModels(), fmt.Sprint(at(on, "Fn::Sub")))
					case "xray":
						fine = on == "*"
					}
					if !fine {
						t.Errorf("%s %v: resource %v", folder, s.sid, on)
					}
				}
			}
			slices.Sort(services)
			if got := strings.Join(slices.Compact(services), " "); got != want[folder] {
				t.Errorf("%s may call %s, want %s", folder, got, want[folder])
			}
		}
	})
}

// imageModels are what policies call the models of tools/bedrock, in the region that is deployed for.
func imageModels() []string {
	var resources []string
	for _, id := range bedrock.ModelIDs() {
		resources = append(resources, "arn:${AWS::Partition}:bedrock:${ImageRegion}::foundation-model/"+id)
	}
	return resources
}

// TestImageModels: with ImageModel=bedrock mcp may invoke the models that tools/bedrock chooses among, and is told to; with
// preview neither.
func TestImageModels(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		mcp := d.functions(t)["mcp"]
		for _, c := range []struct {
			parameters map[string]string
			want       config.Images
		}{
			{nil, config.Images{Bedrock: false, Region: "us-west-2"}},
			{map[string]string{"ImageModel": "bedrock"}, config.Images{Bedrock: true, Region: "us-west-2"}},
			{map[string]string{"ImageModel": "bedrock", "ImageRegion": "eu-central-1"}, config.Images{Bedrock: true, Region: "eu-central-1"}},
		} {
			env := d.environment(t, mcp, c.parameters)
			if got, err := config.LoadImages(func(name string) string { return env[name] }); err != nil || got != c.want {
				t.Errorf("deployed with %v, mcp reads %+v, %v", c.parameters, got, err)
			}
			var invoked []string
			for _, policy := range list(d.Resources[d.role(t, mcp)].Properties["Policies"]) {
				for _, s := range list(at(policy, "PolicyDocument", "Statement")) {
					if s = d.choose(t, s, c.parameters); !slices.Equal(texts(at(s, "Action")), []string{"bedrock:InvokeModel"}) {
						continue
					}
					for _, on := range list(at(s, "Resource")) {
						invoked = append(invoked, fmt.Sprint(at(on, "Fn::Sub")))
					}
				}
			}
			if want := imageModels(); c.want.Bedrock && !slices.Equal(invoked, want) || !c.want.Bedrock && len(invoked) > 0 {
				t.Errorf("deployed with %v, mcp may invoke %v, want %v", c.parameters, invoked, want)
			}
		}
		for _, allowed := range list(d.Parameters["ImageModel"]["AllowedValues"]) {
			if _, err := config.LoadImages(func(name string) string { return map[string]string{"IMAGE_MODEL": fmt.Sprint(allowed)}[name] }); err != nil {
				t.Errorf("ImageModel takes %v: %v", allowed, err)
			}
		}
	})
}

// choose takes the branch of an Fn::If that holds.
func (d document) choose(t *testing.T, value any, parameters map[string]string) any {
	t.Helper()
	branches := list(at(value, "Fn::If"))
	if branches == nil {
		return value
	}
	if d.holds(t, d.Conditions[fmt.Sprint(branches[0])], parameters) {
		return branches[1]
	}
	return branches[2]
}

// TestKeyUse: the key is used under the encryption context that seal/kms sends and no other, by the functions that open
// cookies and the janitor. Role and key policy must both allow it.
func TestKeyUse(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		check := func(s statement) {
			t.Helper()
			context := at(s.condition, "StringEquals")
			if at(context, "kms:EncryptionContext:purpose") != kms.Purpose || !refers(at(context, "kms:EncryptionContext:stack"), "AWS::StackName") {
				t.Errorf("%s %v: condition %v, want the context of seal/kms", s.owner, s.sid, s.condition)
			}
			if !slices.Equal(s.actions, []string{"kms:Decrypt", "kms:Encrypt"}) {
				t.Errorf("%s %v: %v", s.owner, s.sid, s.actions)
			}
		}
		for _, function := range d.functions(t) {
			for _, s := range d.statements(t, d.role(t, function)) {
				if strings.HasPrefix(s.actions[0], "kms:") {
					check(s)
				}
			}
		}
		for _, s := range statements("Key", d.Resources["Key"].Properties["KeyPolicy"]) {
			if slices.Contains(s.actions, "kms:Decrypt") {
				check(s)
				continue
			}
			for _, action := range s.actions { // those that open something, or could let others do so
				switch {
				case strings.Contains(action, "*"), strings.Contains(action, "crypt"), strings.Contains(action, "DataKey"), action == "kms:CreateGrant":
					t.Errorf("Key %v: %s without an encryption context", s.sid, action)
				}
			}
		}
		env := d.environment(t, d.functions(t)["janitor"], nil)
		if env["STACK_NAME"] != "<AWS::StackName>" || env["KMS_KEY_ID"] != "<Key.Arn>" {
			t.Errorf("janitor: STACK_NAME %q, KMS_KEY_ID %q", env["STACK_NAME"], env["KMS_KEY_ID"])
		}
	})
}

// TestRecords: a role reaches the partitions of the records that its function needs, and not those of others.
func TestRecords(t *testing.T) {
	client, _ := clients.Key("dyn_x")
	grant := grants.Key("0123456789abcdef")
	records := map[string]string{
		"client": client.Partition, "grant": grant.Partition, "keyset": keysetPartition(t), "limit": limitPartition(t),
		"assertion": "assertion/x", "state": "state/x", "list": "state/x/images", "message": "message/x", "stream": "stream/x", "streams": "streams/x",
	}
	// r reads one, b reads several at once, w writes, d deletes, l lists
	want := map[string]map[string]string{
		"discovery": {},
		"register":  {"client": "rw", "limit": "rw"},
		"authorize": {"client": "r", "keyset": "rw"},
		"callback":  {"client": "rw", "grant": "rw", "keyset": "rw"},
		"token":     {"client": "brw", "grant": "brw", "assertion": "brw"},
		"mcp":       {"grant": "rw", "state": "dlrw", "list": "dlrw", "message": "dlrw", "stream": "bdlrw", "streams": "dlrw"},
		"janitor":   {"keyset": "rw"},
	}
	letters := map[string]string{
		"dynamodb:GetItem": "r", "dynamodb:BatchGetItem": "b", "dynamodb:PutItem": "w", "dynamodb:DeleteItem": "d", "dynamodb:Query": "l",
	}
	both(t, func(t *testing.T, d document) {
		for folder, function := range d.functions(t) {
			got := map[string]map[string]bool{}
			for _, s := range d.statements(t, d.role(t, function)) {
				if !strings.HasPrefix(s.actions[0], "dynamodb:") {
					continue
				}
				patterns := texts(at(s.condition, "ForAllValues:StringLike", "dynamodb:LeadingKeys"))
				if len(patterns) == 0 {
					t.Errorf("%s %v: reaches every record", folder, s.sid)
				}
				for record, partition := range records {
					if !slices.ContainsFunc(patterns, func(p string) bool { return like(p, partition) }) {
						continue
					}
					for _, action := range s.actions {
						if got[record] == nil {
							got[record] = map[string]bool{}
						}
						if letters[action] == "" {
							t.Errorf("%s %v: %s", folder, s.sid, action)
						}
						got[record][letters[action]] = true
					}
				}
			}
			for record := range records {
				var may []string
				for letter := range got[record] {
					may = append(may, letter)
				}
				slices.Sort(may)
				if strings.Join(may, "") != want[folder][record] {
					t.Errorf("%s on a %s: %q, want %q", folder, record, strings.Join(may, ""), want[folder][record])
				}
			}
		}
	})
}

// like is IAM's StringLike for patterns that end in a star at most.
func like(pattern, value string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	return pattern == value
}

// spy is a table that remembers where it was asked, and is never there.
type spy struct {
	table.Table
	asked table.Key
}

func (s *spy) Get(_ context.Context, keys ...table.Key) ([]*table.Item, error) {
	s.asked = keys[0]
	return nil, table.ErrUnavailable
}

func keysetPartition(t *testing.T) string {
	t.Helper()
	s := &spy{}
	source := kms.New(kms.Config{Table: s, Client: func() *awskms.Client { return nil }, Now: time.Now})
	if _, err := source.Load(t.Context()); err == nil || s.asked.Partition == "" {
		t.Fatalf("the keyset was read at %v: %v", s.asked, err)
	}
	return s.asked.Partition
}

func limitPartition(t *testing.T) string {
	t.Helper()
	s := &spy{}
	limiter := &clients.Limiter{Table: s, Now: time.Now, Rand: strings.NewReader("random bytes"), PerMinute: 60}
	if err := limiter.Take(t.Context()); err == nil || s.asked.Partition == "" {
		t.Fatalf("the limit was read at %v: %v", s.asked, err)
	}
	return s.asked.Partition
}
