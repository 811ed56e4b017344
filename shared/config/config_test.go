package config

import (
	"strings"
	"testing"
)

func env(pairs ...string) Env {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestLoadServer(t *testing.T) {
	s, err := LoadServer(env("ISSUER", "https://login.example.com/", "MCP_URL", "https://abc.example.com", "ALLOWED_ORIGINS", "https://app.example.com, http://localhost:3000",
		"OPERATOR_NAME", " Müller & Co. "))
	if err != nil {
		t.Fatal(err)
	}
	if s.Issuer != "https://login.example.com" || s.Resource.String() != "https://abc.example.com/mcp" || len(s.NativeSchemes) != 4 || len(s.AllowedOrigins) != 2 ||
		s.Operator != "Müller & Co." {
		t.Errorf("settings %+v", s)
	}
	for _, c := range []struct {
		variable string
		env      Env
	}{
		{"ISSUER", env("MCP_URL", "https://a.example/mcp")},
		{"ISSUER", env("ISSUER", "http://login.example.com", "MCP_URL", "https://a.example/mcp")},
		{"ISSUER", env("ISSUER", "https://login.example.com/path", "MCP_URL", "https://a.example/mcp")},
		{"ISSUER", env("ISSUER", "https://login.example.com?x", "MCP_URL", "https://a.example/mcp")},
		{"MCP_URL", env("ISSUER", "https://login.example.com")},
		{"MCP_URL", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example/other")},
		{"NATIVE_SCHEMES", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "NATIVE_SCHEMES", "javascript")},
		{"NATIVE_SCHEMES", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "NATIVE_SCHEMES", "Cursor")},
		{"ALLOWED_ORIGINS", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "ALLOWED_ORIGINS", "*")},
		{"ALLOWED_ORIGINS", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "ALLOWED_ORIGINS", "https://x.example/")},
		{"OPERATOR_NAME", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "OPERATOR_NAME", "a\nb")},
		{"OPERATOR_NAME", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "OPERATOR_NAME", strings.Repeat("x", 61))},
		{"ALLOWED_EMAILS", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "ALLOWED_EMAILS", "x")},
		{"TOOL_POLICY", env("ISSUER", "https://login.example.com", "MCP_URL", "https://a.example", "TOOL_POLICY", "{")},
	} {
		if _, err := LoadServer(c.env); err == nil || !strings.HasPrefix(err.Error(), c.variable) {
			t.Errorf("error %v, want one that begins with %s", err, c.variable)
		}
	}
}

func TestLoadAccess(t *testing.T) {
	if _, ok, err := LoadAccess(env()); ok || err != nil {
		t.Errorf("nothing set: ok %v, error %v", ok, err)
	}
	if a, ok, err := LoadAccess(env("ACCESS_SCOPES", "openid", "ACCESS_GROUPS_CLAIM", "roles")); ok || err != nil || len(a.Scopes) != 1 || a.GroupsClaim != "roles" {
		t.Errorf("no provider named: %+v, ok %v, error %v", a, ok, err)
	}
	a, ok, err := LoadAccess(env("ACCESS_ISSUER", "https://idp.example.com", "ACCESS_CLIENT_ID", "id", "ACCESS_SCOPES", "openid email", "ACCESS_REQUIRE_EMAIL_VERIFIED", "true"))
	if err != nil || !ok || a.GroupsClaim != "groups" || len(a.Scopes) != 2 || !a.RequireEmailVerified {
		t.Errorf("settings %+v, %v, %v", a, ok, err)
	}
	for _, c := range []struct {
		variable string
		env      Env
	}{
		{"ACCESS_CLIENT_ID", env("ACCESS_ISSUER", "https://idp.example.com")},
		{"ACCESS_AUTHORIZATION_URL", env("ACCESS_CLIENT_ID", "id")},
		{"ACCESS_JWKS_URL", env("ACCESS_CLIENT_ID", "id", "ACCESS_AUTHORIZATION_URL", "https://i.example/a", "ACCESS_TOKEN_URL", "https://i.example/token")},
		{"ACCESS_ISSUER", env("ACCESS_CLIENT_ID", "id", "ACCESS_ISSUER", "http://idp.example.com")},
		{"ACCESS_CLIENT_SECRET", env("ACCESS_CLIENT_ID", "id", "ACCESS_ISSUER", "https://i.example", "ACCESS_CLIENT_SECRET", "s", "ACCESS_CLIENT_SECRET_ARN", "arn:x")},
		{"ACCESS_PROMPT", env("ACCESS_CLIENT_ID", "id", "ACCESS_ISSUER", "https://i.example", "ACCESS_PROMPT", "none")},
		{"ACCESS_REQUIRE_EMAIL_VERIFIED", env("ACCESS_REQUIRE_EMAIL_VERIFIED", "maybe")},
	} {
		if _, _, err := LoadAccess(c.env); err == nil || !strings.HasPrefix(err.Error(), c.variable) {
			t.Errorf("error %v, want one that begins with %s", err, c.variable)
		}
	}
}

func TestRequireAccessSecret(t *testing.T) {
	with := env("ACCESS_ISSUER", "https://idp.example.com", "ACCESS_CLIENT_ID", "id", "ACCESS_CLIENT_SECRET_ARN", "arn:x")
	if a, err := RequireAccessSecret(with); err != nil || a.ClientSecretARN != "arn:x" {
		t.Errorf("settings %+v, %v", a, err)
	}
	// The value itself in the environment of a function would stand in its configuration for many to read.
	for variable, env := range map[string]Env{
		"ACCESS_ISSUER":            env(),
		"ACCESS_CLIENT_SECRET_ARN": env("ACCESS_ISSUER", "https://idp.example.com", "ACCESS_CLIENT_ID", "id", "ACCESS_CLIENT_SECRET", "s"),
	} {
		if _, err := RequireAccessSecret(env); err == nil || !strings.HasPrefix(err.Error(), variable+" ") {
			t.Errorf("error %v, want one that begins with %s", err, variable)
		}
	}
}
