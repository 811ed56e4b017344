package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// pool is all processes of one function: idle ones are used again, more are started under load up to most, and beyond
// that events wait.
type pool struct {
	function    function
	bootstrap   string
	environment []string
	output      io.Writer
	log         *slog.Logger
	ready       chan *process
	slots       chan struct{} // one per process that may still be started

	mu      sync.Mutex
	running map[*process]bool
	closed  bool
}

func newPool(f function, bootstrap string, environment []string, most int, output io.Writer, log *slog.Logger) *pool {
	p := &pool{function: f, bootstrap: bootstrap, environment: environment, output: output, log: log,
		ready: make(chan *process, most), slots: make(chan struct{}, most), running: map[*process]bool{}}
	for range most {
		p.slots <- struct{}{}
	}
	return p
}

// invoke runs the event in a process of its own for the time. The answer's body must be closed.
func (p *pool) invoke(ctx context.Context, payload []byte) (answer, error) {
	limit := time.Duration(p.function.timeout) * time.Second
	for {
		worker, err := p.acquire(ctx)
		if err != nil {
			return answer{}, err
		}
		job := &invocation{id: uuid.NewString(), payload: payload, deadline: time.Now().Add(limit), answer: make(chan answer, 1)}
		if err := worker.invoke(ctx, job); err != nil {
			if ctx.Err() != nil {
				worker.stop()
				return answer{}, err
			}
			continue // it ended while idle; the next one takes the event
		}
		overtime := time.AfterFunc(limit, worker.stop)
		select {
		case a := <-job.answer:
			if a.err != nil {
				overtime.Stop()
				p.log.Error("function failed", "function", p.function.folder, "error", a.err)
				return answer{}, a.err
			}
			return answer{a.streaming, closeBoth{a.body, overtime}, a.trailer, nil}, nil
		case <-ctx.Done():
			// AWS goes on with what no one waits for any more; so do we, until its time is up.
			go func() {
				if a := <-job.answer; a.err == nil {
					_, _ = io.Copy(io.Discard, a.body)
					_ = a.body.Close()
				}
				overtime.Stop()
			}()
			return answer{}, ctx.Err()
		}
	}
}

type closeBoth struct {
	io.ReadCloser
	overtime *time.Timer
}

func (c closeBoth) Close() error {
	c.overtime.Stop()
	return c.ReadCloser.Close()
}

// acquire takes an idle process, or starts one and waits for whichever is idle first.
func (p *pool) acquire(ctx context.Context) (*process, error) {
	for {
		select { // a warm one first
		case worker := <-p.ready:
			if worker.alive() {
				return worker, nil
			}
			continue
		default:
		}
		var started *process
		var ended chan struct{} // nil, and so never ready, unless one was started
		select {
		case worker := <-p.ready:
			if worker.alive() {
				return worker, nil
			}
			continue
		case <-p.slots:
			var err error
			if started, err = p.start(); err != nil {
				p.slots <- struct{}{}
				return nil, err
			}
			ended = started.gone
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case worker := <-p.ready:
			if worker.alive() {
				return worker, nil
			}
		case <-ended:
			if !started.succeeded() {
				return nil, fmt.Errorf("%s ended at its start; its last lines say why", p.function.folder)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// succeeded reports whether the process has ever asked for an event.
func (p *process) succeeded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *process) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

func (p *pool) start() (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, context.Canceled
	}
	worker, err := start(p.function, p.bootstrap, p.environment, p.output, func(w *process) { p.ready <- w })
	if err != nil {
		return nil, err
	}
	p.running[worker] = true
	go func() {
		<-worker.gone
		p.mu.Lock()
		delete(p.running, worker)
		p.mu.Unlock()
		p.slots <- struct{}{}
	}()
	return worker, nil
}

// close ends all processes.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, worker := range p.snapshot() {
		worker.stop()
	}
}

// snapshot is the processes that run at this moment.
func (p *pool) snapshot() []*process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.running))
}
