package tools

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/state"
)

// Tool is one tool as its file declares it.
type Tool struct {
	// Name is what clients call it by, and what TOOL_POLICY names it by.
	Name string
	// Title is for people; Description is for the model that decides whether to call.
	Title, Description string
	// Input and Output are JSON Schemas (2020-12). Arguments that do not fit Input never reach Call: the caller gets a
	// tool error that names the fault. Set "additionalProperties": false, so that a misspelt argument is noticed.
	// Output may be empty; otherwise the result's StructuredContent must fit it.
	Input, Output string
	// Hints tell clients whether to ask before calling: whether the tool only reads, destroys, repeats harmlessly, and
	// whether it reaches beyond this server. The zero Hints claim nothing.
	Hints Hints
	// Access is the audience where TOOL_POLICY says nothing of the tool. The zero value is policy.Listed: only those
	// on ALLOWED_EMAILS.
	Access policy.Access
	// Call answers one call. An *Error is told to the caller as it is; any other error is logged and told as a fault
	// of the server, without its text. It must return when ctx ends.
	Call func(ctx context.Context, c *Call) (*mcp.CallToolResult, error)
}

// Hints are the tool annotations of MCP: advice to clients, and no promise that a client can rely on.
type Hints struct{ ReadOnly, Destructive, Idempotent, OpenWorld bool }

// Call is one call of a tool by a person who may make it, with arguments that fit the tool's Input.
type Call struct {
	// Identity is the person, as of the last sign-in or refresh. Its Issuer is empty when a client acts for itself.
	Identity policy.Identity
	ClientID string
	// Arguments is the JSON object as the client wrote it: every digit of every number is still there. It is {} where
	// the client sent none, and no object in it names a member twice.
	Arguments json.RawMessage
	// State is the person's own durable state, the same from every client and every instance of the server. It costs
	// nothing until it is used.
	State state.User
	// Progress tells the client how far the call is, when it asked to be told. It returns when the notification is on
	// its way: none is lost, and none arrives after the result. A progress that has not grown is left out, as is a total
	// of 0. It is safe for concurrent use.
	Progress func(ctx context.Context, progress, total float64, message string)
}

// Bind decodes the arguments into v. Its error is for the caller: it names the argument, and not the type in Go that
// could not take it, such as an int for a number that the schema lets be 5.0.
func (c *Call) Bind(v any) error {
	if len(c.Arguments) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Arguments, v); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Errorf("the arguments do not fit: %s: %s cannot be used", wrong.Field, wrong.Value)
		}
		return Errorf("the arguments do not fit")
	}
	return nil
}

// Error is a failure that the caller can do something about: it is told as a tool error, which the model reads.
type Error struct{ Message string }

func (e *Error) Error() string { return e.Message }

// Errorf makes an *Error.
func Errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Deps is what the tools of this server need. A new tool that needs more adds a field here.
type Deps struct {
	Painter Painter          // makes the pictures of generateImage
	Now     func() time.Time // nil means time.Now
}

// All lists every tool of the server. Add yours.
func All(d Deps) []Tool {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Painter == nil {
		d.Painter = Preview{}
	}
	return []Tool{
		add,
		generateImage(d),
	}
}

// Text is a result of one text.
func Text(text string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{mcp.NewTextContent(text)}}
}

// ImageAndText is a result of one image and a text about it.
func ImageAndText(data []byte, mimeType, text string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{
		mcp.NewImageContent(base64.StdEncoding.EncodeToString(data), mimeType),
		mcp.NewTextContent(text),
	}}
}
