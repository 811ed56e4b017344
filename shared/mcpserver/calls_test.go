package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/tools"
)

const (
	listedOnly = `{"generateImage": {"emails": ["employee@example.com", "artist@example.com"]}}`
	withScope  = `{"generateImage": {"emails": ["employee@example.com", "artist@example.com"], "scope": "images"}}`
	callImage  = `{"name":"generateImage","arguments":{"prompt":"fox"}}`
)

// What a caller may know is told; what is the server's own goes to the log.
func TestToolErrors(t *testing.T) {
	down := tools.Tool{
		Name: "down", Input: `{"type":"object"}`, Access: policy.Everyone,
		Call: func(context.Context, *tools.Call) (*mcp.CallToolResult, error) {
			return nil, fmt.Errorf("reading the secret: %w", table.ErrUnavailable)
		},
	}
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, broken, down) })
	for _, c := range []struct{ call, told, logged string }{
		{`{"name":"broken","arguments":{"how":"told"}}`, "the moon is not full", ""},
		{`{"name":"broken","arguments":{"how":"untold"}}`, "broken failed inside the server; its log has the cause", `"fault":"calling broken: secret of the error"`},
		{`{"name":"broken","arguments":{"how":"panic"}}`, "broken failed inside the server; its log has the cause", `"fault":"calling broken: panic: secret of the panic"`},
		{`{"name":"down"}`, "the server's storage does not answer now; try again shortly", `"fault":"calling down: reading the secret: table: unavailable"`},
	} {
		before := len(f.log.String())
		q := request{token: employee, body: rpc("tools/call", c.call), want: []string{`"isError":true`, `"text":"` + c.told + `"`}, wantNot: []string{"secret", "goroutine", ".go:"}}
		q.run(t, f.logged())
		if log := f.log.String()[before:]; c.logged == "" && strings.Contains(log, "fault") || !strings.Contains(log, c.logged) {
			t.Errorf("%s: the log is to say %q:\n%s", c.call, c.logged, log)
		}
		q.body, q.header = modernRPC("tools/call", strings.Split(c.call, `"`)[3], c.call)
		q.run(t, f)
		q.want = []string{`"text":"3"`} // and the server goes on
		request{token: employee, body: callAdd("1", "2"), want: q.want}.run(t, f)
	}
}

// answered is everything that a client sees of an answer but its date.
func answered(h http.Handler, token, path, body string, header http.Header) string {
	r := httptest.NewRequest("POST", testOrigin+path, strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var headers strings.Builder
	_ = w.Result().Header.Write(&headers) // a strings.Builder takes everything
	return fmt.Sprintf("%d\n%s\n%s", w.Code, headers.String(), w.Body)
}

// A tool that policy denies answers byte for byte as one that does not exist, in every era and whatever is asked of it,
// and never with 403: there is no scope that a client could ask for.
func TestG03_DeniedIsUnknown(t *testing.T) {
	for _, rules := range []string{listedOnly, withScope} {
		f := newFixture(t, func(c *Config) { c.Policy = mustPolicy(t, "employee@example.com", rules) })
		for _, arguments := range []string{`{"prompt":"fox"}`, `{}`, `null`, `{"steps":"x"}`, `[]`, `{"prompt":"a","prompt":"b"}`} {
			for _, meta := range []string{"", `,"_meta":{"progressToken":"p"}`, `,"task":{"ttl":1}`} {
				call := func(name string) (string, string) {
					body := rpc("tools/call", `{"name":"`+name+`","arguments":`+arguments+meta+`}`)
					modern, header := modernRPC("tools/call", name, `{"name":"`+name+`","arguments":`+arguments+`}`)
					return answered(f, guest, "/mcp", body, nil), answered(f, guest, "/sse", modern, header)
				}
				legacy, modern := call("generateImage")
				unknownLegacy, unknownModern := call("generateOther")
				for got, unknown := range map[string]string{legacy: unknownLegacy, modern: unknownModern} {
					if want := strings.ReplaceAll(unknown, "generateOther", "generateImage"); got != want {
						t.Errorf("denied:\n%s\nunknown:\n%s", got, want)
					}
					if strings.HasPrefix(got, "403") || !strings.Contains(got, "-32602") {
						t.Errorf("denied: %s", got)
					}
				}
			}
		}
		request{token: guest, body: rpc("tools/list", "{}"), want: []string{`"name":"add"`}, wantNot: []string{"generateImage"}}.run(t, f)
		body, header := modernRPC("tools/list", "", "{}")
		request{token: guest, body: body, header: header, want: []string{`"name":"add"`}, wantNot: []string{"generateImage"}}.run(t, f)
		request{token: artist, body: rpc("tools/list", "{}"), want: []string{`"name":"add"`, `"name":"generateImage"`}}.run(t, f)
	}
	// No list at all: a Listed tool is open to no one, an Everyone tool to all.
	f := newFixture(t, func(c *Config) { c.Policy = policy.Policy{} })
	request{token: employee, body: rpc("tools/list", "{}"), want: []string{`"name":"add"`}, wantNot: []string{"generateImage"}}.run(t, f)
	request{token: employee, body: rpc("tools/call", callImage), want: []string{"not found"}}.run(t, f)
}

// A scope can be asked for, so that its lack is told: with what the token has already, or a client would lose it.
func TestG03_InsufficientScope(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Policy = mustPolicy(t, "", withScope) })
	modern, header := modernRPC("tools/call", "generateImage", callImage)
	for path, metadata := range map[string]string{"/mcp": metadataURL + "/mcp", "/sse": metadataURL + "/sse"} {
		want := challenge{"insufficient_scope", "", metadata, "images mcp"}
		for _, q := range []request{
			{path: path, body: rpc("tools/call", callImage)},
			{path: path, body: rpc("tools/call", `{"name":"generateImage"}`)}, // before the arguments are looked at
			{path: path, body: modern, header: header},
		} {
			q.status = 403
			for _, q.token = range []string{employee, otherClient} {
				q.challenged(t, f, want)
			}
		}
	}
	request{token: artist, body: rpc("tools/call", callImage), want: []string{`"type":"image"`}}.run(t, f)
	request{token: employee, body: rpc("tools/list", "{}"), want: []string{`"name":"generateImage"`}}.run(t, f)
	request{token: employee, body: callAdd("1", "2"), want: []string{`"text":"3"`}}.run(t, f)
}

func TestAuditOfCalls(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Policy = mustPolicy(t, "", withScope) })
	long := strings.Repeat("n", 1000)
	for _, c := range []struct{ token, name, want string }{
		{employee, "add", `"action":"tool_called","decision":"allow","iss":"https://idp.example.com","sub":"employee@example.com","email":"employee@example.com","client_id":"c1","grant_id":"g1","tool":"add","request_id":"r1"`},
		{otherClient, "generateImage", `"action":"tool_denied","decision":"deny","iss":"https://idp.example.com","sub":"employee@example.com","email":"employee@example.com","client_id":"c2","grant_id":"g2","tool":"generateImage","reason":"scope"`},
		{guest, "generateImage", `"action":"tool_denied","decision":"deny","iss":"https://idp.example.com","sub":"guest@example.com","email":"guest@example.com","client_id":"c1","grant_id":"g3","tool":"generateImage","reason":"policy"`},
		{guest, "subtract", `"grant_id":"g3","tool":"subtract","reason":"unknown tool"`},
		{guest, long, `"tool":"` + long[:128] + `","reason":"unknown tool"`},
		{guest, `a\nb\"c`, `"tool":"a\nb\"c","reason":"unknown tool"`}, // H04: one line, whatever the name
	} {
		before := len(f.log.String())
		answered(f.logged(), c.token, "/mcp", rpc("tools/call", `{"name":"`+c.name+`","arguments":{"a":1,"b":2}}`), nil)
		log := f.log.String()[before:]
		if !strings.Contains(log, c.want) || strings.Count(log, `"msg":"audit"`) != 1 || strings.Count(log, "\n") != 2 {
			t.Errorf("%s: the log lacks %s:\n%s", c.name, c.want, log)
		}
	}
	before := len(f.log.String())
	for _, body := range []string{rpc("tools/list", "{}"), rpc("ping", "{}"), `{"jsonrpc":"2.0","method":"tools/call","params":` + callImage + `}`} {
		answered(f, guest, "/mcp", body, nil)
	}
	if log := f.log.String()[before:]; log != "" {
		t.Errorf("decisions are recorded where there were none:\n%s", log)
	}
}

// What is judged is the name that mcp-go reads in the body. A header, a second name, or a name spelt otherwise opens
// nothing.
func TestG06_PolicyIsOfTheBody(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Policy = mustPolicy(t, "", listedOnly) })
	image := []string{`"type":"image"`}
	for _, params := range []string{
		`{"name":"generateImage","arguments":{"prompt":"fox"}}`,
		`{"name":"add","name":"generateImage","arguments":{"prompt":"fox"}}`,
		`{"name":"generateImage","name":"add","arguments":{"prompt":"fox"}}`,
		`{"name":"add","Name":"generateImage","arguments":{"prompt":"fox"}}`,
		`{"NAME":"generateImage","name":"add","arguments":{"prompt":"fox"}}`,
		`{"\u006eame":"generateImage","name":"add","arguments":{"prompt":"fox"}}`,
		`{"name":"add","arguments":{"prompt":"fox"}},"params":{"name":"generateImage","arguments":{"prompt":"fox"}}`,
		`{"name":"generateImage ","arguments":{"prompt":"fox"}}`,
		`{"name":"generateimage","arguments":{"prompt":"fox"}}`,
	} {
		for _, header := range []string{"", "add", "generateImage"} {
			h := http.Header{"Mcp-Method": {"tools/list"}}
			if header != "" {
				h.Set("Mcp-Name", header)
			}
			request{token: guest, header: h, body: rpc("tools/call", params), wantNot: image}.run(t, f)
			body, h := modernRPC("tools/call", header, params)
			answer := answered(f, guest, "/mcp", body, h)
			if strings.Contains(answer, image[0]) {
				t.Errorf("%s with Mcp-Name %q: %s", params, header, answer)
			}
		}
	}
	for line := range strings.SplitSeq(f.log.String(), "\n") {
		if strings.Contains(line, `"tool":"generateImage"`) && !strings.Contains(line, `"decision":"deny"`) {
			t.Errorf("allowed: %s", line)
		}
	}
	// Batches are gone, and cannot carry one call past the check of another.
	batch := "[" + callAdd("1", "2") + "," + rpc("tools/call", callImage) + "]"
	request{token: guest, body: batch, status: 400, want: []string{"batches"}}.run(t, f)
	request{token: guest, body: " \n" + batch, status: 400, want: []string{"batches"}}.run(t, f)
	request{token: employee, body: callAdd("1", "2") + callAdd("1", "2"), status: 400, want: []string{"-32700"}}.run(t, f)
}

// A session id is never an authority: whoever's it is, a request acts for its token's person alone.
func TestG05_SessionIDHasNoEffect(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Policy = mustPolicy(t, "", listedOnly) })
	for _, session := range []string{"g1", "mcp-session-00000000-0000-0000-0000-000000000000", "", "x"} {
		header := http.Header{"Mcp-Session-Id": {session}}
		request{token: guest, header: header, body: rpc("tools/list", "{}"), want: []string{`"name":"add"`}, wantNot: []string{"generateImage"}, headers: map[string]string{"Mcp-Session-Id": "-"}}.run(t, f)
		request{token: guest, header: header, body: rpc("tools/call", callImage), want: []string{"not found"}}.run(t, f)
		request{header: header, body: rpc("tools/list", "{}"), status: 401}.run(t, f)
		request{token: guest, header: header, body: rpc("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}`),
			want: []string{`"protocolVersion":"2025-11-25"`}, headers: map[string]string{"Mcp-Session-Id": "-"}}.run(t, f)
		request{token: guest, method: "DELETE", header: header, status: 405}.run(t, f)
	}
}

// Request ids are a client's own: one person's cancellation, or another client's of the same person, does not reach a
// call that bears the same id.
func TestG05_CancellationIsOfOneGrant(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	wait := tools.Tool{
		Name: "wait", Input: `{"type":"object"}`, Access: policy.Everyone,
		Call: func(ctx context.Context, _ *tools.Call) (*mcp.CallToolResult, error) {
			started <- struct{}{}
			select {
			case <-release:
				if ctx.Err() == nil {
					return tools.Text("undisturbed"), nil
				}
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		},
	}
	f := newFixture(t, func(c *Config) { c.Tools = append(c.Tools, wait) })
	const cancelled = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
	call := func() <-chan string {
		answer := make(chan string, 1)
		go func() { answer <- answered(f, employee, "/mcp", rpc("tools/call", `{"name":"wait"}`), nil) }()
		select {
		case <-started:
		case <-time.After(10 * time.Second):
			t.Error("the tool was not called")
		}
		return answer
	}
	answer := call()
	for _, other := range []string{guest, otherClient} {
		request{token: other, body: cancelled, header: http.Header{"Mcp-Session-Id": {"g1"}}, status: 202}.run(t, f)
	}
	close(release)
	if got := <-answer; !strings.Contains(got, "undisturbed") {
		t.Errorf("another's cancellation ended the call: %s", got)
	}
	release = make(chan struct{})
	answer = call()
	request{token: employee, body: cancelled, status: 202}.run(t, f)
	if got := <-answer; !strings.Contains(got, "wait was stopped before it finished") {
		t.Errorf("a cancelled call answers %s", got)
	}
}

// Answers differ by person and are in no cache's keeping, errors and preflights among them.
func TestG04_NothingIsCached(t *testing.T) {
	f := newFixture(t, nil)
	for _, q := range []request{
		{token: employee, body: rpc("tools/list", "{}")},
		{token: employee, body: callAdd("1", "2")},
		{token: employee, body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`, status: 202},
		{token: employee, body: "{", status: 400},
		{body: rpc("tools/list", "{}"), status: 401},
		{token: narrow, body: rpc("tools/list", "{}"), status: 403},
		{token: employee, method: "GET", status: 405},
		{token: employee, path: "/messages", body: rpc("tools/list", "{}"), status: 404},
		{token: tableIsDown, body: rpc("tools/list", "{}"), status: 503},
		{method: "GET", path: "/mcp", header: from("https://evil.example"), status: 403},
	} {
		q.headers = map[string]string{"Cache-Control": "private, no-store", "Vary": "Authorization, Origin", "X-Content-Type-Options": "nosniff"}
		q.run(t, f)
	}
	for method, params := range map[string]string{"tools/list": "{}", "resources/list": "{}", "resources/templates/list": "{}", "server/discover": "{}", "resources/read": `{"uri":"` + HistoryURI + `"}`} {
		name := ""
		if method == "resources/read" {
			name = HistoryURI
		}
		body, header := modernRPC(method, name, params)
		request{token: employee, body: body, header: header, want: []string{`"ttlMs":0`, `"cacheScope":"private"`}, wantNot: []string{"public"}}.run(t, f)
	}
}

// historyOf reads a person's history.
func historyOf(t *testing.T, f *fixture, token string) (prompts []string) {
	t.Helper()
	response := request{token: token, body: rpc("resources/read", `{"uri":"`+HistoryURI+`"}`), want: []string{`"mimeType":"application/json"`, `"uri":"` + HistoryURI + `"`}}.run(t, f)
	var answer struct {
		Result struct{ Contents []struct{ Text string } }
	}
	var history struct{ Images []tools.HistoryEntry }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Result.Contents) != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if err := json.Unmarshal([]byte(answer.Result.Contents[0].Text), &history); err != nil || history.Images == nil {
		t.Fatalf("%+v, %v", answer, err)
	}
	for _, entry := range history.Images {
		if entry.Steps != 4 || entry.Model == "" || entry.Time.IsZero() {
			t.Errorf("an entry is %+v", entry)
		}
		prompts = append(prompts, entry.Prompt)
	}
	return prompts
}

func TestHistory(t *testing.T) {
	f := newFixture(t, nil)
	if got := historyOf(t, f, employee); len(got) != 0 {
		t.Errorf("a new person has the history %v", got)
	}
	// What fills it beyond the last picture was painted earlier.
	employeeState := f.config.State.For(f.tokens[employee].Identity.User())
	for i := range tools.HistoryLength + 3 {
		entry, _ := json.Marshal(tools.HistoryEntry{Prompt: fmt.Sprintf("picture %d", i), Steps: 4, Model: "preview", Time: time.Now()})
		if err := employeeState.Append(t.Context(), tools.HistoryList, entry, tools.HistoryLength+3); err != nil {
			t.Fatal(err)
		}
	}
	request{token: employee, body: rpc("tools/call", callImage), want: []string{`"type":"image"`}}.run(t, f)
	want := []string{"fox"}
	for i := tools.HistoryLength + 2; len(want) < tools.HistoryLength; i-- {
		want = append(want, fmt.Sprintf("picture %d", i))
	}
	for _, token := range []string{employee, otherClient} { // one person, two clients
		if got := historyOf(t, f, token); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("history\n got %v\nwant %v", got, want)
		}
	}
	for _, token := range []string{guest, artist} {
		if got := historyOf(t, f, token); len(got) != 0 {
			t.Errorf("another person sees %v", got)
		}
	}
	// The same address at another provider is another person.
	f.mu.Lock()
	elsewhere := f.tokens[employee]
	elsewhere.Identity.Issuer = "https://other-idp.example.com"
	f.tokens[employee] = elsewhere
	f.mu.Unlock()
	if got := historyOf(t, f, employee); len(got) != 0 {
		t.Errorf("a person of another provider sees %v", got)
	}
}

// faulty is a table whose lists fail.
type faulty struct{ table.Table }

func (faulty) List(context.Context, string, table.ListOptions) (table.Page, error) {
	return table.Page{}, fmt.Errorf("secret of the table: %w", table.ErrUnavailable)
}

func TestHistoryWithoutTable(t *testing.T) {
	f := newFixture(t, nil)
	f.config.State.Table = faulty{f.table}
	request{token: employee, body: rpc("resources/read", `{"uri":"`+HistoryURI+`"}`), want: []string{"-32603", "the history cannot be read now; try again shortly"}, wantNot: []string{"secret"}}.run(t, f.logged())
	if !strings.Contains(f.log.String(), "secret of the table") {
		t.Errorf("the log lacks the cause:\n%s", f.log)
	}
	without := newFixture(t, func(c *Config) { c.State = nil })
	request{token: employee, body: rpc("resources/list", "{}"), want: []string{"-32601"}}.run(t, without)
	request{token: employee, body: callAdd("1", "2"), want: []string{`"text":"3"`}}.run(t, without)
	request{token: employee, method: "GET", path: "/sse", status: 405, headers: map[string]string{"Allow": "POST, OPTIONS"}}.run(t, without)
	request{token: employee, path: "/messages", body: callAdd("1", "2"), status: 404, want: []string{"not_found"}}.run(t, without)
}
