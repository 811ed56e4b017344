// Package state keeps what belongs to one person: durable values and lists for tools, the same from every client and
// every instance of the server, and the mailbox through which the legacy HTTP+SSE transport answers when the POST lands
// on another process than the stream.
//
// It owns the keys of these records and their bounds. It knows nothing of tools or of MCP: values and messages are
// bytes. Durability is the table's. A person is named by policy.Identity.User, and by its hash in the table.
//
// # For authors of tools
//
// A tool finds its caller's state in Call.State, a User. There are two kinds of it, in two spaces of names:
//
//   - A value is up to 64 KB of bytes under a name. Get reads it (one read), Set stores it whatever stood there (one
//     read, one write), and Update changes it by compare-and-swap, so that two calls at once lose nothing: two devices
//     that both add one to a counter add two.
//   - A list is entries of up to 64 KB, each with the time it was appended. Append adds one and removes what is older
//     than the newest keep (one write and one read, and one write more once the list is full); List reads the newest
//     first (one read). Appends never wait for each other. Prefer a list to a value that grows.
//
// Names are up to 64 letters, digits, '.', '_' and '-'. Tools share them: begin yours with the tool's name. State does
// not expire, and there is no reading another person's: a User is one person, whichever client they call from. A client
// that acts for itself has a state of its own.
//
// A tool that does not use its state pays nothing for it. Errors other than ErrTooLarge and ErrName, which are the
// tool's own mistakes, pass: return them as they are, and the caller is told to try again.
//
//	func count(ctx context.Context, c *Call) (*mcp.CallToolResult, error) {
//		var n int
//		err := c.State.Update(ctx, "count.calls", func(value []byte) ([]byte, error) {
//			n, _ = strconv.Atoi(string(value)) // nil before the first call: 0
//			n++
//			return []byte(strconv.Itoa(n)), nil
//		})
//		if err != nil {
//			return nil, err
//		}
//		return Text(fmt.Sprintf("You have called this %d times.", n)), nil
//	}
//
// What is kept here is as it was given: neither sealed nor hashed, beyond what the table encrypts at rest. Secrets of
// other services do not belong in it.
package state
