package mcpserver

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestLegacyVersions(t *testing.T) {
	f := newFixture(t, nil)
	for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			header := http.Header{}
			if version >= "2025-06-18" {
				header.Set("MCP-Protocol-Version", version)
			}
			for _, q := range []request{
				{body: rpc("initialize", `{"protocolVersion":"`+version+`","capabilities":{},"clientInfo":{"name":"t","version":"1"}}`),
					want:    []string{`"protocolVersion":"` + version + `"`, `"tools":{}`, `"resources":{}`},
					headers: map[string]string{"Content-Type": "application/json", "Mcp-Session-Id": "-", "Cache-Control": "private, no-store", "Vary": "Authorization"}},
				{body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`, status: http.StatusAccepted},
				{body: rpc("ping", "{}"), want: []string{`"result":{}`}},
				{body: rpc("tools/list", "{}"), want: []string{`"name":"add"`, `"name":"generateImage"`, `"additionalProperties":false`}},
				{path: "/sse", body: rpc("tools/list", "{}"), want: []string{`"name":"add"`}},
				{body: callAdd("40", "2"), want: []string{`"text":"42"`, `"structuredContent":{"sum":42}`}},
				{body: callAdd("0.1", "0.2"), want: []string{`"text":"0.3"`, `{"sum":0.3}`}},
				{body: callAdd("1e15", "1"), want: []string{`"text":"1000000000000001"`, `{"sum":1000000000000001}`}},
				{body: callAdd("9007199254740993", "0"), want: []string{`"text":"9007199254740993"`}},
				{body: callAdd("1e308", "1e308"), want: []string{`"text":"2e+308"`, `{"sum":2e+308}`}},
				{body: callAdd("1e-400", "0"), want: []string{`"text":"1e-400"`}},
				{body: callAdd("1e-999999999", "1"), want: []string{`"isError":true`, `out of range`}},
				{body: callAdd(`"1"`, "2"), want: []string{`"isError":true`, `/a: got string, want number`}},
				{body: rpc("tools/call", `{"name":"add","arguments":{"a":1}}`), want: []string{`"isError":true`, `missing property 'b'`}},
				{body: rpc("tools/call", `{"name":"add","arguments":{"a":1,"b":2,"c":3}}`), want: []string{`"isError":true`}},
				{body: rpc("tools/call", `{"name":"add","arguments":{"a":1,"b":2,"A":3}}`), want: []string{`"isError":true`}},
				{body: rpc("tools/call", `{"name":"add"}`), want: []string{`"isError":true`}},
				{body: rpc("tools/call", `{"name":"generateImage","arguments":{"prompt":"fox","steps":9}}`), want: []string{`"isError":true`, `/steps`}},
				{body: rpc("tools/call", `{"name":"generateImage","arguments":{"prompt":"fox","steps":4.5}}`), want: []string{`"isError":true`}},
				{body: rpc("tools/call", `{"name":"generateImage","arguments":{"prompt":"","steps":4}}`), want: []string{`"isError":true`}},
				{body: rpc("tools/call", `{"name":"subtract","arguments":{}}`), want: []string{`"code":-32602`, "tool 'subtract' not found"}},
				{body: rpc("no/such", `{}`), want: []string{`"code":-32601`}},
				{body: rpc("server/discover", `{}`), want: []string{`"code":-32601`}},
				{method: "GET", status: http.StatusMethodNotAllowed, headers: map[string]string{"Allow": "POST"}},
				{method: "DELETE", status: http.StatusMethodNotAllowed, headers: map[string]string{"Allow": "POST"}},
			} {
				q.token, q.header = employee, header
				q.run(t, f)
			}
		})
	}
}

func TestModernVersion(t *testing.T) {
	f := newFixture(t, nil)
	post := func(method, name, params string, status int, want ...string) {
		t.Helper()
		body, header := modernRPC(method, name, params)
		request{token: employee, body: body, header: header, status: status, want: want}.run(t, f)
	}
	private := `"cacheScope":"private"`
	post("server/discover", "", "{}", 200, `"2026-07-28"`, `"2024-11-05"`, `"ttlMs":0`, private, `"resultType":"complete"`)
	post("tools/list", "", "{}", 200, `"name":"add"`, `"ttlMs":0`, private)
	post("resources/list", "", "{}", 200, HistoryURI, `"ttlMs":0`, private)
	post("resources/read", HistoryURI, `{"uri":"`+HistoryURI+`"}`, 200, private, `{\"images\":[]}`)
	post("tools/call", "add", `{"name":"add","arguments":{"a":0.1,"b":0.2}}`, 200, `"text":"0.3"`, `"resultType":"complete"`)
	post("tools/call", "subtract", `{"name":"subtract","arguments":{}}`, 400, `"code":-32602`)
	post("initialize", "", "{}", 404, `"code":-32601`)
	post("no/such", "", "{}", 404, `"code":-32601`)
	post("subscriptions/listen", "", `{"notifications":{"toolsListChanged":true}}`, 200,
		"notifications/subscriptions/acknowledged", "event: message\ndata: ", `"result"`)

	body, header := modernRPC("tools/call", "add", `{"name":"add","arguments":{"a":1,"b":2}}`)
	change := func(name, value string) http.Header {
		changed := header.Clone()
		changed.Set(name, value)
		return changed
	}
	for _, q := range []request{
		{header: change("Mcp-Method", "tools/list"), status: 400, want: []string{"-32020"}},
		{header: change("Mcp-Name", "generateImage"), status: 400, want: []string{"-32020"}},
		{header: change("Mcp-Protocol-Version", "2025-11-25"), status: 400, want: []string{"-32020"}},
		{header: change("Mcp-Protocol-Version", "2027-01-01"), status: 400, want: []string{"-32020"}},
		{header: change("Last-Event-ID", "1"), status: 400, want: []string{"-32020"}},
		{header: change("Mcp-Session-Id", "anything"), want: []string{`"text":"3"`}},
		{method: "GET", header: header, status: 405, headers: map[string]string{"Allow": "POST"}},
		{method: "DELETE", header: header, status: 405, headers: map[string]string{"Allow": "POST"}},
		{method: "GET", path: "/sse", header: header, status: 405, headers: map[string]string{"Allow": "POST"}},
	} {
		if q.method == "" {
			q.body = body
		}
		q.token = employee
		q.run(t, f)
	}
	future := strings.ReplaceAll(body, "2026-07-28", "2027-01-01")
	request{token: employee, body: future, header: change("Mcp-Protocol-Version", "2027-01-01"), status: 400, want: []string{"-32022", `"supported"`}}.run(t, f)
}

func TestMessagesThatAreNotRequests(t *testing.T) {
	f := newFixture(t, nil)
	plain := http.Header{"Content-Type": {"text/plain"}}
	for _, q := range []request{
		{body: "{", status: 400, want: []string{"-32700"}},
		{body: "nonsense", status: 400, want: []string{"-32700"}},
		{body: " ", status: 400, want: []string{"-32700"}},
		{body: `{"jsonrpc":"1.0","id":1,"method":"ping"}`, want: []string{"-32600"}},
		{body: rpc("ping", "{}"), header: plain, status: 415, want: []string{"-32600"}},
		{body: rpc("ping", "{}"), header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}},
		{body: rpc("ping", "{}"), header: http.Header{"Mcp-Protocol-Version": {"2023-01-01"}}, status: 400, want: []string{"-32022"}},
		{body: `{"jsonrpc":"2.0","id":7,"result":{}}`, status: 202},
		{body: `{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}`, status: 404},
		{body: `{"pad":"` + strings.Repeat("x", maxBody) + `"}`, status: 413, want: []string{"-32600"}},
		{body: strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), status: 400, want: []string{"-32700"}},
		{path: "/mcp/", status: 404, body: rpc("ping", "{}")},
		{path: "//mcp", status: 404, body: rpc("ping", "{}")},
		{path: "/%6dcp", status: 404, body: rpc("ping", "{}")},
		{path: "/mcp;x=1", status: 404, body: rpc("ping", "{}")},
		{path: "/messages?sessionId=00", status: 404, body: rpc("ping", "{}")},
		{path: "/messages", status: 404, body: rpc("ping", "{}")},
	} {
		q.token = employee
		q.run(t, f)
	}
}

func TestWhatNewRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Tools = append(c.Tools, c.Tools[0]) }, `two tools are named "add"`},
		{func(c *Config) { c.Tools[0].Input = `{"type": "nonsense"}` }, "input schema"},
		{func(c *Config) { c.Tools[0].Input = `true` }, `"type" is not "object"`},
		{func(c *Config) { c.Tools[0].Input = `{"type": ["object", "null"]}` }, `"type" is not "object"`},
		{func(c *Config) { c.Tools[0].Output = `{` }, "output schema"},
		{func(c *Config) { c.Policy = mustPolicy(t, "", `{"sum": {"everyone": true}}`) }, `TOOL_POLICY names the tool "sum"`},
		{func(c *Config) { c.Resource = (Config{}).Resource }, "neither its URL"},
	} {
		config := newFixture(t, nil).config
		c.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

// Sixty calls one after the other, each with a notification as its last act: mcp-go by itself loses some.
func TestEveryNotificationArrives(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, noisy) })
	for i := range 60 {
		steps := 4 + i%5
		call := fmt.Sprintf(`{"name":"noisy","arguments":{"n":%d},"_meta":{"progressToken":"p%d"}}`, steps, i)
		body, header, reported := rpc("tools/call", call), http.Header(nil), steps
		switch i % 3 {
		case 1:
			body, header = modernRPC("tools/call", "noisy", fmt.Sprintf(`{"name":"noisy","arguments":{"n":%d}}`, steps))
			body = strings.Replace(body, `"io.modelcontextprotocol/protocolVersion"`, `"progressToken":"p","io.modelcontextprotocol/protocolVersion"`, 1)
		case 2: // without a progress token
			body, reported = rpc("tools/call", fmt.Sprintf(`{"name":"noisy","arguments":{"n":%d}}`, steps)), 0
		}
		q := request{token: employee, body: body, header: header,
			headers: map[string]string{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "private, no-store"}}
		messages := events(t, readAll(t, q.run(t, f).Body))
		if len(messages) != steps+reported+1 {
			t.Fatalf("call %d: %d messages, want %d: %s", i, len(messages), steps+reported+1, messages)
		}
		progress, logged := 0, 0 // mcp-go forwards what it is given by itself, so that each kind has an order of its own
		for _, message := range messages[:len(messages)-1] {
			switch {
			case strings.Contains(message, fmt.Sprintf(`"progress":%d,`, progress+1)):
				progress++
			case strings.Contains(message, fmt.Sprintf(`"data":%d,`, logged+1)):
				logged++
			default:
				t.Fatalf("call %d: after %d reports and %d others came %s", i, progress, logged, message)
			}
		}
		if last := messages[len(messages)-1]; !strings.Contains(last, `"result"`) || progress != reported || logged != steps {
			t.Fatalf("call %d: after %d reports and %d others the last is %s", i, progress, logged, last)
		}
	}
	// Without a progress token, reports are not sent.
	request{token: employee, body: rpc("tools/call", `{"name":"generateImage","arguments":{"prompt":"fox"}}`),
		headers: map[string]string{"Content-Type": "application/json"}, want: []string{`"type":"image"`}}.run(t, f)
}
