// Package mcpserver is the protected resource: the MCP endpoint at /mcp and /sse, the posts of the legacy transport at
// /messages, and the documents by which clients find the way to a token.
//
// It owns the order in which a request is judged (origin, bearer, method, body), the challenges, what each person may
// see and call, and the delivery of notifications. It hands off the protocol itself, in every version from 2024-11-05
// to 2026-07-28, to mcp-go; tokens to an Authenticate function, which is grants.Store's; who may do what to policy; and
// what tools do to package tools. It keeps nothing between requests: any instance can answer any request.
package mcpserver
