package template

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestLocalVariables: sam local overrides declared variables alone, so every line of env.local.json.example must be
// declared by a function, and whatever would stay unresolved on a laptop must have a line.
func TestLocalVariables(t *testing.T) {
	raw, err := os.ReadFile(root + "/env.local.json.example")
	if err != nil {
		t.Fatal(err)
	}
	var example struct{ Parameters map[string]string }
	if err := json.Unmarshal(raw, &example); err != nil {
		t.Fatal(err)
	}
	d := written(t, templateFile)
	declared := map[string]string{}
	for _, id := range d.functions(t) {
		maps.Copy(declared, d.environment(t, id, map[string]string{"LocalEndpoints": "true"}))
	}
	for name := range example.Parameters {
		if _, ok := declared[name]; !ok {
			t.Errorf("%s is declared by no function, and sam local would drop it", name)
		}
	}
	for name, value := range declared {
		if (value == "declared" || strings.Contains(value, "<")) && name != "STACK_NAME" && example.Parameters[name] == "" {
			t.Errorf("%s would be %q", name, value)
		}
	}
}

// TestSamConfig: what the SAM CLI is told names parameters that exist, and never to trust its build cache.
func TestSamConfig(t *testing.T) {
	raw, err := os.ReadFile(root + "/samconfig.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cached = false", "resolve_s3 = true", `capabilities = "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"`} {
		if !strings.Contains(string(raw), "\n"+line+"\n") {
			t.Errorf("samconfig.toml lacks %s", line)
		}
	}
	d := written(t, templateFile)
	for _, line := range regexp.MustCompile(`(?m)^parameter_overrides = "(.*)"$`).FindAllStringSubmatch(string(raw), -1) {
		for _, override := range strings.Fields(line[1]) {
			name, value, _ := strings.Cut(override, "=")
			p, ok := d.Parameters[strings.Trim(name, `\"`)]
			if pattern, _ := p["AllowedPattern"].(string); !ok || !regexp.MustCompile(pattern).MatchString(value) {
				t.Errorf("parameter %s = %s is not the template's", name, value)
			}
		}
	}
}
