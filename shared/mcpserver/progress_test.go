package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/tools"
)

func reporting(call func(ctx context.Context, report func(float64, float64, string))) tools.Tool {
	return tools.Tool{
		Name: "reporting", Input: `{"type":"object"}`, Access: policy.Everyone,
		Call: func(ctx context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
			call(ctx, func(progress, total float64, message string) { c.Progress(ctx, progress, total, message) })
			return tools.Text("done"), nil
		},
	}
}

const callReporting = `{"name":"reporting","_meta":{"progressToken":"p"}}`

// events takes an event stream apart into the messages of its events.
func events(t *testing.T, stream string) (messages []string) {
	t.Helper()
	for event := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "event: message\ndata: ")
		if !ok || !json.Valid([]byte(data)) {
			t.Fatalf("not an event with a message: %q", event)
		}
		messages = append(messages, data)
	}
	return messages
}

func TestProgressGrows(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Tools = append(c.Tools, reporting(func(_ context.Context, report func(float64, float64, string)) {
			report(0, 0, "")
			report(0.5, 3, "half")
			report(0.5, 3, "half again")
			report(0.25, 3, "back")
			report(math.NaN(), 3, "nowhere")
			report(3, 3, "all")
		}))
	})
	got := events(t, readAll(t, request{token: employee, body: rpc("tools/call", callReporting)}.run(t, f).Body))
	want := []string{
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":0,"progressToken":"p"}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"half","progress":0.5,"progressToken":"p","total":3}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"all","progress":3,"progressToken":"p","total":3}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// Goroutines of one tool report as they please: what arrives grows, ends with the greatest, and is followed by nothing
// but the answer.
func TestProgressOfManyGoroutines(t *testing.T) {
	const workers, steps = 8, 50
	f := newFixture(t, func(c *Config) {
		c.Tools = append(c.Tools, reporting(func(_ context.Context, report func(float64, float64, string)) {
			var group sync.WaitGroup
			for w := range workers {
				group.Go(func() {
					for n := range steps {
						report(float64(n*workers+w), workers*steps, "")
					}
				})
			}
			group.Wait()
		}))
	})
	messages := events(t, readAll(t, request{token: employee, body: rpc("tools/call", callReporting)}.run(t, f).Body))
	last := -1.0
	for i, message := range messages {
		if i == len(messages)-1 {
			if !strings.Contains(message, `"result"`) || last != workers*steps-1 {
				t.Errorf("after progress %v the stream ends with %s", last, message)
			}
			break
		}
		var notification struct{ Params struct{ Progress float64 } }
		if err := json.Unmarshal([]byte(message), &notification); err != nil || notification.Params.Progress <= last {
			t.Fatalf("after %v came %s, %v", last, message, err)
		}
		last = notification.Params.Progress
	}
}

// late is a result that reports while it is encoded, as a goroutine that a tool has left behind may.
type late struct{ report func() }

func (l late) MarshalJSON() ([]byte, error) {
	l.report()
	return []byte(`{}`), nil
}

func TestNoProgressOnceTheToolHasReturned(t *testing.T) {
	var kept func()
	f := newFixture(t, func(c *Config) {
		c.Tools = append(c.Tools, tools.Tool{
			Name: "reporting", Input: `{"type":"object"}`, Access: policy.Everyone,
			Call: func(ctx context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
				n := 0.0
				kept = func() { n++; c.Progress(ctx, n, 0, "") }
				kept()
				return &mcp.CallToolResult{Content: []mcp.Content{}, StructuredContent: late{kept}}, nil
			},
		})
	})
	response := request{token: employee, body: rpc("tools/call", callReporting)}.run(t, f)
	kept()
	if messages := events(t, readAll(t, response.Body)); len(messages) != 2 || !strings.Contains(messages[1], `"result"`) {
		t.Errorf("the stream holds %s", strings.Join(messages, "\n"))
	}
}

// withoutFlush is a writer that cannot stream.
type withoutFlush struct{ http.ResponseWriter }

// Where the answer cannot stream, it is whole, and progress has nowhere to go.
func TestProgressWithoutStream(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, noisy) })
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.ServeHTTP(withoutFlush{w}, r) })
	body := rpc("tools/call", `{"name":"noisy","arguments":{"n":3},"_meta":{"progressToken":"p"}}`)
	answer := readAll(t, request{token: employee, body: body, headers: map[string]string{"Content-Type": "application/json"}}.run(t, plain).Body)
	if want := `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}`; strings.TrimSpace(answer) != want {
		t.Errorf("the answer is %s", answer)
	}
	request{token: employee, method: "GET", path: "/sse", status: 405}.run(t, plain)
}

// A token comes back as the client made it, and cannot break the stream it travels in.
func TestProgressTokensAreTheClients(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, noisy) })
	for _, token := range []string{`"p"`, `7`, `"</script>"`, `"a\nevent: x"`} {
		body := rpc("tools/call", fmt.Sprintf(`{"name":"noisy","arguments":{"n":1},"_meta":{"progressToken":%s}}`, token))
		messages := events(t, readAll(t, request{token: employee, body: body}.run(t, f).Body))
		var notification struct {
			Params struct{ ProgressToken json.RawMessage }
		}
		var want, got any
		if len(messages) != 3 || json.Unmarshal([]byte(messages[0]), &notification) != nil {
			t.Fatalf("%s: %s", token, messages)
		}
		if json.Unmarshal([]byte(token), &want) != nil || json.Unmarshal(notification.Params.ProgressToken, &got) != nil || got != want {
			t.Errorf("%s came back as %s", token, notification.Params.ProgressToken)
		}
	}
}
