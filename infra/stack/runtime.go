package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

const runtimePath = "/2018-06-01/runtime"

// invocation is one event on its way through a function.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answer   chan answer // receives exactly one
}

// answer is what the function posted. body must be read to its end or closed; the function waits for that, as on AWS.
type answer struct {
	streaming bool
	body      io.ReadCloser
	trailer   http.Header // complete once body has been read
	err       error       // the function reported a failure, or its process ended
}

// process is one running function under a Lambda Runtime API of its own: it is handed one invocation at a time.
type process struct {
	function string
	command  *exec.Cmd
	server   *http.Server
	jobs     chan *invocation
	idle     func(*process) // called whenever the function asks for its next event
	started  chan struct{}  // closed when the process has started, or could not
	gone     chan struct{}  // closed when the process has ended

	mu      sync.Mutex
	current *invocation
	asked   bool // for an event, at least once: its start has succeeded
}

// start runs dist/<folder>/bootstrap. idle is called from then on each time it is ready for an event.
func start(f function, bootstrap string, environment []string, output io.Writer, idle func(*process)) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the runtime API: %w", err)
	}
	p := &process{function: f.folder, jobs: make(chan *invocation), idle: idle, started: make(chan struct{}), gone: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+runtimePath+"/invocation/next", p.next)
	mux.HandleFunc("POST "+runtimePath+"/invocation/{id}/response", p.response)
	mux.HandleFunc("POST "+runtimePath+"/invocation/{id}/error", p.failure)
	mux.HandleFunc("POST "+runtimePath+"/init/error", p.failure)
	p.server = &http.Server{Handler: mux}
	go func() { _ = p.server.Serve(listener) }() // ends with the process

	p.command = exec.Command(bootstrap)
	p.command.Dir = filepath.Dir(bootstrap)
	p.command.Env = append(environment, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	p.command.Stdout, p.command.Stderr = output, output
	bind(p.command)
	var failed error
	go func() {
		runtime.LockOSThread() // see bind
		failed = p.command.Start()
		close(p.started)
		if failed != nil {
			return
		}
		err := p.command.Wait()
		close(p.gone)
		_ = p.server.Close()
		p.finish(answer{err: fmt.Errorf("the process ended: %w", orEOF(err))})
	}()
	if <-p.started; failed != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("starting %s: %w; run `make build` first", f.folder, failed)
	}
	return p, nil
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// next is the long poll by which the function says that it is idle.
func (p *process) next(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	<-p.started // it has, or it could not ask; but only so may its fields be read here
	p.freeze()
	p.idle(p)
	select {
	case job := <-p.jobs:
		p.thaw()
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", job.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(job.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:"+p.function)
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(job.payload)
	case <-r.Context().Done():
	}
}

// response hands the body on while it is still arriving, so that chunks travel one by one.
func (p *process) response(w http.ResponseWriter, r *http.Request) {
	read := make(chan struct{})
	body := &notifyingBody{Reader: r.Body, done: read}
	a := answer{
		streaming: r.Header.Get("Content-Type") == integrationType,
		body:      body,
		trailer:   r.Trailer,
	}
	if !p.finish(a) {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	select {
	case <-read:
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusAccepted)
}

func (p *process) failure(w http.ResponseWriter, r *http.Request) {
	var report struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}
	_ = json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&report) // the report is for the log; any will do
	p.finish(answer{err: fmt.Errorf("%s: %s", report.Type, report.Message)})
	w.WriteHeader(http.StatusAccepted)
}

// finish gives the current invocation its answer, once.
func (p *process) finish(a answer) bool {
	p.mu.Lock()
	job := p.current
	p.current = nil
	p.mu.Unlock()
	if job == nil {
		return false
	}
	job.answer <- a
	return true
}

// invoke gives an idle process its event. It fails when the process has ended meanwhile.
func (p *process) invoke(ctx context.Context, job *invocation) error {
	p.mu.Lock()
	p.current = job
	p.mu.Unlock()
	select {
	case p.jobs <- job:
		return nil
	case <-p.gone:
		return io.EOF
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the process as AWS ends one that has run out of time.
func (p *process) stop() {
	_ = p.command.Process.Signal(os.Kill)
	<-p.gone
}

// notifyingBody tells when its reader is done with it.
type notifyingBody struct {
	io.Reader
	once sync.Once
	done chan struct{}
}

func (b *notifyingBody) Read(buffer []byte) (int, error) {
	n, err := b.Reader.Read(buffer)
	if err != nil {
		b.once.Do(func() { close(b.done) })
	}
	return n, err
}

func (b *notifyingBody) Close() error {
	b.once.Do(func() { close(b.done) })
	return nil
}
