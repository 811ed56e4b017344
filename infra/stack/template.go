package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// template is the part of template.yaml that the stack obeys: which route goes to which function, and what stands in
// each function's environment. Reading it, rather than repeating it, means that a variable or route that is missing
// there is missing here too.
type template struct {
	root       map[string]*yaml.Node
	parameters map[string]string // values of parameters, chosen or default
	attributes map[string]string // values of !Ref and !GetAtt on resources
}

// function is one AWS::Serverless::Function.
type function struct {
	logicalID   string
	folder      string // under functions/
	timeout     int    // seconds
	environment map[string]string
}

// loadTemplate reads the file. parameters override the template's defaults; attributes name what AWS would make up.
func loadTemplate(path string, parameters, attributes map[string]string) (*template, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading template: %w", err)
	}
	t := &template{parameters: map[string]string{}, attributes: attributes}
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", path, err)
	}
	if t.root, err = members(document.Content[0]); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", path, err)
	}
	declared, err := members(t.root["Parameters"])
	if err != nil {
		return nil, err
	}
	for name, node := range declared {
		var p struct {
			Default string `yaml:"Default"`
		}
		if err := node.Decode(&p); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		t.parameters[name] = p.Default
	}
	for name, value := range parameters {
		if _, ok := t.parameters[name]; !ok {
			return nil, fmt.Errorf("template.yaml has no parameter %s", name)
		}
		t.parameters[name] = value
	}
	return t, nil
}

// functions are all functions with their environments resolved.
func (t *template) functions() ([]function, error) {
	global, err := path(t.root["Globals"], "Function")
	if err != nil {
		return nil, err
	}
	var found []function
	err = t.resources("AWS::Serverless::Function", func(id string, properties *yaml.Node) error {
		f := function{logicalID: id, environment: map[string]string{}}
		for _, node := range []*yaml.Node{global, properties} {
			settings, err := members(node)
			if err != nil {
				return err
			}
			if timeout := settings["Timeout"]; timeout != nil {
				if err := timeout.Decode(&f.timeout); err != nil {
					return err
				}
			}
			if code := settings["CodeUri"]; code != nil {
				f.folder = strings.TrimPrefix(strings.TrimSuffix(code.Value, "/"), "functions/")
			}
			variables, err := path(settings["Environment"], "Variables")
			if err != nil {
				return err
			}
			named, err := members(variables)
			if err != nil {
				return err
			}
			for name, value := range named {
				resolved, present, err := t.resolve(value)
				if err != nil {
					return fmt.Errorf("%s: variable %s: %w", id, name, err)
				}
				if present {
					f.environment[name] = resolved
				}
			}
		}
		found = append(found, f)
		return nil
	})
	return found, err
}

// routes maps each RouteKey of the HTTP API to the logical id of its function.
func (t *template) routes() (map[string]string, error) {
	functionOf := map[string]string{} // integration -> function
	err := t.resources("AWS::ApiGatewayV2::Integration", func(id string, properties *yaml.Node) error {
		uri, err := path(properties, "IntegrationUri")
		if err == nil {
			functionOf[id] = strings.TrimSuffix(uri.Value, ".Arn")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	routes := map[string]string{}
	err = t.resources("AWS::ApiGatewayV2::Route", func(id string, properties *yaml.Node) error {
		settings, err := members(properties)
		if err != nil {
			return err
		}
		integration := strings.TrimSuffix(strings.TrimPrefix(settings["Target"].Value, "integrations/${"), "}")
		target, ok := functionOf[integration]
		if !ok {
			return fmt.Errorf("%s: target %q names no integration", id, settings["Target"].Value)
		}
		routes[settings["RouteKey"].Value] = target
		return nil
	})
	return routes, err
}

func (t *template) resources(kind string, each func(id string, properties *yaml.Node) error) error {
	all, err := members(t.root["Resources"])
	if err != nil {
		return err
	}
	for id, node := range all {
		resource, err := members(node)
		if err != nil {
			return err
		}
		if resource["Type"] == nil || resource["Type"].Value != kind {
			continue
		}
		if err := each(id, resource["Properties"]); err != nil {
			return err
		}
	}
	return nil
}

var substitution = regexp.MustCompile(`\$\{([^}]+)\}`)

// resolve evaluates the intrinsic functions that the template uses. present is false for AWS::NoValue.
func (t *template) resolve(node *yaml.Node) (value string, present bool, err error) {
	switch node.Tag {
	case "!Ref":
		if node.Value == "AWS::NoValue" {
			return "", false, nil
		}
		value, err = t.named(node.Value)
		return value, true, err
	case "!GetAtt":
		value, err = t.named(node.Value)
		return value, true, err
	case "!Sub":
		value = substitution.ReplaceAllStringFunc(node.Value, func(match string) string {
			part, missing := t.named(match[2 : len(match)-1])
			if missing != nil {
				err = missing
			}
			return part
		})
		return value, true, err
	case "!If":
		holds, err := t.condition(node.Content[0].Value)
		if err != nil {
			return "", false, err
		}
		if holds {
			return t.resolve(node.Content[1])
		}
		return t.resolve(node.Content[2])
	}
	if node.Kind != yaml.ScalarNode {
		return "", false, fmt.Errorf("line %d: only a text can stand here", node.Line)
	}
	return node.Value, true, nil
}

func (t *template) named(name string) (string, error) {
	if value, ok := t.parameters[name]; ok {
		return value, nil
	}
	if value, ok := t.attributes[name]; ok {
		return value, nil
	}
	return "", fmt.Errorf("%s has no value here", name)
}

func (t *template) condition(name string) (bool, error) {
	all, err := members(t.root["Conditions"])
	if err != nil {
		return false, err
	}
	if all[name] == nil {
		return false, fmt.Errorf("there is no condition %s", name)
	}
	return t.holds(all[name])
}

func (t *template) holds(node *yaml.Node) (bool, error) {
	switch node.Tag {
	case "!Not":
		inner, err := t.holds(node.Content[0])
		return !inner, err
	case "!Equals":
		left, _, err := t.resolve(node.Content[0])
		if err != nil {
			return false, err
		}
		right, _, err := t.resolve(node.Content[1])
		return left == right, err
	}
	return false, fmt.Errorf("line %d: condition %s is not understood here", node.Line, node.Tag)
}

// members are the values of a mapping; a nil node has none.
func members(node *yaml.Node) (map[string]*yaml.Node, error) {
	found := map[string]*yaml.Node{}
	if node == nil {
		return found, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want a mapping", node.Line)
	}
	for i := 0; i < len(node.Content); i += 2 {
		found[node.Content[i].Value] = node.Content[i+1]
	}
	return found, nil
}

func path(node *yaml.Node, name string) (*yaml.Node, error) {
	found, err := members(node)
	return found[name], err
}
