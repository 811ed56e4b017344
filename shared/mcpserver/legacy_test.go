package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/bolt"
	"mcp-access-oauth/shared/tools"
)

// These tests run in synctest's time: minutes cost nothing, and every moment is exact.

// looked is a table that remembers when it was looked at for messages, and may stand in for a fault.
type looked struct {
	table.Table

	mu    sync.Mutex
	times []time.Time
	fault error
}

func (l *looked) List(ctx context.Context, partition string, options table.ListOptions) (table.Page, error) {
	l.mu.Lock()
	if strings.HasPrefix(partition, "message/") {
		l.times = append(l.times, time.Now())
	}
	fault := l.fault
	l.mu.Unlock()
	if fault != nil {
		return table.Page{}, fault
	}
	return l.Table.List(ctx, partition, options)
}

func (l *looked) failing(fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// gaps are the times between looks since one moment.
func (l *looked) gaps(since time.Time) (gaps []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.times {
		if at.After(since) {
			gaps = append(gaps, at.Sub(since))
			since = at
		}
	}
	return gaps
}

// twoInstances runs a test with two servers on one table, as two instances of the function are.
func twoInstances(t *testing.T, change func(*Config), test func(t *testing.T, here, there *fixture, table *looked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, err := bolt.Open(t.TempDir()+"/table", time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		watched := &looked{Table: store}
		test(t, newFixtureOn(t, watched, change), newFixtureOn(t, watched, change), watched)
	})
}

// listener is a client's end of a stream.
type listener struct {
	header http.Header
	opened time.Time
	hangUp context.CancelFunc
	ended  chan struct{} // closed when the server has let go

	mu     sync.Mutex
	pieces []piece
	broken bool // writes fail
	end    time.Time
}

// piece is what was written and flushed in one go.
type piece struct {
	at   time.Time
	text string
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(int)     {}
func (l *listener) Flush()              {}
func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return 0, errors.New("the client has gone")
	}
	l.pieces = append(l.pieces, piece{time.Now(), string(p)})
	return len(p), nil
}

// listen opens a stream and waits for its first event.
func listen(t *testing.T, f http.Handler, token string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{header: http.Header{}, opened: time.Now(), hangUp: cancel, ended: make(chan struct{})}
	r := httptest.NewRequest("GET", testOrigin+"/sse", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	go func() {
		defer close(l.ended)
		f.ServeHTTP(l, r)
		l.mu.Lock()
		l.end = time.Now()
		l.mu.Unlock()
	}()
	synctest.Wait()
	return l
}

// pause lets time pass, and everything happen that is due by then.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// written is what has been written so far.
func (l *listener) written() []piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.pieces)
}

var endpointEvent = regexp.MustCompile(`^event: endpoint\ndata: (/messages\?sessionId=[0-9a-f]{32})\n\n$`)

// endpoint is the address that the first event names.
func (l *listener) endpoint(t *testing.T) string {
	t.Helper()
	pieces := l.written()
	if len(pieces) == 0 {
		t.Fatal("the stream says nothing")
	}
	match := endpointEvent.FindStringSubmatch(pieces[0].text)
	if match == nil {
		t.Fatalf("the stream begins with %q", pieces[0].text)
	}
	return match[1]
}

// messages are what came after the endpoint, without the keep-alives, each written by itself.
func (l *listener) messages(t *testing.T) (messages []string, at []time.Time) {
	t.Helper()
	for i, p := range l.written() {
		if i == 0 || p.text == ": keep-alive\n\n" {
			continue
		}
		data, ok := strings.CutPrefix(p.text, "event: message\ndata: ")
		data, ok2 := strings.CutSuffix(data, "\n\n")
		if !ok || !ok2 || !json.Valid([]byte(data)) {
			t.Fatalf("not one event with a message: %.300q", p.text)
		}
		messages, at = append(messages, data), append(at, p.at)
	}
	return messages, at
}

// lasted waits, and returns how long the stream lasted; 0 when it has not ended.
func (l *listener) lasted(wait time.Duration) time.Duration {
	pause(wait)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end.IsZero() {
		return 0
	}
	return l.end.Sub(l.opened)
}

// post sends a message to a stream through an instance.
func post(t *testing.T, f http.Handler, token, endpoint, body string, status int, want ...string) {
	t.Helper()
	time.Sleep(time.Millisecond) // senders are ordered by time
	request{token: token, path: endpoint, body: body, status: status, want: want}.run(t, f)
}

func numbered(id int, body string) string {
	return strings.Replace(body, `"id":1`, fmt.Sprintf(`"id":%d`, id), 1)
}

func TestLegacyStream(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		endpoint := stream.endpoint(t)
		if got := stream.header; got.Get("Content-Type") != "text/event-stream" || got.Get("X-Accel-Buffering") != "no" || got.Get("Cache-Control") != "private, no-store" {
			t.Errorf("the stream's header is %v", got)
		}
		initialize := rpc("initialize", `{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"t","version":"1"}}`)
		post(t, there, employee, endpoint, initialize, 202, "Accepted")
		post(t, there, employee, endpoint, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202)
		post(t, there, employee, endpoint, numbered(2, rpc("tools/list", "{}")), 202)
		post(t, here, employee, endpoint, numbered(3, callAdd("1", "2")), 202)
		post(t, there, employee, endpoint, numbered(4, callAdd(`"x"`, "2")), 202)
		post(t, there, employee, endpoint, numbered(5, rpc("no/such", "{}")), 202)
		post(t, there, employee, endpoint, "{", 202) // JSON-RPC 2.0 section 5: the answer to what cannot be read is an error
		// What is no message at all is refused where it is.
		post(t, there, employee, endpoint, "[]", 400, "batches")
		post(t, there, employee, endpoint, "nonsense", 400, "-32700")
		request{token: employee, path: endpoint, body: initialize, header: http.Header{"Content-Type": {"text/plain"}}, status: 415}.run(t, there)
		pause(2 * time.Second)
		messages, at := stream.messages(t)
		want := []string{`"protocolVersion":"2024-11-05"`, `"id":2,"result":{"tools":[`, `"id":3,"result":{"content":[{"type":"text","text":"3"}]`, `/a: got string, want number`, `"id":5,"error":{"code":-32601`, `"code":-32700`}
		if len(messages) != len(want) {
			t.Fatalf("%d messages: %s", len(messages), messages)
		}
		for i := range want {
			if !strings.Contains(messages[i], want[i]) {
				t.Errorf("message %d lacks %s: %s", i, want[i], messages[i])
			}
			if waited := at[i].Sub(stream.opened); waited > 250*time.Millisecond+time.Duration(len(want))*here.pace.apart {
				t.Errorf("message %d came after %v", i, waited)
			}
		}
		stream.hangUp()
		<-stream.ended
		post(t, there, employee, endpoint, callAdd("1", "2"), 404, "open one with GET /sse")
	})
}

// The TypeScript SDK takes an answer that arrives in one piece with the progress before it first.
func TestLegacyProgressComesFirst(t *testing.T) {
	twoInstances(t, func(c *Config) { c.Tools = append(c.Tools, noisy) }, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		for id := range 5 {
			began := len(stream.written())
			post(t, there, employee, stream.endpoint(t), numbered(id, rpc("tools/call", `{"name":"noisy","arguments":{"n":6},"_meta":{"progressToken":"p"}}`)), 202)
			pause(3 * time.Second)
			messages, at := stream.messages(t)
			messages, at = messages[began-1:], at[began-1:]
			if len(messages) != 13 {
				t.Fatalf("%d messages: %s", len(messages), messages)
			}
			progress, logged := 1, 1 // mcp-go forwards what it is given by itself, so that each kind has an order of its own
			for i, message := range messages {
				switch {
				case strings.Contains(message, fmt.Sprintf(`"progress":%d,`, progress)):
					progress++
				case strings.Contains(message, fmt.Sprintf(`"data":%d,`, logged)):
					logged++
				case i != 12 || !strings.Contains(message, fmt.Sprintf(`"id":%d,"result"`, id)):
					t.Errorf("call %d, message %d after %d reports and %d others: %s", id, i, progress-1, logged-1, message)
				}
			}
			if apart := at[12].Sub(at[11]); apart < 100*time.Millisecond {
				t.Errorf("call %d: the answer came %v after the last report", id, apart)
			}
		}
		stream.hangUp()
		<-stream.ended
	})
}

// While nothing comes the looks become rarer, and with a message they are frequent again; in its own process a message
// waits for none.
func TestLegacyPace(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, table *looked) {
		stream := listen(t, here, employee)
		pause(time.Minute)
		const ms = time.Millisecond
		want := []time.Duration{250 * ms, 375 * ms, 562500 * time.Microsecond, 843750 * time.Microsecond, 1265625 * time.Microsecond, 1898437500, 2 * time.Second, 2 * time.Second}
		if got := table.gaps(stream.opened); !slices.Equal(got[:len(want)], want) || slices.Max(got) > 2*time.Second || len(got) > 35 {
			t.Errorf("the looks are %v apart", got)
		}
		post(t, there, employee, stream.endpoint(t), callAdd("1", "2"), 202)
		sent := time.Now()
		pause(4 * time.Second)
		_, at := stream.messages(t)
		if len(at) != 1 || at[0].Sub(sent) > 2*time.Second {
			t.Fatalf("the answer came %v after %v", at, sent)
		}
		if got := table.gaps(at[0]); len(got) < 2 || !slices.Equal(got[:2], []time.Duration{250 * ms, 375 * ms}) {
			t.Errorf("after a message the looks are %v apart", got)
		}
		pause(time.Minute)
		post(t, here, employee, stream.endpoint(t), callAdd("1", "2"), 202)
		sent = time.Now()
		synctest.Wait()
		if _, at := stream.messages(t); len(at) != 2 || !at[1].Equal(sent) {
			t.Errorf("in its own process a message sent at %v came at %v", sent, at)
		}
		stream.hangUp()
		<-stream.ended
	})
}

func TestLegacyKeepAlive(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, _ *fixture, _ *looked) {
		stream := listen(t, here, employee)
		pause(time.Minute + time.Second)
		for i, p := range stream.written()[1:] {
			if want := stream.opened.Add(time.Duration(i+1) * 15 * time.Second); p.text != ": keep-alive\n\n" || !p.at.Equal(want) {
				t.Errorf("at %v came %q, want a keep-alive at %v", p.at, p.text, want)
			}
		}
		if n := len(stream.written()) - 1; n != 4 {
			t.Errorf("%d keep-alives in a minute", n)
		}
		// A client that has gone is noticed by the next of them.
		stream.mu.Lock()
		stream.broken = true
		stream.mu.Unlock()
		if lasted := stream.lasted(15 * time.Second); lasted != 75*time.Second {
			t.Errorf("the stream outlived its client: it lasted %v", lasted)
		}
	})
}

// G08: a stream ends with its token, and never lasts longer than five minutes; with the function's own time it ends
// early enough to say so.
func TestG08_LegacyStreamIsBounded(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		if lasted := stream.lasted(5*time.Minute + time.Second); lasted != 5*time.Minute {
			t.Errorf("the stream lasted %v", lasted)
		}
		post(t, there, employee, stream.endpoint(t), callAdd("1", "2"), 404)

		for _, f := range []*fixture{here, there} {
			f.mu.Lock()
			access := f.tokens[employee]
			access.Expires = time.Now().Add(90 * time.Second)
			f.tokens[employee] = access
			f.mu.Unlock()
		}
		stream = listen(t, here, employee)
		if lasted := stream.lasted(80 * time.Second); lasted != 0 {
			t.Errorf("the stream lasted %v", lasted)
		}
		if lasted := stream.lasted(20 * time.Second); lasted != 90*time.Second {
			t.Errorf("the stream of a token of 90 s lasted %v", lasted)
		}
		// Another token of the same person and client finds no stream either.
		there.mu.Lock()
		there.tokens["at_refreshed"] = there.tokens[employee]
		refreshed := there.tokens["at_refreshed"]
		refreshed.Expires = time.Now().Add(time.Hour)
		there.tokens["at_refreshed"] = refreshed
		there.mu.Unlock()
		post(t, there, employee, stream.endpoint(t), callAdd("1", "2"), 401)
		post(t, there, "at_refreshed", stream.endpoint(t), callAdd("1", "2"), 404)

		short := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			here.ServeHTTP(w, r.WithContext(ctx))
		})
		if lasted := listen(t, short, artist).lasted(2 * time.Minute); lasted != 58*time.Second {
			t.Errorf("with a minute of the function's time the stream lasted %v", lasted)
		}
	})
}

// A token that was revoked posts nothing, though its stream is still open.
func TestG08_RevokedTokenPostsNothing(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		there.mu.Lock()
		delete(there.tokens, employee)
		there.mu.Unlock()
		post(t, there, employee, stream.endpoint(t), callAdd("1", "2"), 401, "invalid_token")
		pause(10 * time.Second)
		if messages, _ := stream.messages(t); len(messages) != 0 {
			t.Errorf("the stream holds %s", messages)
		}
		stream.hangUp()
		<-stream.ended
	})
}

func TestLegacyStreamsOfOnePerson(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, _ *looked) {
		first, second := listen(t, here, employee), listen(t, there, otherClient)
		guests := listen(t, here, guest)
		pause(10 * time.Second)
		third := listen(t, there, employee)
		if lasted := first.lasted(2 * time.Second); lasted < 10*time.Second || lasted > 12*time.Second {
			t.Errorf("the oldest stream lasted %v", lasted)
		}
		post(t, there, employee, first.endpoint(t), callAdd("1", "2"), 404)
		for token, stream := range map[string]*listener{otherClient: second, employee: third, guest: guests} {
			post(t, here, token, stream.endpoint(t), callAdd("1", "2"), 202)
			if lasted := stream.lasted(2 * time.Second); lasted != 0 {
				t.Errorf("another stream ended after %v", lasted)
			}
			if messages, _ := stream.messages(t); len(messages) != 1 {
				t.Errorf("the stream of %s holds %s", token, messages)
			}
			stream.hangUp()
			<-stream.ended
		}
	})
}

// To anyone but the person and client that opened it, a stream does not exist, and their call is not made.
func TestG05_LegacyStreamIsOfOneClient(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		endpoint := stream.endpoint(t)
		id := strings.TrimPrefix(endpoint, "/messages?sessionId=")
		for _, other := range []string{guest, otherClient, artist} {
			for _, f := range []*fixture{here, there} {
				post(t, f, other, endpoint, callAdd("1", "2"), 404, "there is no such stream")
			}
		}
		for _, path := range []string{"/messages", "/messages?sessionId=", "/messages?sessionid=" + id, "/messages?sessionId=" + id[1:], "/messages?sessionId=" + id + "0",
			"/messages?sessionId=" + strings.ToUpper(id) + "G", "/messages?sessionId=..%2F" + id, "/messages?sessionId=" + strings.Repeat("0", 32)} {
			post(t, there, employee, path, callAdd("1", "2"), 404)
		}
		header := http.Header{"Mcp-Session-Id": {id}}
		request{token: employee, path: "/messages", header: header, body: callAdd("1", "2"), status: 404}.run(t, there)
		request{path: endpoint, body: callAdd("1", "2"), status: 401}.run(t, there)
		pause(10 * time.Second)
		if messages, _ := stream.messages(t); len(messages) != 0 {
			t.Errorf("the stream holds %s", messages)
		}
		if log := here.log.String() + there.log.String(); log != "" {
			t.Errorf("calls were judged:\n%s", log)
		}
		stream.hangUp()
		<-stream.ended
	})
}

// G03 holds here too: a scope that is lacking is told on the stream, with the challenge's facts, since the post has its
// 202 already; a tool that policy denies is an unknown one.
func TestG03_LegacyRefusals(t *testing.T) {
	change := func(c *Config) { c.Policy = mustPolicy(t, "", withScope) }
	twoInstances(t, change, func(t *testing.T, here, there *fixture, _ *looked) {
		post(t, there, narrow, "/messages?sessionId=00", callAdd("1", "2"), 403, "insufficient_scope")
		for token, want := range map[string]string{
			employee: `{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"the access token lacks a scope that this tool needs","data":{"error":"insufficient_scope",` +
				`"error_description":"the access token lacks the scope images","resource_metadata":"` + metadataURL + `/sse","scope":"images mcp"}}}`,
			guest: `{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"tool 'generateImage' not found: tool not found"}}`,
		} {
			stream := listen(t, here, token)
			post(t, there, token, stream.endpoint(t), numbered(7, rpc("tools/call", callImage)), 202)
			pause(time.Second)
			if messages, _ := stream.messages(t); len(messages) != 1 || messages[0] != want {
				t.Errorf("%s is told\n %s\nwant\n %s", token, strings.Join(messages, "\n"), want)
			}
			stream.hangUp()
			<-stream.ended
		}
	})
}

// An image is larger than an item of the table may be, and arrives whole.
func TestLegacyLargeAnswer(t *testing.T) {
	picture := make([]byte, 500<<10)
	for i := range picture {
		picture[i] = byte(i * i >> 8)
	}
	paint := tools.Tool{
		Name: "paint", Input: `{"type":"object"}`, Access: policy.Everyone,
		Call: func(context.Context, *tools.Call) (*mcp.CallToolResult, error) {
			return tools.ImageAndText(picture, "image/png", "large"), nil
		},
	}
	twoInstances(t, func(c *Config) { c.Tools = append(c.Tools, paint) }, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		call := rpc("tools/call", `{"name":"paint"}`)
		post(t, there, employee, stream.endpoint(t), call, 202)
		direct := strings.TrimSpace(readAll(t, request{token: employee, body: call}.run(t, here).Body))
		pause(3 * time.Second)
		if messages, _ := stream.messages(t); len(messages) != 1 || messages[0] != direct || len(direct) < table.MaxItemBytes {
			t.Errorf("%d messages; the answer has %d bytes", len(messages), len(direct))
		}
		stream.hangUp()
		<-stream.ended
	})
}

// Clients let go of a post once they have seen 202. The call goes on, within the function's own time.
func TestLegacyPostOutlivesItsConnection(t *testing.T) {
	wait := tools.Tool{
		Name: "wait", Input: `{"type":"object"}`, Access: policy.Everyone,
		Call: func(ctx context.Context, _ *tools.Call) (*mcp.CallToolResult, error) {
			select {
			case <-time.After(20 * time.Second):
				return tools.Text("waited"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
	twoInstances(t, func(c *Config) { c.Tools = append(c.Tools, wait) }, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		send := func(ctx context.Context, id int) *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", testOrigin+stream.endpoint(t), strings.NewReader(numbered(id, rpc("tools/call", `{"name":"wait"}`)))).WithContext(ctx)
			r.Header = http.Header{"Authorization": {"Bearer " + employee}, "Content-Type": {"application/json"}}
			w := httptest.NewRecorder()
			go there.ServeHTTP(w, r)
			synctest.Wait()
			return w
		}
		gone, letGo := context.WithCancel(t.Context())
		if w := send(gone, 1); w.Code != 202 || !w.Flushed || w.Body.String() != "Accepted\n" {
			t.Fatalf("the post is answered %d %q", w.Code, w.Body)
		}
		letGo()
		limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		send(limited, 2)
		pause(25 * time.Second)
		messages, _ := stream.messages(t)
		if len(messages) != 1 || !strings.Contains(messages[0], `"id":1`) || !strings.Contains(messages[0], "waited") {
			t.Errorf("the stream holds %s", messages)
		}
		stream.hangUp()
		<-stream.ended
	})
}

// A fault of the table that passes loses nothing.
func TestLegacyTableFaults(t *testing.T) {
	twoInstances(t, nil, func(t *testing.T, here, there *fixture, tbl *looked) {
		stream := listen(t, here.logged(), employee)
		tbl.failing(fmt.Errorf("secret of the table: %w", table.ErrUnavailable))
		post(t, there, employee, stream.endpoint(t), callAdd("1", "2"), 202)
		pause(10 * time.Second)
		tbl.failing(nil)
		pause(2 * time.Second)
		if messages, _ := stream.messages(t); len(messages) != 1 || !strings.Contains(messages[0], `"text":"3"`) {
			t.Errorf("the stream holds %s", messages)
		}
		stream.hangUp()
		<-stream.ended
		if !strings.Contains(here.log.String(), `"fault":"fetching messages: secret of the table: table: unavailable"`) {
			t.Errorf("the log lacks the fault:\n%s", here.log)
		}
		down := newFixtureOn(t, unavailable{}, nil)
		for _, q := range []request{{method: "GET", path: "/sse"}, {path: "/messages?sessionId=00", body: callAdd("1", "2")}} {
			q.token, q.status, q.want, q.headers = employee, 503, []string{"temporarily_unavailable"}, map[string]string{"Retry-After": "2"}
			q.wantNot = []string{"secret"}
			q.run(t, down)
		}
	})
}

// unavailable is a table that does not answer.
type unavailable struct{ table.Table }

func (unavailable) Get(context.Context, ...table.Key) ([]*table.Item, error) {
	return nil, fmt.Errorf("secret of the table: %w", table.ErrUnavailable)
}

func (unavailable) Create(context.Context, table.Item) (string, error) {
	return "", fmt.Errorf("secret of the table: %w", table.ErrUnavailable)
}

// A report that comes when the tool has returned has no place behind the answer.
func TestLegacyNoProgressOnceTheToolHasReturned(t *testing.T) {
	var kept func()
	change := func(c *Config) {
		c.Tools = append(c.Tools, tools.Tool{
			Name: "reporting", Input: `{"type":"object"}`, Access: policy.Everyone,
			Call: func(ctx context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
				c.Progress(ctx, 1, 2, "")
				kept = func() { c.Progress(context.WithoutCancel(ctx), 2, 2, "") }
				return tools.Text("done"), nil
			},
		})
	}
	twoInstances(t, change, func(t *testing.T, here, there *fixture, _ *looked) {
		stream := listen(t, here, employee)
		post(t, there, employee, stream.endpoint(t), rpc("tools/call", callReporting), 202)
		kept()
		pause(3 * time.Second)
		if messages, _ := stream.messages(t); len(messages) != 2 || !strings.Contains(messages[1], `"result"`) {
			t.Errorf("the stream holds %s", messages)
		}
		stream.hangUp()
		<-stream.ended
	})
}

// A stream of subscriptions ends with its token, and after five minutes at most.
func TestG08_SubscriptionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Options = append(c.Options, withListChanges) })
		body, header := modernRPC("subscriptions/listen", "", `{"notifications":{"toolsListChanged":true}}`)
		for _, life := range []time.Duration{90 * time.Second, time.Hour} {
			f.mu.Lock()
			access := f.tokens[employee]
			access.Expires = time.Now().Add(life)
			f.tokens[employee] = access
			f.mu.Unlock()
			began := time.Now()
			response := request{token: employee, body: body, header: header, want: []string{"notifications/subscriptions/acknowledged"}}.run(t, f)
			if lasted, want := time.Since(began), min(life, 5*time.Minute); lasted != want {
				t.Errorf("with a token of %v a stream of subscriptions lasted %v; %s", life, lasted, bytes.TrimSpace([]byte(readAll(t, response.Body))))
			}
		}
	})
}
