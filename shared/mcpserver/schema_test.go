package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/tools"
)

// fault is what a caller is told of arguments that do not fit.
func fault(text string) string {
	encoded, err := json.Marshal("the arguments do not fit: " + text)
	if err != nil {
		panic(err)
	}
	return `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":` + string(encoded) + `}],"isError":true}}`
}

// echo answers with its arguments; its schema is loose where a careful author's is not.
var echo = tools.Tool{
	Name: "echo", Access: policy.Everyone,
	Input: `{"type": "object", "properties": {
		"steps": {"type": "integer", "minimum": 4, "maximum": 8},
		"size": {"enum": ["small", "large"]},
		"id": {"anyOf": [{"type": "string", "pattern": "^[a-z]+$"}, {"type": "null"}]},
		"tags": {"type": "array", "items": {"type": "string", "maxLength": 3}},
		"a/b~c": {"type": "object", "properties": {"d": {"type": "boolean"}}, "required": ["d"]}
	}}`,
	Call: func(_ context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
		return tools.Text(string(c.Arguments)), nil
	},
}

func callEcho(arguments string) string {
	return rpc("tools/call", `{"name":"echo","arguments":`+arguments+`}`)
}

func TestArgumentsThatDoNotFit(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, echo) })
	for _, c := range []struct{ body, want string }{
		{callAdd(`"1"`, "2"), "/a: got string, want number"},
		{callAdd("null", "true"), "/a: got null, want number; /b: got boolean, want number"},
		{callAdd("{}", "[]"), "/a: got object, want number; /b: got array, want number"},
		{rpc("tools/call", `{"name":"add","arguments":{"a":1}}`), "missing property 'b'"},
		{rpc("tools/call", `{"name":"add","arguments":{}}`), "missing properties 'a', 'b'"},
		{rpc("tools/call", `{"name":"add","arguments":null}`), "missing properties 'a', 'b'"},
		{rpc("tools/call", `{"name":"add"}`), "missing properties 'a', 'b'"},
		{rpc("tools/call", `{"name":"add","arguments":[1,2]}`), "got array, want object"},
		{rpc("tools/call", `{"name":"add","arguments":"a"}`), "got string, want object"},
		{rpc("tools/call", `{"name":"add","arguments":{"a":1,"b":2,"d":4,"c":3}}`), "additional properties 'c', 'd' not allowed"},
		{rpc("tools/call", `{"name":"add","arguments":{"a":1,"b":2,"A":3}}`), "unknown property 'A', want 'a'"},
		{rpc("tools/call", `{"name":"add","arguments":{"A":1,"b":2}}`), "unknown property 'A', want 'a'"},
		{rpc("tools/call", `{"name":"add","arguments":{"a":1,"a":2,"b":2}}`), "an object names a member twice"},
		{rpc("tools/call", `{"name":"add","arguments":{"a":"x","\u0061":2,"b":2}}`), "an object names a member twice"},
		{callAdd(strings.Repeat("[", 9000)+strings.Repeat("]", 9000), "1"), "/a: got array, want number"},
		{rpc("tools/call", `{"name":"generateImage","arguments":{"prompt":"","steps":4.5}}`), "/prompt: minLength: got 0, want 1; /steps: got number, want integer"},
		{rpc("tools/call", `{"name":"generateImage","arguments":{"prompt":"`+strings.Repeat("é", tools.MaxPrompt+1)+`"}}`), "/prompt: maxLength: got 2,001, want 2,000"},
		{callEcho(`{"steps":3}`), "/steps: minimum: got 3, want 4"},
		{callEcho(`{"steps":9}`), "/steps: maximum: got 9, want 8"},
		{callEcho(`{"STEPS":1000}`), "unknown property 'STEPS', want 'steps'"},
		{callEcho(`{"\u017fteps":1000}`), "unknown property 'ſteps', want 'steps'"}, // Go reads ſ as s
		{callEcho(`{"size":"huge"}`), "/size: value must be one of 'small', 'large'"},
		{callEcho(`{"id":7}`), "/id: got number, want string, or /id: got number, want null"},
		{callEcho(`{"id":"<B>"}`), "/id: '<B>' does not match pattern '^[a-z]+$', or /id: got string, want null"},
		{callEcho(`{"tags":["red","green"]}`), "/tags/1: maxLength: got 5, want 3"},
		{callEcho(`{"a/b~c":{}}`), "/a~1b~0c: missing property 'd'"},
		{callEcho(`{"x":{"y":[{"z":1,"z":2}]}}`), "an object names a member twice"},
	} {
		got := strings.TrimSpace(readAll(t, request{token: employee, body: c.body}.run(t, f).Body))
		if want := fault(c.want); got != want {
			t.Errorf("%.100s:\n got %s\nwant %s", c.body, got, want)
		}
	}
	if log := f.log.String(); strings.Contains(log, "fault") {
		t.Errorf("a caller's mistake is logged as a fault:\n%s", log)
	}
}

// What a caller is told of its own words has a bound.
func TestFaultsAreBounded(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, echo) })
	for name, arguments := range map[string]string{
		"many elements":    `{"tags":[` + strings.Repeat(`"green",`, 1000) + `"x"]}`,
		"a long name":      `{"steps":1,"` + strings.Repeat("é", 64<<10) + `":1}`,
		"a long value":     `{"id":"` + strings.Repeat("É", 64<<10) + `"}`,
		"a long path":      `{"a/b~c":{"d":"` + strings.Repeat("x", 64<<10) + `"}}`,
		"a long near miss": `{"` + strings.Repeat("ſ", 1<<10) + `":1,"steps":1}`,
	} {
		answer := readAll(t, request{token: employee, body: callEcho(arguments), want: []string{`"isError":true`}}.run(t, f).Body)
		if len(answer) > 4<<10 {
			t.Errorf("%s: told in %d bytes", name, len(answer))
		}
	}
}

func TestArgumentsReachTheToolAsWritten(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, echo) })
	for _, arguments := range []string{
		`{}`, `{"x":9007199254740993}`, `{"x":1e-400,"y":{"x":1}}`, `{"x":"a\":\"b\\","y":"\\\""}`, `{"X":1,"x":2}`, `{ "steps" : 5.0 }`,
		`{"X":{"steps":1,"STEPS":2}}`, `{"id":null,"tags":[]}`, `{"":1," ":2}`,
	} {
		want, _ := json.Marshal(arguments)
		request{token: employee, body: callEcho(arguments), want: []string{`"text":` + string(want)}, wantNot: []string{"isError"}}.run(t, f)
	}
	for _, none := range []string{`{"name":"echo"}`, `{"name":"echo","arguments":null}`} {
		request{token: employee, body: rpc("tools/call", none), want: []string{`"text":"{}"`}}.run(t, f)
	}
}

// The members of decoded arguments are counted, and so are the colons of their text: whatever the text, they differ
// only where a name stands twice.
func FuzzMembersAndColons(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":":"},"c":[{"\"":"\\"}]}`, `[":",{}]`, `"\\\":"`, `{"\u0061":1,"a":2}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			return
		}
		if m, c := members(value), colons([]byte(text)); m > c {
			t.Errorf("%q: %d members, %d colons", text, m, c)
		}
		again, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if m, c := members(value), colons(again); m != c {
			t.Errorf("%q: %d members, %d colons once every name stands once", again, m, c)
		}
	})
}

// A result that breaks its tool's promise is the server's fault: its caller is told so and no more, and the log has it.
func TestResultsThatDoNotFit(t *testing.T) {
	const output = `{"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}`
	for name, c := range map[string]struct {
		result *mcp.CallToolResult
		logged string
	}{
		"wrong type":   {&mcp.CallToolResult{StructuredContent: map[string]any{"sum": "secret of the result"}}, "/sum: got string, want number"},
		"raw JSON":     {&mcp.CallToolResult{StructuredContent: json.RawMessage(`{"total":"secret of the result"}`)}, "missing property 'sum'"},
		"no JSON":      {&mcp.CallToolResult{StructuredContent: json.RawMessage(`secret of the result`)}, "decoding the structured content"},
		"not encoding": {&mcp.CallToolResult{StructuredContent: map[string]any{"sum": func() {}}}, "encoding the structured content"},
		"unstructured": {tools.Text("secret of the result"), "lacks the structured content"},
		"nothing":      {nil, "neither a result nor an error"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c2 *Config) {
				c2.Tools = append(c2.Tools, tools.Tool{
					Name: "sum", Input: `{"type": "object"}`, Output: output, Access: policy.Everyone,
					Call: func(context.Context, *tools.Call) (*mcp.CallToolResult, error) { return c.result, nil },
				})
			})
			request{token: employee, body: rpc("tools/call", `{"name":"sum"}`),
				want: []string{`"isError":true`, "sum failed inside the server"}, wantNot: []string{"secret", "got string", "missing", "func"}}.run(t, f.logged())
			if log := f.log.String(); !strings.Contains(log, c.logged) {
				t.Errorf("the log lacks %q:\n%s", c.logged, log)
			}
		})
	}
	f := newFixture(t, func(c *Config) {
		c.Tools = append(c.Tools, tools.Tool{
			Name: "sum", Input: `{"type": "object"}`, Output: output, Access: policy.Everyone,
			Call: func(_ context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
				if strings.Contains(string(c.Arguments), "fail") {
					return mcp.NewToolResultError("no sum today"), nil // an error need not fit
				}
				return &mcp.CallToolResult{StructuredContent: struct {
					Sum int `json:"sum"`
				}{3}}, nil
			},
		})
	})
	request{token: employee, body: rpc("tools/call", `{"name":"sum"}`), want: []string{`"structuredContent":{"sum":3}`}, wantNot: []string{"isError"}}.run(t, f)
	request{token: employee, body: rpc("tools/call", `{"name":"sum","arguments":{"fail":1}}`), want: []string{"no sum today"}}.run(t, f)
}

func TestParamsOfAWrongForm(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct{ body, want string }{
		{callAdd("1e400", "1"), "params: number 1e400 does not fit"},
		{callAdd("1"+strings.Repeat("0", 1000), "1"), "params: number 1" + strings.Repeat("0", 192) + "… does not fit"},
		{rpc("tools/call", `{"name":1}`), "params.name: number does not fit"},
		{rpc("tools/call", `[]`), "params: array does not fit"},
		{rpc("tools/call", `{"name":"add","_meta":7}`), "params._meta: number does not fit"},
		{rpc("tools/list", `7`), "params: number does not fit"},
		{rpc("resources/read", `{"uri":{}}`), "params.uri: object does not fit"},
	} {
		want := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":%q}}`, c.want)
		request{token: employee, body: c.body, want: []string{want}, wantNot: []string{"Go struct", "json:"}}.run(t, f)
	}
	body, header := modernRPC("tools/call", "add", `{"name":"add","arguments":{"a":1e400,"b":1}}`)
	request{token: employee, body: body, header: header, status: 400, want: []string{`"code":-32602,"message":"params: number 1e400 does not fit"`}}.run(t, f)
	body, header = modernRPC("resources/read", "history://other", `{"uri":"history://other"}`)
	request{token: employee, body: body, header: header, status: 400, want: []string{`"code":-32602`, `"data":{"uri":"history://other"}`}}.run(t, f)
	request{token: employee, body: rpc("resources/read", `{"uri":"history://other"}`), want: []string{`"code":-32002`, `"data":{"uri":"history://other"}`}}.run(t, f)
}
