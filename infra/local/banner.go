package main

import (
	"fmt"
	"io"
	"strings"
)

// banner says where everything is and how to connect, once everything is ready.
func banner(w io.Writer, s settings) {
	mcpURL := s.server.Resource.String()
	fmt.Fprintf(w, "\nmcp-access-oauth is ready\n\n  MCP URL    %s\n", mcpURL)
	if s.demo {
		fmt.Fprintf(w, "  Sign in    at the demo identity provider, %s:\n", s.demoIssuer())
		fmt.Fprintf(w, "               employee1@mycompany.com, teammate1@mycompany.com\n")
		fmt.Fprintf(w, "               guest@mycompany.com\n")
	} else {
		provider := s.access.Issuer
		if provider == "" {
			provider = s.access.AuthorizationURL
		}
		fmt.Fprintf(w, "  Sign in    with everyone whom %s lets in;\n", provider)
		fmt.Fprintf(w, "             the callback URL to register there is %s/callback\n", s.origin())
	}
	if listed := s.server.Policy.Emails(); len(listed) > 0 {
		fmt.Fprintf(w, "  Images     generateImage is for %s\n", strings.Join(listed, ", "))
	} else {
		fmt.Fprintf(w, "  Images     generateImage is for no one yet: ALLOWED_EMAILS is empty\n")
	}
	fmt.Fprintf(w, "  Data       %s\n\nConnect:\n\n", s.dataDir)
	for _, c := range [][2]string{
		{"Any client", "npx mcp-remote " + mcpURL},
		{"Claude Code", "claude mcp add --transport http access " + mcpURL},
		{"Inspector", "npx @modelcontextprotocol/inspector --transport http --server-url " + mcpURL},
	} {
		fmt.Fprintf(w, "  %-12s %s\n", c[0], c[1])
	}
	fmt.Fprintf(w, "\nCtrl-C ends it.\n\n")
}
