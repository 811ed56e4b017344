// Package state keeps what belongs to one person: durable values and lists for tools, the same from every client and
// every instance of the server, and the mailbox through which the legacy HTTP+SSE transport answers when the POST lands
// on another process than the stream.
//
// It owns the keys of these records and their bounds. It knows nothing of tools or of MCP: values and messages are
// bytes. Durability is the table's. A person is named by policy.Identity.User, and by its hash in the table.
package state
