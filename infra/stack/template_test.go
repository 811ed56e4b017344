package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mcp-access-oauth/shared/seal/kms/kmstest"
)

// load parses a template of the test's own.
func load(t *testing.T, text string, parameters, attributes map[string]string) (*template, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadTemplate(file, parameters, attributes)
}

const small = `
Parameters:
  Name: {Type: String, Default: default}
  Empty: {Type: String, Default: ""}
Conditions:
  IsNamed: !Not [!Equals [!Ref Empty, ""]]
Globals:
  Function:
    Timeout: 29
    Environment: {Variables: {EVERYWHERE: "1"}}
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/one/
      Timeout: 7
      Environment:
        Variables:
          PLAIN: text
          PARAMETER: !Ref Name
          ATTRIBUTE: !GetAtt Table.Arn
          JOINED: !Sub "${Name}-${Table.Arn}"
          CHOSEN: !If [IsNamed, !Ref Empty, unnamed]
          ABSENT: !If [IsNamed, declared, !Ref AWS::NoValue]
  Integration: {Type: AWS::ApiGatewayV2::Integration, Properties: {IntegrationUri: !GetAtt Function.Arn}}
  Route: {Type: AWS::ApiGatewayV2::Route, Properties: {RouteKey: ANY /one, Target: !Sub "integrations/${Integration}"}}
`

func TestTemplate(t *testing.T) {
	attributes := map[string]string{"Table.Arn": "arn"}
	for _, c := range []struct {
		parameters map[string]string
		want       map[string]string
	}{
		{nil, map[string]string{"EVERYWHERE": "1", "PLAIN": "text", "PARAMETER": "default", "ATTRIBUTE": "arn", "JOINED": "default-arn", "CHOSEN": "unnamed"}},
		{map[string]string{"Name": "n", "Empty": "e"}, map[string]string{"EVERYWHERE": "1", "PLAIN": "text", "PARAMETER": "n", "ATTRIBUTE": "arn", "JOINED": "n-arn", "CHOSEN": "e", "ABSENT": "declared"}},
	} {
		tpl, err := load(t, small, c.parameters, attributes)
		if err != nil {
			t.Fatal(err)
		}
		functions, err := tpl.functions()
		if err != nil || len(functions) != 1 {
			t.Fatalf("functions %+v, %v", functions, err)
		}
		f := functions[0]
		if f.logicalID != "Function" || f.folder != "one" || f.timeout != 7 || len(f.environment) != len(c.want) {
			t.Errorf("function %+v", f)
		}
		for name, value := range c.want {
			if f.environment[name] != value {
				t.Errorf("%s is %q, want %q", name, f.environment[name], value)
			}
		}
		if routes, err := tpl.routes(); err != nil || len(routes) != 1 || routes["ANY /one"] != "Function" {
			t.Errorf("routes %v, %v", routes, err)
		}
	}
}

// What the template says and this reader does not understand is an error that says where, never a variable left out.
func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		parameters     map[string]string
		want           string
	}{
		{name: "no YAML", old: "Parameters:", new: "Parameters: [", want: "parsing"},
		{name: "a parameter that is not there", parameters: map[string]string{"Other": "x"}, want: "no parameter Other"},
		{name: "a name that nobody declares", old: "!Ref Name", new: "!Ref Nobody", want: "Nobody has no value"},
		{name: "a part of a text that nobody declares", old: "${Name}", new: "${Nobody}", want: "Nobody has no value"},
		{name: "a condition that is not there", old: "!If [IsNamed, declared", new: "!If [IsNot, declared", want: "no condition IsNot"},
		{name: "another function", old: "PLAIN: text", new: "PLAIN: !Join ['', [a, b]]", want: "only a text"},
		{name: "another condition", old: "!Not [!Equals", new: "!Or [!Equals", want: "!Or is not understood"},
		{name: "a route to nowhere", old: "integrations/${Integration}", new: "integrations/${Other}", want: "names no integration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := small
			if c.old != "" {
				if !strings.Contains(text, c.old) {
					t.Fatalf("the template has no %q", c.old)
				}
				text = strings.Replace(text, c.old, c.new, 1)
			}
			tpl, err := load(t, text, c.parameters, map[string]string{"Table.Arn": "arn"})
			if err == nil {
				_, err = tpl.functions()
			}
			if err == nil {
				_, err = tpl.routes()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	if s, err := readSettings(env()); err != nil || s.port != 8788 || s.processes != 10 || s.template != "template.yaml" || !filepath.IsAbs(s.dist) {
		t.Errorf("settings %+v, %v", s, err)
	}
	if s, err := readSettings(env("PORT", "9000", "PROCESSES", "3", "DIST", "/d", "TEMPLATE", "t", "DATA_DIR", "x")); err != nil || s.port != 9000 || s.processes != 3 || s.dist != "/d" || s.template != "t" || s.data != "x" {
		t.Errorf("settings %+v, %v", s, err)
	}
	if s, err := readSettings(env("ALLOWED_EMAILS", "a@example.com")); err != nil || len(s.parameters) != 1 || s.parameters["AllowedEmails"] != "a@example.com" {
		t.Errorf("parameters %v, %v", s.parameters, err)
	}
	for _, wrong := range [][2]string{{"PORT", "x"}, {"PORT", "0"}, {"PORT", "65534"}, {"PROCESSES", "0"}, {"PROCESSES", "many"}, {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "https://bedrock-runtime.us-west-2.amazonaws.com"}} {
		if _, err := readSettings(env(wrong[0], wrong[1])); err == nil || !strings.HasPrefix(err.Error(), wrong[0]+" ") {
			t.Errorf("%s=%s: %v", wrong[0], wrong[1], err)
		}
	}
}

// What would keep the stack from serving ends its start, and says what to do.
func TestRefusesToStart(t *testing.T) {
	tpl, err := loadTemplate("../../template.yaml", map[string]string{"AccessClientSecretArn": secretARN}, map[string]string{
		"Table": tableName, "Table.Arn": tableARN(tableName), "Key.Arn": kmstest.KeyARN, "HttpApi": "local",
		"McpFunctionUrl.FunctionUrl": "http://localhost:1/", "AWS::StackName": stackName, "AWS::Region": region,
		"AWS::URLSuffix": "amazonaws.com", "AWS::Partition": "aws", "AWS::AccountId": "000000000000",
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{permissions: &permissions{log: slog.New(slog.DiscardHandler)}}
	if _, err := newPools(tpl, settings{dist: t.TempDir(), processes: 1}, c, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("without built functions: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	if _, err := serve(port, http.NotFoundHandler(), make(chan error, 2)); err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) || !strings.Contains(err.Error(), "PORT=") {
		t.Errorf("on a taken port: %v", err)
	}
}
