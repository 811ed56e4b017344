// Package conformance runs the official MCP conformance suite, from the npm package that the lock file names: its server
// mode against the fixtures beside this file, on the production HTTP stack with a bearer token, and its authorization mode
// against the running program. The baseline files name what is known to fail, and why.
package conformance
