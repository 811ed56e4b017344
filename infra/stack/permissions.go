package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"mcp-access-oauth/shared/tools/bedrock/bedrocktest"
)

// permissions decides the functions' calls of AWS as IAM would: by the policies of the roles in template.yaml, and for
// the key by its own policy besides. A call that a role does not allow fails here as it would fail there. A function is
// known by its access key, which is its folder's name. It knows what the template uses of the policy language: Allow
// statements with StringEquals and ForAllValues:StringLike.
type permissions struct {
	log     *slog.Logger
	granted atomic.Pointer[policies] // nil until the template has been read, and nothing is allowed
}

type policies struct {
	roles map[string][]statement // by the function's folder
	key   []statement
}

type statement struct {
	actions, resources []string
	equals             map[string]string   // StringEquals
	like               map[string][]string // ForAllValues:StringLike
}

// call is one request to AWS, in the terms of policies.
type call struct {
	function, action, resource string
	context                    map[string][]string
}

// allowed reports whether the policies allow the call.
func (p *policies) allowed(c call) bool {
	matches := func(s statement) bool { return s.matches(c) }
	if strings.HasPrefix(c.action, "kms:") && !slices.ContainsFunc(p.key, matches) {
		return false
	}
	return slices.ContainsFunc(p.roles[c.function], matches)
}

func (s statement) matches(c call) bool {
	if !slices.Contains(s.actions, c.action) || !slices.ContainsFunc(s.resources, func(r string) bool { return r == c.resource || r == "*" }) {
		return false
	}
	for key, want := range s.equals {
		if got := c.context[key]; len(got) != 1 || got[0] != want {
			return false
		}
	}
	for key, patterns := range s.like {
		for _, value := range c.context[key] {
			if !slices.ContainsFunc(patterns, func(pattern string) bool { return like(pattern, value) }) {
				return false
			}
		}
	}
	return true
}

// like compares as StringLike does, with the one star at a pattern's end that the template's have.
func like(pattern, value string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	return pattern == value
}

const maxCall = 17 << 20 // a BatchWriteItem may have 16 MB

// credential is the scope of a signature: access key and region.
var credential = regexp.MustCompile(`Credential=([^/,\s]+)/[0-9]{8}/([a-z0-9-]+)/`)

// guard lets through what the policies allow.
func (p *permissions) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
		if err != nil {
			refuse(w, "SerializationException", "reading the request: "+err.Error())
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c, err := readCall(r, body)
		if err != nil {
			refuse(w, "SerializationException", err.Error())
			return
		}
		if granted := p.granted.Load(); granted == nil || !granted.allowed(c) {
			p.log.Error("template.yaml does not allow this call", "function", c.function, "action", c.action, "resource", c.resource, "context", c.context)
			refuse(w, "AccessDeniedException", fmt.Sprintf("%s is not authorized to perform %s on %s", c.function, c.action, c.resource))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}

// services are the X-Amz-Target prefixes of the services that stand here. Bedrock has none: its calls are known by path.
var services = map[string]string{"DynamoDB_20120810": "dynamodb", "TrentService": "kms", "secretsmanager": "secretsmanager"}

type key struct {
	PK struct{ S string } `json:"pk"`
}

func readCall(r *http.Request, body []byte) (call, error) {
	named := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if model, ok := bedrocktest.ModelID(r.URL.Path); ok && named != nil {
		return call{function: named[1], action: "bedrock:InvokeModel", resource: "arn:aws:bedrock:" + named[2] + "::foundation-model/" + model}, nil
	}
	target, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	service := services[target]
	if named == nil || service == "" {
		return call{}, errors.New("the request is not signed, or for no service that stands here")
	}
	var in struct {
		TableName, IndexName      string
		Key, Item                 *key
		RequestItems              map[string]struct{ Keys []key }
		KeyConditionExpression    string
		ExpressionAttributeValues map[string]struct{ S string }

		KeyID             string `json:"KeyId"`
		EncryptionContext map[string]string

		SecretID string `json:"SecretId"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return call{}, fmt.Errorf("decoding the request: %w", err)
	}
	c := call{function: named[1], action: service + ":" + operation, context: map[string][]string{}}
	switch service {
	case "kms":
		c.resource = in.KeyID
		for name, value := range in.EncryptionContext {
			c.context["kms:EncryptionContext:"+name] = []string{value}
		}
	case "secretsmanager":
		c.resource = in.SecretID
	case "dynamodb":
		table := in.TableName
		var keys []string
		for _, k := range []*key{in.Key, in.Item} {
			if k != nil {
				keys = append(keys, k.PK.S)
			}
		}
		for name, request := range in.RequestItems {
			if table != "" && table != name {
				return call{}, errors.New("a call of two tables is not understood here")
			}
			table = name
			for _, k := range request.Keys {
				keys = append(keys, k.PK.S)
			}
		}
		if condition, ok := strings.CutPrefix(in.KeyConditionExpression, "pk = "); ok {
			name, _, _ := strings.Cut(condition, " ")
			keys = append(keys, in.ExpressionAttributeValues[name].S)
		}
		c.resource = tableARN(table)
		if in.IndexName != "" {
			c.resource += "/index/" + in.IndexName
		}
		c.context["dynamodb:LeadingKeys"] = keys
	}
	return c, nil
}

// policies reads the roles of all functions, and the key's policy.
func (t *template) policies(functions []function) (*policies, error) {
	found := &policies{roles: map[string][]statement{}}
	resources, err := members(t.root["Resources"])
	if err != nil {
		return nil, err
	}
	properties := func(id string) map[string]*yaml.Node {
		resource, _ := members(resources[id])
		p, _ := members(resource["Properties"])
		return p
	}
	for _, f := range functions {
		role := properties(f.logicalID)["Role"]
		if role == nil {
			return nil, fmt.Errorf("%s has no role", f.logicalID)
		}
		policies := properties(strings.TrimSuffix(role.Value, ".Arn"))["Policies"]
		if policies == nil {
			continue // what is attached to all lets them log, which is not decided here
		}
		for _, policy := range policies.Content {
			document, err := path(policy, "PolicyDocument")
			if err != nil {
				return nil, err
			}
			statements, err := t.statements(document)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", role.Value, err)
			}
			found.roles[f.folder] = append(found.roles[f.folder], statements...)
		}
	}
	if found.key, err = t.statements(properties("Key")["KeyPolicy"]); err != nil {
		return nil, fmt.Errorf("key policy: %w", err)
	}
	return found, nil
}

func (t *template) statements(document *yaml.Node) ([]statement, error) {
	list, err := path(document, "Statement")
	if err != nil || list == nil {
		return nil, errors.Join(err, errors.New("a policy has no statements"))
	}
	var found []statement
	for _, node := range list.Content {
		if node.Tag == "!If" {
			holds, err := t.condition(node.Content[0].Value)
			if err != nil {
				return nil, err
			}
			if !holds {
				continue // the other branch is AWS::NoValue
			}
			node = node.Content[1]
		}
		s, err := t.statement(node)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", node.Line, err)
		}
		found = append(found, s)
	}
	return found, nil
}

func (t *template) statement(node *yaml.Node) (s statement, err error) {
	parts, err := members(node)
	if err != nil {
		return s, err
	}
	if parts["Effect"].Value != "Allow" {
		return s, errors.New("only Allow is understood here")
	}
	if s.actions, err = t.texts(parts["Action"]); err != nil {
		return s, err
	}
	if s.resources, err = t.texts(parts["Resource"]); err != nil {
		return s, err
	}
	conditions, err := members(parts["Condition"])
	if err != nil {
		return s, err
	}
	for operator, node := range conditions {
		keys, err := members(node)
		if err != nil {
			return s, err
		}
		for name, node := range keys {
			values, err := t.texts(node)
			switch {
			case err != nil:
				return s, err
			case operator == "StringEquals" && len(values) == 1:
				if s.equals == nil {
					s.equals = map[string]string{}
				}
				s.equals[name] = values[0]
			case operator == "ForAllValues:StringLike":
				if s.like == nil {
					s.like = map[string][]string{}
				}
				s.like[name] = values
			default:
				return s, fmt.Errorf("condition %s is not understood here", operator)
			}
		}
	}
	return s, nil
}

// texts are the values of a text or a list of texts.
func (t *template) texts(node *yaml.Node) ([]string, error) {
	nodes := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode && node.Tag == "!!seq" {
		nodes = node.Content
	}
	var found []string
	for _, node := range nodes {
		text, _, err := t.resolve(node)
		if err != nil {
			return nil, err
		}
		found = append(found, text)
	}
	return found, nil
}
