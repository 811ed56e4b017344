package template

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/shared/config"
)

// deployed are parameters that someone might deploy with.
var deployed = map[string]string{
	"HttpApi": "abc123", "AWS::Region": "us-east-1", "AWS::URLSuffix": "amazonaws.com", "AWS::StackName": "mcp",
	"Table": "mcp-Table-X", "Key.Arn": "arn:aws:kms:us-east-1:111122223333:key/k",
	"McpFunctionUrl.FunctionUrl": "https://xyz.lambda-url.us-east-1.on.aws/",
	"AccessIssuer":               "https://idp.example.com", "AccessClientId": "client",
	"AccessClientSecretArn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:s-AbCdEf",
	"AllowedEmails":         "employee1@mycompany.com", "ToolPolicy": `{"generateImage": {"groups": ["designers"]}}`,
	"Clients": `{"clients": []}`, "OperatorName": "My Company",
}

const (
	issuer = "https://abc123.execute-api.us-east-1.amazonaws.com"
	mcpURL = "https://xyz.lambda-url.us-east-1.on.aws/mcp"
)

// environments runs check on the settings of every function, by folder.
func environments(t *testing.T, parameters map[string]string, check func(t *testing.T, folder string, env map[string]string)) {
	both(t, func(t *testing.T, d document) {
		functions := d.functions(t)
		if len(functions) != 7 {
			t.Errorf("functions: %v", functions)
		}
		for folder, id := range functions {
			check(t, folder, d.environment(t, id, parameters))
		}
	})
}

// TestSettings reads every function's environment as the function will.
func TestSettings(t *testing.T) {
	environments(t, deployed, func(t *testing.T, folder string, variables map[string]string) {
		env := func(name string) string { return variables[name] }
		switch folder {
		case "janitor":
			if variables["ISSUER"] != "" {
				t.Error("janitor: knows the issuer, which it has no use for")
			}
		case "mcp":
			s, err := config.LoadMCP(env)
			if err != nil || s.Issuer != issuer || s.Policy.Emails() == nil {
				t.Errorf("mcp: %+v, %v", s, err)
			}
			if variables["MCP_URL"] != "" {
				t.Errorf("mcp: MCP_URL is %q; its own URL cannot stand in its environment", variables["MCP_URL"])
			}
		default:
			s, err := config.LoadServer(env)
			if err != nil || s.Issuer != issuer || s.Resource.String() != mcpURL {
				t.Errorf("%s: %+v, %v", folder, s, err)
			}
		}
		if name := variables["OPERATOR_NAME"]; (name == deployed["OperatorName"]) != (folder == "authorize") {
			t.Errorf("%s: the operator is called %q", folder, name)
		}
		if folder == "register" {
			if c, err := config.LoadClients(env); err != nil || c.RegistrationsPerMinute != 60 {
				t.Errorf("register: %+v, %v", c, err)
			}
		}
		// Whoever looks clients up knows those that the operator named; client metadata documents of this machine are for
		// development.
		looksUp := slices.Contains([]string{"authorize", "callback", "token"}, folder)
		if c, err := config.LoadClients(env); err != nil || (c.List == deployed["Clients"]) != looksUp || variables["ALLOW_LOOPBACK_DOCUMENTS"] != "" {
			t.Errorf("%s: %+v, %v", folder, c, err)
		}
		access, named, err := config.LoadAccess(env)
		asks := slices.Contains([]string{"authorize", "callback", "token"}, folder)
		if err != nil || named != asks {
			t.Errorf("%s: the identity provider is named: %v, want %v (%v)", folder, named, asks, err)
		}
		// Authorize only sends people there; the secret is for those who ask the provider itself.
		if secret := folder == "callback" || folder == "token"; (access.ClientSecretARN != "") != secret {
			t.Errorf("%s: has the client secret's ARN: %v, want %v", folder, !secret, secret)
		}
		for name, want := range map[string]map[string]bool{
			"TABLE_NAME": {"register": true, "authorize": true, "callback": true, "token": true, "mcp": true, "janitor": true},
			"KMS_KEY_ID": {"authorize": true, "callback": true, "janitor": true},
		} {
			if (variables[name] != "") != want[folder] {
				t.Errorf("%s: %s is %q", folder, name, variables[name])
			}
		}
		for name, value := range variables {
			if strings.Contains(value, "<") {
				t.Errorf("%s: %s is %q, which this test was not told", folder, name, value)
			}
			if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
				t.Errorf("%s: %s is declared on AWS", folder, name)
			}
		}
	})
}

// TestOwnDomains: with domains of one's own no function speaks of AWS's addresses.
func TestOwnDomains(t *testing.T) {
	parameters := maps.Clone(deployed)
	parameters["IssuerDomain"] = "login.example.com"
	parameters["IssuerCertificateArn"] = "arn:aws:acm:us-east-1:111122223333:certificate/c"
	parameters["McpUrl"] = "https://mcp.example.com/mcp"
	environments(t, parameters, func(t *testing.T, folder string, variables map[string]string) {
		if folder == "janitor" {
			return
		}
		if variables["ISSUER"] != "https://login.example.com" || variables["MCP_URL"] != "https://mcp.example.com/mcp" {
			t.Errorf("%s: ISSUER %q, MCP_URL %q", folder, variables["ISSUER"], variables["MCP_URL"])
		}
	})
}

// TestFunctionSettings: how every function is built, run and watched.
func TestFunctionSettings(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		for folder, id := range d.functions(t) {
			if d.Resources[id].Metadata["BuildMethod"] != "go1.x" {
				t.Errorf("%s: built by %v", folder, d.Resources[id].Metadata["BuildMethod"])
			}
			if d.setting(id, "Runtime") != "provided.al2023" || d.setting(id, "Handler") != "bootstrap" || !slices.Equal(texts(d.setting(id, "Architectures")), []string{"arm64"}) {
				t.Errorf("%s: runs %v on %v", folder, d.setting(id, "Runtime"), d.setting(id, "Architectures"))
			}
			if d.setting(id, "LoggingConfig", "LogFormat") != "JSON" || !refers(d.setting(id, "LoggingConfig", "LogGroup"), "Logs") {
				t.Errorf("%s: logs %v", folder, d.setting(id, "LoggingConfig"))
			}
			if d.setting(id, "Tracing") != "Active" && d.setting(id, "TracingConfig", "Mode") != "Active" {
				t.Errorf("%s: is not traced", folder)
			}
			// The HTTP API waits for 30 s; a function that ends before it can say why.
			if timeout, _ := d.setting(id, "Timeout").(float64); folder != "mcp" && timeout >= 30 || timeout == 0 {
				t.Errorf("%s: times out after %v s", folder, timeout)
			}
			reserved := at(d.Resources[id].Properties, "ReservedConcurrentExecutions")
			if folder == "mcp" {
				if d.resolve(t, reserved, nil) != nil || d.resolve(t, reserved, map[string]string{"ReservedConcurrency": "7"}) != "7" {
					t.Errorf("mcp: reserved concurrency %v", reserved)
				}
			} else if reserved != nil {
				t.Errorf("%s: reserved concurrency %v", folder, reserved)
			}
		}
	})
}
