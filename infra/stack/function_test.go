package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/mcpserver"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/tools"
)

// testFunction is set in the processes that pools start in these tests: this very binary, as one of the functions below.
const testFunction = "STACK_TEST_FUNCTION"

func TestMain(m *testing.M) {
	switch kind := os.Getenv(testFunction); kind {
	case "api":
		awshttp.StartAPI(testHandler())
	case "stream":
		awshttp.StartStream(testHandler())
	case "raw":
		lambda.Start(raw)
	case "mcp":
		awshttp.StartStream(mcpEndpoint())
	case "endless":
		lambda.Start(endless)
	case "keeper":
		keep()
	case "broken":
		fmt.Fprintln(os.Stderr, "configuration: this function never starts")
		os.Exit(1)
	default:
		os.Exit(m.Run())
	}
}

// raw answers with the event as it came, or as the event's path says.
func raw(_ context.Context, event json.RawMessage) (any, error) {
	var e struct {
		RawPath string `json:"rawPath"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	switch e.RawPath {
	case "/error":
		return nil, errors.New("the function reports an error")
	case "/panic":
		panic("the function panics") // aws-lambda-go reports it and ends the process
	case "/sleep":
		time.Sleep(time.Hour)
	case "/base64":
		return map[string]any{"statusCode": 202, "body": "AAEC", "isBase64Encoded": true}, nil
	case "/broken-base64":
		return map[string]any{"statusCode": 200, "body": "%", "isBase64Encoded": true}, nil
	case "/text":
		return "only a text", nil
	case "/large":
		return map[string]any{"statusCode": 200, "body": strings.Repeat("x", payloadLimit)}, nil
	}
	return event, nil
}

// endless answers with a stream that says one thing and never ends.
func endless() (*events.LambdaFunctionURLStreamingResponse, error) {
	body, writer := io.Pipe()
	go func() { _, _ = io.WriteString(writer, "data: 0\n\n") }()
	return &events.LambdaFunctionURLStreamingResponse{StatusCode: http.StatusOK, Body: body}, nil
}

// mcpEndpoint is the MCP endpoint with a tool that reports three steps, and waits at the gate after each. Everyone is
// somebody there.
func mcpEndpoint() http.Handler {
	resource, err := oauth.NewResource("http://localhost:8789/mcp")
	if err != nil {
		panic(err) // it is one
	}
	endpoint, err := mcpserver.New(mcpserver.Config{
		Issuer: "http://localhost:8788", Resource: resource,
		Authenticate: func(context.Context, string) (grants.Access, error) {
			return grants.Access{GrantID: "grant", ClientID: "client", Scopes: []string{"mcp"}, Resource: resource.String(), Expires: time.Now().Add(time.Hour)}, nil
		},
		Tools: []tools.Tool{{
			Name: "steps", Access: policy.Everyone, Input: `{"type": "object", "properties": {"gate": {"type": "string"}}}`,
			Call: func(ctx context.Context, c *tools.Call) (*mcp.CallToolResult, error) {
				var arguments struct{ Gate string }
				if err := c.Bind(&arguments); err != nil {
					return nil, err
				}
				for i := range 3 {
					c.Progress(ctx, float64(i+1), 3, "")
					wait(arguments.Gate)
				}
				return tools.Text("done"), nil
			},
		}},
	})
	if err != nil {
		panic(err)
	}
	return endpoint
}

// wait returns when the test lets this process go on.
func wait(gate string) {
	if response, err := http.Get(gate + "?pid=" + strconv.Itoa(os.Getpid())); err == nil {
		_ = response.Body.Close()
	}
}

// keep holds a pool with one process, whose pid it prints, until it is killed.
func keep() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	p := newPool(function{folder: "api", timeout: 60}, self, []string{testFunction + "=api"}, 1, os.Stderr, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(functionURL(p))
	response, err := http.Get(server.URL + "/pid")
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(os.Stdout, response.Body)
	fmt.Println()
	time.Sleep(time.Hour)
}

// testHandler lets a test hold requests at a gate of its own, whose URL they name.
func testHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/pid", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("gate") {
			wait(r.URL.Query().Get("gate"))
		}
		fmt.Fprint(w, os.Getpid())
	})
	mux.HandleFunc("/head", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "one", Value: "1"})
		http.SetCookie(w, &http.Cookie{Name: "two", Value: "2"})
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.Header().Add("Vary", "Origin")
		w.Header().Add("Vary", "Accept")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "no\n")
	})
	mux.HandleFunc("/chunks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			wait(r.URL.Query().Get("gate"))
		}
		switch r.URL.Query().Get("end") {
		case "panic":
			panic("in the middle")
		case "exit":
			os.Exit(1)
		}
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(1) })
	return mux
}

// newTestPool is a pool of one of these functions with a time limit in seconds.
func newTestPool(t *testing.T, kind string, most, timeout int) *pool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(function{folder: kind, timeout: timeout}, self, []string{testFunction + "=" + kind}, most, t.Output(), slog.New(slog.DiscardHandler))
	t.Cleanup(p.close)
	return p
}

// apiOf and urlOf serve a pool as the two fronts do.
func apiOf(t *testing.T, p *pool, limit time.Duration) string {
	t.Helper()
	return serveTest(t, httpAPI(map[string]*pool{"$default": p}, limit))
}

func urlOf(t *testing.T, p *pool) string {
	t.Helper()
	return serveTest(t, functionURL(p))
}

func serveTest(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// gate holds functions until the test lets them go on.
type gate struct {
	url     string
	arrived chan string // the pid of each that waits
	open    chan struct{}
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{arrived: make(chan string), open: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case g.arrived <- r.URL.Query().Get("pid"):
		case <-r.Context().Done():
			return
		}
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	g.url = server.URL
	return g
}

// patience bounds every wait for something that must come.
const patience = 30 * time.Second

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(patience):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

func (g *gate) letGo(t *testing.T) {
	t.Helper()
	select {
	case g.open <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("nobody waits at the gate")
	}
}

// reply is what a client sees.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // of the body
}

func get(t *testing.T, address string) reply {
	t.Helper()
	return do(newRequest(t, http.MethodGet, address, ""))
}

// newRequest is a request with headers in pairs of name and value.
func newRequest(t *testing.T, method, address, body string, header ...string) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func do(request *http.Request) reply {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(body), err}
}

// send is get in the background.
func send(t *testing.T, address string) <-chan reply {
	t.Helper()
	request, done := newRequest(t, http.MethodGet, address, ""), make(chan reply, 1)
	go func() { done <- do(request) }()
	return done
}
