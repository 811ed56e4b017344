// Package tools holds what the MCP server can do for a person: one file per tool, and the place to add your own
// (docs/adding-a-tool.md). A tool declares its name, description, JSON Schemas and audience, and a function that
// answers one call.
//
// It owns the tools and nothing of the protocol around them: who may call, whether the arguments fit the schema, how
// progress travels and how an error is told is decided before and after a tool by package mcpserver, which a tool never
// imports. Pictures are made by a Painter: the preview in this package, or tools/bedrock.
package tools
