// Package deployment starts the real program as a process of its own, so that tests meet what a user meets: only URLs.
// It owns ports, data folder, start, stop and the log; what is tested stands in the packages that use it.
//
// MCP_TEST_TARGET chooses what is started: run (default) is infra/local, everything in one process at one origin; stack is
// infra/stack, the built functions with the MCP endpoint at an origin of its own.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"mcp-access-oauth/test/npm"
)

// The people of the demo identity provider. Only the employee is on the default ALLOWED_EMAILS.
const (
	Employee = "employee1@mycompany.com"
	Guest    = "guest@mycompany.com"
)

// Deployment is one running server. Its methods end the test when something is wrong.
type Deployment struct {
	MCPURL string // https://.../mcp
	Issuer string
	Demo   string // origin of the demo identity provider
	Dir    string // DATA_DIR

	port    int
	program string
	env     []string
	process *process
	log     string // file with all that the server prints
}

type target struct {
	main      string // folder of the program
	mcpPort   int    // offset from PORT
	functions bool   // it runs the built functions
	patient   time.Duration
}

var targets = map[string]target{
	"run":   {main: "infra/local", patient: 20 * time.Second},
	"stack": {main: "infra/stack", mcpPort: 1, functions: true, patient: time.Minute},
}

func chosen(t testing.TB) target {
	name := os.Getenv("MCP_TEST_TARGET")
	if name == "" {
		name = "run"
	}
	target, ok := targets[name]
	if !ok {
		t.Fatalf("MCP_TEST_TARGET=%s: want run or stack", name)
	}
	return target
}

// Start builds the program, once for all tests, and starts it on free ports with an empty data folder and env added to its
// environment. At the test's end it is stopped, its log shown if the test failed, and searched for secrets.
func Start(t testing.TB, env ...string) *Deployment {
	t.Helper()
	d := prepare(t, t.TempDir(), env)
	t.Cleanup(func() {
		d.end(t)
		if t.Failed() {
			t.Logf("the server's log:\n%s", d.Log())
		}
	})
	d.open(t)
	return d
}

func prepare(t testing.TB, dir string, env []string) *Deployment {
	t.Helper()
	return &Deployment{Dir: filepath.Join(dir, "data"), log: filepath.Join(dir, "log"), program: build(t, chosen(t)), env: env}
}

// end stops the server and searches its log for secrets.
func (d *Deployment) end(t testing.TB) {
	t.Helper()
	d.Stop(t)
	if secret := secrets.FindString(d.Log()); secret != "" {
		t.Errorf("H05: the server's log holds a code, token or client secret: %.12s...", secret)
	}
}

// open starts the server on ports that are free.
func (d *Deployment) open(t testing.TB) {
	t.Helper()
	target := chosen(t)
	for range 3 {
		d.port = freePorts(t)
		d.Issuer = fmt.Sprintf("http://localhost:%d", d.port)
		d.MCPURL = fmt.Sprintf("http://localhost:%d/mcp", d.port+target.mcpPort)
		d.Demo = fmt.Sprintf("http://127.0.0.1:%d", d.port+2)
		if d.start(t, target.patient) == nil {
			return
		}
		// Another process may have taken a port since we looked; the next try takes others.
	}
	t.Fatalf("the server does not start:\n%s", d.Log())
}

// A code or token as its bearer sends it: kind, grant id, secret; and a client secret.
var secrets = regexp.MustCompile(`\b(ac|at|rt)_[0-9A-Za-z]{10,}_[0-9A-Za-z]{20,}|\bcs_[0-9A-Za-z]{40,}`)

// Stop ends the server as Ctrl-C does, and checks that it ends at once and cleanly.
func (d *Deployment) Stop(t testing.TB) {
	t.Helper()
	if d.process == nil {
		return
	}
	p := d.process
	d.process = nil
	_ = p.cmd.Process.Signal(os.Interrupt) // a process that has already ended is reported below
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("the server ended with: %v", p.err)
		}
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // the log then says where it hangs
		<-p.ended
		t.Error("the server did not end within 15 s of Ctrl-C")
	}
}

// Restart stops the server and starts it again on the same ports and data.
func (d *Deployment) Restart(t testing.TB) {
	t.Helper()
	d.Stop(t)
	if err := d.start(t, chosen(t).patient); err != nil {
		t.Fatalf("the server does not start again: %v\n%s", err, d.Log())
	}
}

// Wipe restarts the server with an empty data folder: every registration, grant and key is gone.
func (d *Deployment) Wipe(t testing.TB) {
	t.Helper()
	d.Stop(t)
	if err := os.RemoveAll(d.Dir); err != nil {
		t.Fatal(err)
	}
	d.Restart(t)
}

// PID is the process to watch, such as for the CPU it uses.
func (d *Deployment) PID() int { return d.process.cmd.Process.Pid }

// Log is what the server has printed so far.
func (d *Deployment) Log() string {
	printed, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(printed)
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed once the process has ended
	err   error         // of the end; read it after ended
}

func (d *Deployment) start(t testing.TB, patient time.Duration) error {
	t.Helper()
	cmd := exec.Command(d.program)
	cmd.Dir = filepath.Dir(d.log) // a developer's .env is not the test's business
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PORT=" + strconv.Itoa(d.port), "DATA_DIR=" + d.Dir,
		"DIST=" + built.dist, "TEMPLATE=" + filepath.Join(npm.Root(t), "template.yaml"),
		"DYNALITE_MODULES=" + filepath.Join(npm.Root(t), "test", "node_modules"),
	}, d.env...)
	log, err := os.OpenFile(d.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has it then
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the server: %v", err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()

	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for !answers(ctx, d.Issuer+"/.well-known/oauth-authorization-server") {
		select {
		case <-p.ended:
			return fmt.Errorf("the server ended at once: %w", p.err)
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-p.ended
			return fmt.Errorf("the server does not answer within %s", patient)
		case <-time.After(20 * time.Millisecond):
		}
	}
	d.process = p
	return nil
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// SparePort is a port that no other deployment takes, for a client of this one to listen on.
func (d *Deployment) SparePort() int { return d.port + 3 }

// freePorts returns a port that is free with the three above it, on IPv4 and IPv6, below those that the system hands out to
// clients, and above 10080, the last of those that browsers and Node.js refuse to ask ("bad port" in the Fetch standard).
func freePorts(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_100 + 4*rand.IntN(4900)
		if free(port) && free(port+1) && free(port+2) && free(port+3) {
			return port
		}
	}
	t.Fatal("no four free ports in a row")
	return 0
}

func free(port int) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			return false
		}
		if err == nil {
			listener.Close()
		}
	}
	return true
}

// built is what has been built, once for all tests of the process.
var built struct {
	sync.Mutex
	dir      string            // of the programs
	programs map[string]string // by folder of the source
	dist     string            // the functions
}

// build compiles the program; with the race detector if the test has it.
func build(t testing.TB, target target) string {
	t.Helper()
	if target.functions {
		Functions(t)
	}
	built.Lock()
	defer built.Unlock()
	if program := built.programs[target.main]; program != "" {
		return program
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "mcp-access-oauth-test")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.programs = dir, map[string]string{}
	}
	program := filepath.Join(built.dir, filepath.Base(target.main))
	args := []string{"build", "-o", program}
	if raceDetector() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./"+target.main)...)
	cmd.Dir = npm.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", target.main, err, out)
	}
	built.programs[target.main] = program
	return program
}

// Functions is the folder of the Lambda functions, as the stack takes it: built as `make build` does, unless DIST says
// where they are.
func Functions(t testing.TB) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.dist == "" {
		built.dist = os.Getenv("DIST")
	}
	if built.dist != "" {
		return built.dist
	}
	dist := filepath.Join(npm.Root(t), "dist")
	defer lock(t, dist)()
	cmd := exec.Command("make", "build-"+runtime.GOARCH)
	cmd.Dir = npm.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the functions: %v\n%s", err, out)
	}
	built.dist = filepath.Join(dist, runtime.GOARCH)
	return built.dist
}

// lock keeps other test processes from building while this one does: one would start what another is writing.
func lock(t testing.TB, dist string) (unlock func()) {
	t.Helper()
	err := os.MkdirAll(dist, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dist, ".building"), os.O_CREATE|os.O_RDWR, 0o644)
	if err == nil {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatalf("waiting for another build of the functions: %v", err)
	}
	return func() { _ = file.Close() } // which releases it
}

// Close removes the built programs. A package that uses Start calls it at the end of its TestMain.
func Close() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, setting := range info.Settings {
		if setting.Key == "-race" {
			return setting.Value == "true"
		}
	}
	return false
}
