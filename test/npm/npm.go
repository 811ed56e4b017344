// Package npm starts the programs of test/node_modules, which `make test` installs from the lock file: MCP clients, an
// OpenID provider, a table emulator. They run on the Node that the lock file names, whatever the machine has.
package npm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Command prepares program, a name in node_modules/.bin, to run with args. It ends with the context: first interrupted, so
// that it can tidy up, and after a moment killed. Without node_modules the test is skipped, or fails under CI=true.
func Command(t testing.TB, ctx context.Context, program string, args ...string) *exec.Cmd {
	t.Helper()
	bin := filepath.Join(Root(t), "test", "node_modules", ".bin")
	path := filepath.Join(bin, program)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("npm packages are not installed: %v", err)
		}
		t.Skip("npm packages are not installed; make test installs them")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "NO_COLOR=1", "NO_UPDATE_NOTIFIER=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Root is the folder of go.mod, found from the folder of the package under test.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the package under test")
		}
		dir = parent
	}
}
