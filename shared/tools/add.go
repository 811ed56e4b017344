package tools

import (
	"context"
	"encoding/json"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/policy"
)

// add adds two numbers as they are written, in decimal, so that 0.1 + 0.2 is 0.3 (docs/decisions/0014). It keeps no
// state and costs no write.
var add = Tool{
	Name:        "add",
	Title:       "Add two numbers",
	Description: "Adds two numbers exactly, in decimal, and answers with the plain sum.",
	Input: `{
		"type": "object",
		"properties": {
			"a": {"type": "number", "description": "First number"},
			"b": {"type": "number", "description": "Second number"}
		},
		"required": ["a", "b"],
		"additionalProperties": false
	}`,
	Output: `{
		"type": "object",
		"properties": {"sum": {"type": "number", "description": "a + b"}},
		"required": ["sum"],
		"additionalProperties": false
	}`,
	Hints:  Hints{ReadOnly: true, Idempotent: true},
	Access: policy.Everyone,
	Call: func(_ context.Context, c *Call) (*mcp.CallToolResult, error) {
		var numbers struct{ A, B json.Number }
		if err := c.Bind(&numbers); err != nil {
			return nil, err
		}
		sum, err := addDecimal(string(numbers.A), string(numbers.B))
		if err != nil {
			return nil, err
		}
		result := Text(sum)
		result.StructuredContent = json.RawMessage(`{"sum":` + sum + `}`)
		return result, nil
	},
}
