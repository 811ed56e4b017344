// Package template holds template.yaml and infra/alarms.yaml against the code that they deploy: the paths of
// oauth.Endpoints, the settings that package config reads, the table that table/dynamo writes, the encryption context
// that seal/kms sends. Most of it is asserted twice, on the file as it is written and on what the SAM transform makes of
// it; the second, and cfn-lint, need Python with aws-sam-translator and cfn-lint, and are reported as NOT RUN without.
// What the functions do under these policies and variables is shown by infra/stack, which reads the same file.
package template

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	root         = "../.."
	templateFile = root + "/template.yaml"
	alarmsFile   = root + "/infra/alarms.yaml"
)

// document is a CloudFormation template. Intrinsic functions are in their long form, {"Ref": "Table"}.
type document struct {
	Globals    map[string]any
	Parameters map[string]map[string]any
	Rules      map[string]any
	Conditions map[string]any
	Resources  map[string]resource
	Outputs    map[string]map[string]any
}

type resource struct {
	Type, Condition, DeletionPolicy, UpdateReplacePolicy string
	DependsOn                                            any
	Metadata, Properties                                 map[string]any
}

// both runs an assertion on the template as it is written and as it is deployed.
func both(t *testing.T, check func(t *testing.T, d document)) {
	t.Run("written", func(t *testing.T) { check(t, written(t, templateFile)) })
	t.Run("transformed", func(t *testing.T) { check(t, transformed(t)) })
}

func written(t *testing.T, path string) document {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	plain, err := longForm(node.Content[0])
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	encoded, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, encoded)
}

func parse(t *testing.T, encoded []byte) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(encoded, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// longForm is the value of a YAML node with !Ref, !GetAtt and the others written as CloudFormation's JSON has them.
func longForm(node *yaml.Node) (any, error) {
	var value any
	switch node.Kind {
	case yaml.MappingNode:
		members := map[string]any{}
		for i := 0; i < len(node.Content); i += 2 {
			member, err := longForm(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			members[node.Content[i].Value] = member
		}
		value = members
	case yaml.SequenceNode:
		items := []any{}
		for _, child := range node.Content {
			item, err := longForm(child)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		value = items
	case yaml.ScalarNode:
		if strings.HasPrefix(node.Tag, "!!") {
			err := node.Decode(&value)
			return value, err
		}
		value = node.Value
	default:
		return nil, fmt.Errorf("line %d: aliases are not for CloudFormation", node.Line)
	}
	switch name := strings.TrimPrefix(node.Tag, "!"); {
	case strings.HasPrefix(name, "!"), node.Tag == "":
		return value, nil
	case name == "Ref" || name == "Condition":
		return map[string]any{name: value}, nil
	case name == "GetAtt":
		of, attribute, _ := strings.Cut(node.Value, ".")
		return map[string]any{"Fn::GetAtt": []any{of, attribute}}, nil
	default:
		return map[string]any{"Fn::" + name: value}, nil
	}
}

// python skips a test that needs a Python module which is not installed here. It does not fail, not even under CI=true:
// the module is no part of what a developer of this project must have.
func python(t *testing.T, module string) {
	t.Helper()
	missing, asked := modules.Load(module)
	if !asked {
		missing = ""
		if out, err := exec.Command("python3", "-c", "import "+module).CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			missing = fmt.Sprintf("%v %s", err, lines[len(lines)-1])
		}
		modules.Store(module, missing)
	}
	if missing != "" {
		t.Skipf("NOT RUN: needs python3 with %s: %s", module, missing)
	}
}

// modules remembers what is wrong with each Python module that was asked for; nothing if it is "".
var modules sync.Map

// transform runs the SAM translator once for all tests.
var transform = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command("python3", "transform.py", templateFile)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, said.String())
	}
	return out, err
})

func transformed(t *testing.T) document {
	t.Helper()
	python(t, "samtranslator.public.translator")
	out, err := transform()
	if err != nil {
		t.Fatalf("the SAM transform fails: %v", err)
	}
	return parse(t, out)
}

// functions are the logical ids of all functions, by folder.
func (d document) functions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for id, r := range d.Resources {
		var code string
		switch r.Type {
		case "AWS::Serverless::Function":
			code, _ = r.Properties["CodeUri"].(string)
		case "AWS::Lambda::Function":
			code, _ = at(r.Properties, "Code", "S3Key").(string)
		default:
			continue
		}
		folder, ok := strings.CutPrefix(code, "functions/")
		if !ok {
			t.Errorf("%s: code is %q, want a folder of functions/", id, code)
		}
		found[folder] = id
	}
	return found
}

// setting is a function's property, or what the globals of the SAM template say.
func (d document) setting(id string, path ...string) any {
	if value := at(d.Resources[id].Properties, path...); value != nil {
		return value
	}
	return at(d.Globals, append([]string{"Function"}, path...)...)
}

// environment is a function's environment when deployed with these parameters.
func (d document) environment(t *testing.T, id string, parameters map[string]string) map[string]string {
	t.Helper()
	variables := map[string]any{}
	for _, from := range []any{at(d.Globals, "Function", "Environment", "Variables"), at(d.Resources[id].Properties, "Environment", "Variables")} {
		if members, ok := from.(map[string]any); ok {
			for name, value := range members {
				variables[name] = value
			}
		}
	}
	resolved := map[string]string{}
	for name, value := range variables {
		switch value := d.resolve(t, value, parameters).(type) {
		case string:
			resolved[name] = value
		case nil:
		default:
			t.Errorf("%s: %s is %v, want a text", id, name, value)
		}
	}
	return resolved
}

var substitution = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// resolve evaluates intrinsic functions; AWS::NoValue becomes nil, and what only a deployment knows <itself>.
func (d document) resolve(t *testing.T, value any, parameters map[string]string) any {
	t.Helper()
	name, argument, ok := intrinsic(value)
	if !ok {
		return value
	}
	named := func(name string) string {
		if value, ok := parameters[name]; ok {
			return value
		}
		if p, ok := d.Parameters[name]; ok {
			return fmt.Sprint(p["Default"])
		}
		return "<" + name + ">"
	}
	switch name {
	case "Ref":
		if argument == "AWS::NoValue" {
			return nil
		}
		return named(argument.(string))
	case "Fn::GetAtt":
		parts := argument.([]any)
		return named(fmt.Sprint(parts[0], ".", parts[1]))
	case "Fn::Sub":
		return substitution.ReplaceAllStringFunc(argument.(string), func(match string) string { return named(match[2 : len(match)-1]) })
	case "Fn::If":
		branches := argument.([]any)
		if d.holds(t, d.Conditions[branches[0].(string)], parameters) {
			return d.resolve(t, branches[1], parameters)
		}
		return d.resolve(t, branches[2], parameters)
	}
	t.Fatalf("this test cannot evaluate %s", name)
	return nil
}

func (d document) holds(t *testing.T, condition any, parameters map[string]string) bool {
	t.Helper()
	name, argument, _ := intrinsic(condition)
	sides, _ := argument.([]any)
	switch {
	case name == "Fn::Not":
		return !d.holds(t, sides[0], parameters)
	case name == "Fn::Equals":
		return d.resolve(t, sides[0], parameters) == d.resolve(t, sides[1], parameters)
	}
	t.Fatalf("this test cannot evaluate the condition %v", condition)
	return false
}

// intrinsic takes {"Ref": x} apart.
func intrinsic(value any) (name string, argument any, ok bool) {
	members, isMap := value.(map[string]any)
	if !isMap || len(members) != 1 {
		return "", nil, false
	}
	for name, argument = range members {
		ok = name == "Ref" || name == "Condition" || strings.HasPrefix(name, "Fn::")
	}
	return name, argument, ok
}

// at walks down members; nil when one is missing.
func at(value any, path ...string) any {
	for _, name := range path {
		members, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = members[name]
	}
	return value
}

// list is a value that may stand alone or in a list.
func list(value any) []any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return value
	}
	return []any{value}
}

func texts(value any) []string {
	var found []string
	for _, item := range list(value) {
		found = append(found, fmt.Sprint(item))
	}
	return found
}

// refers reports {"Ref": id}.
func refers(value any, id string) bool { return at(value, "Ref") == id }

// attribute reports {"Fn::GetAtt": [id, name]}.
func attribute(value any, id, name string) bool {
	return slices.Equal(texts(at(value, "Fn::GetAtt")), []string{id, name})
}

// TestFolders: every folder of functions/ is a function, and the other way round.
func TestFolders(t *testing.T) {
	functions := written(t, templateFile).functions(t)
	mains, err := filepath.Glob(root + "/functions/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(mains) == 0 {
		t.Skip("NOT RUN: there is no functions/ here")
	}
	for _, main := range mains {
		folder := filepath.Base(filepath.Dir(main))
		if functions[folder] == "" {
			t.Errorf("functions/%s is not in the template", folder)
		}
		delete(functions, folder)
	}
	for folder := range functions {
		t.Errorf("the template deploys functions/%s, which is not there", folder)
	}
}
