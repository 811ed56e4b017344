package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A process is used again while it is idle, and has one request at a time: two at once need two, and where there may be
// no more, the next one waits.
func TestProcesses(t *testing.T) {
	p := newTestPool(t, "api", 2, 60)
	api, g := apiOf(t, p, patience), newGate(t)
	cold := get(t, api+"/pid")
	if warm := get(t, api+"/pid"); cold.status != http.StatusOK || warm.body != cold.body {
		t.Fatalf("two requests in a row were answered by the processes %q and %q", cold.body, warm.body)
	}

	var answers []<-chan reply
	for range 3 {
		answers = append(answers, send(t, api+"/pid?gate="+g.url))
	}
	pids := []string{receive(t, "the first request", g.arrived), receive(t, "the second request", g.arrived)}
	if pids[0] == pids[1] || !slices.Contains(pids, cold.body) {
		t.Errorf("two requests at once are with the processes %q; the warm one is %s", pids, cold.body)
	}
	g.letGo(t)
	if third := receive(t, "the third request", g.arrived); !slices.Contains(pids, third) {
		t.Errorf("the third request did not wait: it is with %s, a third process beside %q", third, pids)
	}
	g.letGo(t)
	g.letGo(t)
	for _, answer := range answers {
		if got := receive(t, "an answer", answer); !slices.Contains(pids, got.body) {
			t.Errorf("answer %d %q", got.status, got.body)
		}
	}
	if running := p.snapshot(); len(running) != 2 {
		t.Errorf("%d processes run, where there may be two", len(running))
	}
}

// A process that ends takes its request with it, and no other.
func TestProcessEnds(t *testing.T) {
	p := newTestPool(t, "api", 1, 60)
	api, url := apiOf(t, p, patience), urlOf(t, p)
	first := get(t, api+"/pid")
	if got := get(t, api+"/exit"); got.status != http.StatusInternalServerError || got.body != `{"message":"Internal Server Error"}`+"\n" {
		t.Errorf("HTTP API, a process that ended: %d %s", got.status, got.body)
	}
	if got := get(t, url+"/exit"); got.status != http.StatusBadGateway {
		t.Errorf("function URL, a process that ended: %d %s", got.status, got.body)
	}
	second := get(t, api+"/pid")
	if second.status != http.StatusOK || second.body == first.body {
		t.Errorf("process %s, then %d %s", first.body, second.status, second.body)
	}

	for _, idle := range p.snapshot() {
		idle.stop()
	}
	if third := get(t, api+"/pid"); third.status != http.StatusOK || third.body == second.body {
		t.Errorf("after an idle process ended: %d %s", third.status, third.body)
	}
}

func TestNeverStarts(t *testing.T) {
	p := newTestPool(t, "broken", 2, 60)
	if got := get(t, apiOf(t, p, patience)); got.status != http.StatusInternalServerError {
		t.Errorf("HTTP API: %d %s", got.status, got.body)
	}
	if got := get(t, urlOf(t, p)); got.status != http.StatusBadGateway {
		t.Errorf("function URL: %d %s", got.status, got.body)
	}
	p.bootstrap += ".missing"
	if _, err := p.invoke(t.Context(), []byte("{}")); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("a function that is not built: %v", err)
	}
}

// What a function reports is an error of the invocation; a panic besides ends the process.
func TestFailures(t *testing.T) {
	p := newTestPool(t, "raw", 1, 60)
	api, url := apiOf(t, p, patience), urlOf(t, p)
	for _, path := range []string{"/error", "/panic"} {
		if got := get(t, api+path); got.status != http.StatusInternalServerError {
			t.Errorf("HTTP API, %s: %d %s", path, got.status, got.body)
		}
		if got := get(t, url+path); got.status != http.StatusBadGateway {
			t.Errorf("function URL, %s: %d %s", path, got.status, got.body)
		}
	}
	if got := get(t, api+"/"); got.status != http.StatusOK {
		t.Errorf("after the failures: %d %s", got.status, got.body)
	}
}

// A function that is out of time loses its process.
func TestTimeout(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, "raw", 1, 1)
	api, url := apiOf(t, p, patience), urlOf(t, p)
	if got := get(t, api+"/sleep"); got.status != http.StatusInternalServerError {
		t.Errorf("HTTP API: %d %s", got.status, got.body)
	}
	if got := get(t, url+"/sleep"); got.status != http.StatusBadGateway {
		t.Errorf("function URL: %d %s", got.status, got.body)
	}
	if got := get(t, api+"/"); got.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
}

// An HTTP API gives up before the function does. The function goes on, and its process serves again.
func TestGatewayTimeout(t *testing.T) {
	p := newTestPool(t, "api", 1, 60)
	api, impatient, g := apiOf(t, p, patience), apiOf(t, p, 200*time.Millisecond), newGate(t)
	warm := get(t, api+"/pid")
	if got := get(t, impatient+"/pid?gate="+g.url+"&held"); got.status != http.StatusServiceUnavailable || got.body != `{"message":"Service Unavailable"}`+"\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if pid := receive(t, "the request", g.arrived); pid != warm.body {
		t.Errorf("the request is with %s", pid)
	}
	next := send(t, api+"/pid")
	g.letGo(t)
	if got := receive(t, "the next answer", next); got.body != warm.body {
		t.Errorf("process %s, then %d %s", warm.body, got.status, got.body)
	}
}

// A stream arrives as it is written: each chunk is read while the function waits to be let go on.
func TestStream(t *testing.T) {
	p := newTestPool(t, "stream", 1, 60)
	url, g := urlOf(t, p), newGate(t)
	open := func(end string) *bufio.Reader {
		t.Helper()
		response, err := http.DefaultClient.Do(newRequest(t, http.MethodGet, url+"/chunks?end="+end+"&gate="+g.url, ""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s, %v", response.Status, response.Header)
		}
		body := bufio.NewReader(response.Body)
		for i := range 3 {
			want := "data: " + strconv.Itoa(i) + "\n"
			if line, err := body.ReadString('\n'); line != want || err != nil {
				t.Fatalf("line %q, %v; want %q", line, err, want)
			}
			if _, err := body.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			receive(t, "the function", g.arrived)
			g.letGo(t)
		}
		return body
	}
	if rest, err := io.ReadAll(open("well")); err != nil || len(rest) > 0 {
		t.Errorf("a stream ends with %q, %v", rest, err)
	}
	// A stream that was cut must not look like one that has ended.
	for _, end := range []string{"panic", "exit"} {
		if rest, err := io.ReadAll(open(end)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s in the middle of a stream: it ends with %q, %v", end, rest, err)
		}
	}
}

// Progress of a tool call is with the client while the tool still works, and the result comes last.
func TestProgress(t *testing.T) {
	url, g := urlOf(t, newTestPool(t, "mcp", 1, 60)), newGate(t)
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"steps","arguments":{"gate":"` + g.url + `"},"_meta":{"progressToken":7}}}`
	response, err := http.DefaultClient.Do(newRequest(t, http.MethodPost, url+"/mcp", call, "Authorization", "Bearer token",
		"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "MCP-Protocol-Version", "2025-11-25"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	data := func() string {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		t.Fatalf("%s: the stream ended: %v", response.Status, lines.Err())
		return ""
	}
	for step := range 3 {
		if got := data(); !strings.Contains(got, `"progress":`+strconv.Itoa(step+1)) || !strings.Contains(got, `"progressToken":7`) {
			t.Errorf("step %d: %s", step+1, got)
		}
		receive(t, "the tool", g.arrived) // so it works on, and is let go on only now
		g.letGo(t)
	}
	if got := data(); !strings.Contains(got, `"id":1`) || !strings.Contains(got, "done") {
		t.Errorf("result: %s", got)
	}
}

// The time limit cuts a stream, too.
func TestStreamTimeout(t *testing.T) {
	t.Parallel()
	got := get(t, urlOf(t, newTestPool(t, "endless", 1, 1)))
	if got.status != http.StatusOK || got.body != "data: 0\n\n" || !errors.Is(got.err, io.ErrUnexpectedEOF) {
		t.Errorf("%d %q, %v", got.status, got.body, got.err)
	}
}
