package deployment

import (
	"os"
	"sync"
	"testing"
)

// Shared is one deployment for many tests: the first that uses it starts it, and it ends with the last.
type Shared struct {
	// Env is added to the environment of the program.
	Env []string

	mu    sync.Mutex
	users int
	dir   string
	d     *Deployment
}

// Use returns the deployment. A parallel test calls it before t.Parallel: so all have come before the first has gone.
func (s *Shared) Use(t testing.TB) *Deployment {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.d == nil {
		dir, err := os.MkdirTemp("", "mcp-access-oauth-shared")
		if err != nil {
			t.Fatal(err)
		}
		d := prepare(t, dir, s.Env)
		d.open(t)
		s.dir, s.d = dir, d
	}
	s.users++
	before := len(s.d.Log())
	t.Cleanup(func() { s.leave(t, before) })
	return s.d
}

// leave shows the log since the test began if it failed, and ends the deployment with its last user.
func (s *Shared) leave(t testing.TB, before int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Failed() {
		t.Logf("the server's log since the test began:\n%s", s.d.Log()[before:])
	}
	if s.users--; s.users > 0 {
		return
	}
	s.d.end(t)
	_ = os.RemoveAll(s.dir) // of temporary files
	s.d = nil
}
