// Package dynalite starts dynalite, a DynamoDB in one Node.js process, for tests and the local stack. The npm package
// comes with test/package.json; this package only finds, starts and ends it, and knows nothing of tables. dynalite's
// conditional writes are race-safe, its answers carry no item on a failed condition, and it never removes what has
// expired.
package dynalite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotInstalled is returned by Start when there is no dynalite or no Node.js to run it.
var ErrNotInstalled = errors.New("dynalite is not installed: run `npm ci` in test/")

// startTime bounds how long Node.js may take to listen, on a busy machine.
const startTime = 20 * time.Second

// Options say where dynalite is and what it keeps. The zero value is good for tests.
type Options struct {
	// Modules is the node_modules folder that holds dynalite and, preferably, node. Empty means the variable
	// DYNALITE_MODULES or else test/node_modules of the module around the working directory.
	Modules string
	// Data is the folder that keeps the tables; empty means in memory.
	Data string
	// Port is the TCP port on 127.0.0.1; 0 means any free one.
	Port int
	// Log receives what dynalite prints; nil means nowhere.
	Log io.Writer
}

// Server is a running dynalite.
type Server struct {
	// Endpoint is its URL, for AWS_ENDPOINT_URL_DYNAMODB or an SDK client's BaseEndpoint. Any credentials will do.
	Endpoint string

	process *exec.Cmd
	stdin   io.Closer
}

// script listens where it is told, says where that is, and ends when its standard input does: so it ends with the
// process that started it, however that one ends. Command-line dynalite offers neither a free port nor that.
const script = `
const [path, port] = process.argv.slice(1)
const server = require('dynalite')({ path: path || undefined, createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
server.on('error', err => { console.error(err.message); process.exit(1) })
server.listen(Number(port), '127.0.0.1', () => console.log('listening ' + server.address().port))
process.on('SIGINT', () => {})
process.stdin.on('end', () => process.exit()).resume()
`

// Start starts dynalite and returns once it listens. It ends with Close, with ctx, or with this process.
func Start(ctx context.Context, options Options) (*Server, error) {
	modules, err := findModules(options.Modules)
	if err != nil {
		return nil, err
	}
	node := filepath.Join(modules, "node", "bin", "node")
	if _, err := os.Stat(node); err != nil {
		if node, err = exec.LookPath("node"); err != nil {
			return nil, fmt.Errorf("%w: there is no node", ErrNotInstalled)
		}
	}
	process := exec.CommandContext(ctx, node, "-e", script, "--", options.Data, fmt.Sprint(options.Port))
	process.Dir = filepath.Dir(modules) // from here Node.js looks for node_modules
	var complaint strings.Builder
	process.Stderr = &complaint
	if options.Log != nil {
		process.Stderr = io.MultiWriter(&complaint, options.Log)
	}
	stdin, err := process.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting dynalite: %w", err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting dynalite: %w", err)
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("starting dynalite: %w", err)
	}
	s := &Server{process: process, stdin: stdin}

	listening := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		listening <- strings.TrimSpace(line)
	}()
	var line string
	select {
	case line = <-listening:
	case <-time.After(startTime):
		_ = process.Process.Kill()
	}
	port, ok := strings.CutPrefix(line, "listening ")
	if !ok {
		err := s.Close()
		return nil, fmt.Errorf("starting dynalite: %s (%v)", strings.TrimSpace(complaint.String()), err)
	}
	s.Endpoint = "http://127.0.0.1:" + port
	return s, nil
}

// Close ends dynalite and waits for its end.
func (s *Server) Close() error {
	if err := s.stdin.Close(); err != nil {
		return fmt.Errorf("ending dynalite: %w", err)
	}
	if err := s.process.Wait(); err != nil {
		return fmt.Errorf("ending dynalite: %w", err)
	}
	return nil
}

func findModules(named string) (string, error) {
	if named == "" {
		named = os.Getenv("DYNALITE_MODULES")
	}
	if named == "" {
		folder, err := os.Getwd()
		if err != nil {
			return "", fmt.Errorf("finding dynalite: %w", err)
		}
		for ; ; folder = filepath.Dir(folder) {
			if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
				break
			}
			if folder == filepath.Dir(folder) {
				return "", fmt.Errorf("%w: not inside the module, and DYNALITE_MODULES is not set", ErrNotInstalled)
			}
		}
		named = filepath.Join(folder, "test", "node_modules")
	}
	if _, err := os.Stat(filepath.Join(named, "dynalite", "package.json")); err != nil {
		return "", fmt.Errorf("%w (looked in %s)", ErrNotInstalled, named)
	}
	return filepath.Abs(named)
}
