// Command function is the function mcp with the fixtures of the conformance suite: what the test deploys in its place.
package main

import (
	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/test/conformance/fixtures"
	"mcp-access-oauth/test/mcpfunction"
)

func main() {
	mcpfunction.Run(func(c *mcpserver.Config) { c.Options, c.Extra = fixtures.Options(), fixtures.Register })
}
