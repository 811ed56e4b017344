package awshttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain becomes a Lambda function when the tests below start this very binary as one.
func TestMain(m *testing.M) {
	switch os.Getenv("AWSHTTP_TEST_FUNCTION") {
	case "api":
		StartAPI(functionMux())
	case "stream":
		StartStream(functionMux())
	default:
		os.Exit(m.Run())
	}
}

func functionMux() http.Handler {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: RequestID(r)})
		w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	mux.HandleFunc("/chunks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n", i)
			fmt.Fprint(w, "\n")
			w.(http.Flusher).Flush()
			// Go on only when the other end has seen this chunk: it streams, or it hangs.
			if resp, err := http.Get(r.URL.Query().Get("gate")); err == nil {
				_ = resp.Body.Close()
			}
		}
		if r.URL.Query().Has("panic") {
			panic("boom")
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, streamBuffer)); err != nil {
				return
			}
		}
	})
	return mux
}

// runtimeAPI is the part of the Lambda Runtime API that a function talks to.
type runtimeAPI struct {
	t    *testing.T
	url  string
	next chan invocationJob
	seen chan struct{} // one for each chunk of a gated response

	mu   sync.Mutex
	jobs map[string]chan reply
}

type invocationJob struct {
	id      string
	payload []byte
}

// reply is what the function posted.
type reply struct {
	path, contentType string
	chunks            []string
	trailer           http.Header
}

func (r reply) text() string { return strings.Join(r.chunks, "") }

// startFunction starts this binary as a function and returns its Runtime API and what it writes to stderr.
func startFunction(t *testing.T, kind string) (*runtimeAPI, *bytes.Buffer) {
	t.Helper()
	api := &runtimeAPI{t: t, next: make(chan invocationJob), seen: make(chan struct{}), jobs: make(map[string]chan reply)}
	server := httptest.NewServer(api)
	api.url = server.URL
	var logs bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "AWSHTTP_TEST_FUNCTION="+kind, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(server.URL, "http://"))
	cmd.Stderr = &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	return api, &logs
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/gate" {
		select {
		case <-a.seen:
		case <-r.Context().Done():
		}
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/")
	if path == "next" {
		select {
		case job := <-a.next:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", job.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(20*time.Second).UnixMilli(), 10))
			_, _ = w.Write(job.payload)
		case <-r.Context().Done():
		}
		return
	}
	id, _, _ := strings.Cut(path, "/")
	a.mu.Lock()
	done := a.jobs[id]
	a.mu.Unlock()
	if done == nil {
		http.Error(w, "no such invocation", http.StatusNotFound)
		return
	}
	out := reply{path: path, contentType: r.Header.Get("Content-Type")}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			out.chunks = append(out.chunks, string(buf[:n]))
			if strings.HasPrefix(id, "gated") {
				a.seen <- struct{}{}
			}
		}
		if err != nil || strings.HasPrefix(id, "hang-up") {
			break
		}
	}
	out.trailer = r.Trailer
	w.WriteHeader(http.StatusAccepted)
	done <- out
}

var ids int

func (a *runtimeAPI) invoke(prefix string, ev *event) reply {
	a.t.Helper()
	ids++
	id := fmt.Sprintf("%s-%d", prefix, ids)
	done := make(chan reply, 1)
	a.mu.Lock()
	a.jobs[id] = done
	a.mu.Unlock()
	timeout := time.After(30 * time.Second)
	select {
	case a.next <- invocationJob{id: id, payload: ev.payload()}:
	case <-timeout:
		a.t.Fatal("the function does not ask for an event")
	}
	select {
	case out := <-done:
		return out
	case <-timeout:
		a.t.Fatal("the function does not answer")
	}
	return reply{}
}

func TestFunctionURLOnTheRuntimeAPI(t *testing.T) {
	api, logs := startFunction(t, "stream")
	ev := newEvent("POST", "/echo")
	ev.Body, ev.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte("\x00body")), true

	first := api.invoke("id", ev)
	if !strings.HasSuffix(first.path, "/response") || first.contentType != "application/vnd.awslambda.http-integration-response" {
		t.Errorf("posted to %s as %s", first.path, first.contentType)
	}
	head, body, _ := strings.Cut(first.text(), "\x00\x00\x00\x00\x00\x00\x00\x00")
	var prelude answer
	if err := json.Unmarshal([]byte(head), &prelude); err != nil || prelude.StatusCode != 201 || body != "\x00body" || len(prelude.Cookies) != 1 || !strings.HasPrefix(prelude.Cookies[0], "seen=id-") {
		t.Errorf("prelude %s, body %q: %v", head, body, err)
	}
	if len(first.chunks) != 1 {
		t.Errorf("an answer without a flush came in %d chunks", len(first.chunks))
	}

	t.Run("chunks", func(t *testing.T) {
		out := api.invoke("gated", newEvent("GET", "/chunks?gate="+api.url+"/gate"))
		if len(out.chunks) != 3 || !strings.HasSuffix(out.chunks[0], "\x00data: 0\n\n") || out.chunks[1] != "data: 1\n\n" || out.chunks[2] != "data: 2\n\n" {
			t.Errorf("chunks %q; want one for each flush", out.chunks)
		}
		if out.trailer.Get("Lambda-Runtime-Function-Error-Type") != "" {
			t.Errorf("trailers of an error: %v", out.trailer)
		}
	})
	t.Run("panic before the response", func(t *testing.T) {
		out := api.invoke("id", newEvent("GET", "/panic"))
		if !strings.HasPrefix(out.text(), `{"statusCode":500,`) || !strings.Contains(out.text(), `{"error":"server_error"`) {
			t.Errorf("got %q", out.text())
		}
	})
	t.Run("panic in the middle", func(t *testing.T) {
		out := api.invoke("gated", newEvent("GET", "/chunks?panic&gate="+api.url+"/gate"))
		detail, _ := base64.StdEncoding.DecodeString(out.trailer.Get("Lambda-Runtime-Function-Error-Body"))
		if !strings.HasSuffix(out.text(), "data: 2\n\n") || out.trailer.Get("Lambda-Runtime-Function-Error-Type") == "" || !strings.Contains(string(detail), errPanic.Error()) {
			t.Errorf("got %q, trailers %v, %s", out.text(), out.trailer, detail)
		}
	})
	t.Run("client gone", func(t *testing.T) {
		began := time.Now()
		api.invoke("hang-up", newEvent("GET", "/endless"))
		api.invoke("id", ev) // is asked for only once the endless handler has ended
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("the handler went on for %v", d)
		}
	})
	last := api.invoke("id", ev)
	lastHead, _, _ := strings.Cut(last.text(), "\x00\x00\x00\x00\x00\x00\x00\x00")
	var again answer
	if err := json.Unmarshal([]byte(lastHead), &again); err != nil || again.Headers["X-Pid"] != prelude.Headers["X-Pid"] {
		t.Errorf("the process did not live: %s, then %s\n%s", head, lastHead, logs)
	}
}

func TestHTTPAPIOnTheRuntimeAPI(t *testing.T) {
	api, logs := startFunction(t, "api")
	ev := newEvent("POST", "/echo")
	ev.Body = "text"
	var pids []string
	for range 2 {
		out := api.invoke("id", ev)
		var a answer
		if err := json.Unmarshal([]byte(out.text()), &a); err != nil || a.StatusCode != 201 || a.Body != "text" || len(a.Cookies) != 1 || !strings.HasSuffix(out.path, "/response") {
			t.Errorf("got %+v: %v", out, err)
		}
		pids = append(pids, a.Headers["X-Pid"])
		failed := api.invoke("id", newEvent("GET", "/panic"))
		if !strings.HasPrefix(failed.text(), `{"statusCode":500,`) {
			t.Errorf("got %q", failed.text())
		}
	}
	if pids[0] == "" || pids[0] != pids[1] {
		t.Errorf("the process did not live: %q\n%s", pids, logs)
	}
	// An event that is no HTTP request is an error of the invocation, and no more.
	other := newEvent("GET", "/")
	other.Version = "1.0"
	if out := api.invoke("id", other); !strings.HasSuffix(out.path, "/error") || !strings.Contains(out.text(), "payload format 2.0") {
		t.Errorf("got %+v", out)
	}
	if out := api.invoke("id", ev); !strings.Contains(out.text(), pids[0]) {
		t.Errorf("the process did not live: %q", out.text())
	}
}
