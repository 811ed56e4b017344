// Package journeys lets real MCP clients sign in and call tools, as their users do: mcp-remote, the Inspector, the official
// Go and TypeScript SDKs, mcp-go. Each journey starts the program anew (see test/deployment), and is repeated on the built
// functions with MCP_TEST_TARGET=stack. What every person must see and get stands in person_test.go, once for all clients.
package journeys
