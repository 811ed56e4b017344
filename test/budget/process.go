package budget

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asFunction is set in the process that is the function: the test's own binary again.
const asFunction = "BUDGET_FUNCTION"

// patience bounds how long a process may take to start, to answer or to give up, on a busy machine.
const patience = 30 * time.Second

// Main is the TestMain of a function: in the processes that Refuses and Start start, it is the function's own main.
func Main(m *testing.M, main func()) {
	if os.Getenv(asFunction) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// command is the function as a process, with the Cloud's environment and changes to it in pairs of name and value.
func (c *Cloud) command(changes ...string) *exec.Cmd {
	c.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		c.tb.Fatal(err)
	}
	cmd := exec.CommandContext(c.tb.Context(), self)
	cmd.Env = []string{asFunction + "=1"}
	for name, value := range c.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	for i := 0; i < len(changes); i += 2 {
		cmd.Env = append(cmd.Env, changes[i]+"="+changes[i+1]) // the last of two counts
	}
	return cmd
}

// Refuses starts the function once for each wrong setting, a pair of name and value, and wants it to end with one line
// that begins with the variable's name.
func (c *Cloud) Refuses(settings [][2]string) {
	c.tb.Helper()
	for _, setting := range settings {
		name, value := setting[0], setting[1]
		cmd := c.command(name, value)
		cmd.Env = append(cmd.Env, "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1") // where nobody listens, should it start
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			c.tb.Fatal(err)
		}
		overdue := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		overdue.Stop()
		exit, ok := errors.AsType[*exec.ExitError](err)
		said := stderr.String()
		if !ok || exit.ExitCode() != 1 || !strings.HasPrefix(said, "configuration: "+name) || strings.Count(said, "\n") != 1 || stdout.Len() > 0 {
			c.tb.Errorf("%s=%q: ended with %v, saying\n%s%s", name, value, err, &stdout, said)
		}
	}
}

// Process is the function under a Lambda Runtime API.
type Process struct {
	tb       testing.TB
	events   chan string
	outcomes chan Outcome
}

// Outcome is what the function posted for an event.
type Outcome struct {
	Failed bool
	Body   string
}

// Start starts the function and waits until it asks for its first event.
func (c *Cloud) Start() *Process {
	c.tb.Helper()
	p := &Process{tb: c.tb, events: make(chan string), outcomes: make(chan Outcome)}
	asked := make(chan struct{}, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if kind != "next" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				c.tb.Errorf("reading what the function posted: %v", err)
			}
			w.WriteHeader(http.StatusAccepted)
			p.outcomes <- Outcome{kind == "error", string(body)}
			return
		}
		asked <- struct{}{}
		select {
		case event := <-p.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", "32503680000000")
			_, _ = io.WriteString(w, event)
		case <-r.Context().Done():
		}
	}))
	cmd := c.command("AWS_LAMBDA_RUNTIME_API", strings.TrimPrefix(server.URL, "http://"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed at the end
		close(ended)
	}()
	c.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		server.CloseClientConnections()
		server.Close()
	})
	select {
	case <-asked:
	case <-ended:
		c.tb.Fatalf("the function ended at its start:\n%s", &said)
	case <-time.After(patience):
		c.tb.Fatal("the function does not ask for an event")
	}
	return p
}

// Invoke hands the function one event.
func (p *Process) Invoke(event string) Outcome {
	p.tb.Helper()
	deadline := time.After(patience)
	select {
	case p.events <- event:
	case <-deadline:
		p.tb.Fatal("the function does not take the event")
	}
	select {
	case outcome := <-p.outcomes:
		return outcome
	case <-deadline:
		p.tb.Fatal("the function does not answer")
	}
	return Outcome{}
}
