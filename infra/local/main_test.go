package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
)

// patience bounds every wait for something that must come.
const patience = 30 * time.Second

// lastLine is what the program says last before it serves.
const lastLine = "Ctrl-C ends it."

// instance is the program, as far as run goes.
type instance struct {
	port  int
	env   map[string]string
	stop  context.CancelFunc
	ended chan error

	mu   sync.Mutex
	said bytes.Buffer
	told chan struct{} // closed once it has said that it is ready
}

// Write takes what the program prints.
func (i *instance) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	before := strings.Contains(i.said.String(), lastLine)
	n, err := i.said.Write(p)
	if !before && strings.Contains(i.said.String(), lastLine) {
		close(i.told)
	}
	return n, err
}

func (i *instance) printed() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.said.String()
}

// launch runs the program with settings in pairs of name and value, on ports and a folder of its own unless they say
// otherwise.
func launch(t *testing.T, settings ...string) *instance {
	t.Helper()
	i := &instance{port: freePort(t), ended: make(chan error, 1), told: make(chan struct{})}
	i.env = map[string]string{"PORT": strconv.Itoa(i.port), "DATA_DIR": t.TempDir()}
	for n := 0; n < len(settings); n += 2 {
		i.env[settings[n]] = settings[n+1]
	}
	ctx, cancel := context.WithCancel(t.Context())
	i.stop = cancel
	go func() { i.ended <- run(ctx, func(name string) string { return i.env[name] }, i, io.Discard) }()
	return i
}

// ready is launch until the program says that it is ready. It ends with the test.
func ready(t *testing.T, settings ...string) *instance {
	t.Helper()
	i := launch(t, settings...)
	t.Cleanup(i.stop)
	select {
	case <-i.told:
	case err := <-i.ended:
		t.Fatalf("it does not start: %v", err)
	case <-time.After(patience):
		t.Fatal("it does not start")
	}
	return i
}

// end waits for the program's own end.
func (i *instance) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-i.ended:
		return err
	case <-time.After(patience):
		t.Fatal("it does not end")
		return nil
	}
}

// refused is the error of a program that must not start.
func refused(t *testing.T, settings ...string) error {
	t.Helper()
	i := launch(t, settings...)
	defer i.stop()
	err := i.end(t)
	if err == nil || i.printed() != "" {
		t.Errorf("%q: it ended with %v, saying %q", settings, err, i.printed())
		return errors.New("none")
	}
	return err
}

// freePort is free with the second above it, on both loopback addresses, and below the ports of outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10000 + 4*rand.IntN(5000)
		free := true
		for _, host := range []string{"127.0.0.1", "::1"} {
			for _, p := range []int{port, port + 2} {
				if listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p))); err == nil {
					listener.Close()
				} else if host == "127.0.0.1" {
					free = false
				}
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// take holds a port that another program has.
func take(t *testing.T, host string, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil && host == "::1" && !hasIPv6() {
		t.Skip("NOT RUN: this machine has no ::1")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
}

func TestAnswersAtBothAddresses(t *testing.T) {
	i := ready(t)
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		response, err := http.Get(fmt.Sprintf("http://%s:%d%s", host, i.port, oauth.PathServerMetadata))
		if err != nil {
			if host == "[::1]" && !hasIPv6() {
				continue
			}
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := fmt.Sprintf(`"issuer":"http://localhost:%d"`, i.port); err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %s, %v", host, response.Status, body, err)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("http://localhost:%d/mcp\n", i.port), fmt.Sprintf("demo identity provider, http://127.0.0.1:%d", i.port+2),
		"employee1@mycompany.com", i.env["DATA_DIR"], "npx mcp-remote",
	} {
		if !strings.Contains(i.printed(), want) {
			t.Errorf("it does not say %q:\n%s", want, i.printed())
		}
	}
	i.stop()
	if err := i.end(t); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func hasIPv6() bool {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		listener.Close()
	}
	return err == nil
}

// With a provider of one's own there is no demo, and the banner says what to register there.
func TestOwnProvider(t *testing.T) {
	i := ready(t, "ACCESS_ISSUER", "https://idp.example.com", "ACCESS_CLIENT_ID", "id", "ACCESS_CLIENT_SECRET", "secret")
	if said := i.printed(); !strings.Contains(said, fmt.Sprintf("http://localhost:%d/callback", i.port)) || !strings.Contains(said, "for no one yet") || strings.Contains(said, "demo") {
		t.Errorf("it says:\n%s", said)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(i.port+2)))
	if err != nil {
		t.Fatalf("something listens at the demo provider's port: %v", err)
	}
	listener.Close()
}

func TestTakenPort(t *testing.T) {
	for _, c := range []struct {
		name, host string
		offset     int
	}{
		{"its own", "127.0.0.1", 0}, {"its own on IPv6", "::1", 0}, {"the demo provider's", "127.0.0.1", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			port, data := freePort(t), t.TempDir()
			take(t, c.host, port+c.offset)
			want := fmt.Sprintf("port %d on %s is taken", port+c.offset, c.host)
			if err := refused(t, "PORT", strconv.Itoa(port), "DATA_DIR", data); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error %v, want %s", err, want)
			}
			ready(t, "DATA_DIR", data) // the store was let go
			if c.offset > 0 {
				take(t, "127.0.0.1", port) // and so was the other port
			}
		})
	}
}

func TestStoreInUse(t *testing.T) {
	i := ready(t)
	err := refused(t, "DATA_DIR", i.env["DATA_DIR"])
	if want := filepath.Join(i.env["DATA_DIR"], "store.db") + ": another process has it open"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestSettings: what is wrong ends the start with the name of the variable.
func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, setting := range [][2]string{
		{"PORT", "http"}, {"PORT", "0"}, {"PORT", "65534"}, {"PORT", "-1"},
		{"ALLOWED_EMAILS", "everyone"}, {"TOOL_POLICY", "{"}, {"TOOL_POLICY", `{"noTool": {"groups": ["a"]}}`},
		{"NATIVE_SCHEMES", "javascript"}, {"ALLOWED_ORIGINS", "*"}, {"REGISTRATIONS_PER_MINUTE", "0"}, {"CLIENTS_FILE", "missing.json"},
		{"ALLOW_LOOPBACK_DOCUMENTS", "maybe"}, {"COOKIE_ENCRYPTION_KEY", "short"}, {"IMAGE_MODEL", "crayons"},
		{"ACCESS_ISSUER", "http://idp.example.com"}, {"ACCESS_CLIENT_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:1:secret:x"},
		{"ACCESS_PROMPT", "none"}, {"ACCESS_REQUIRE_EMAIL_VERIFIED", "maybe"},
	} {
		var settings []string
		if strings.HasPrefix(setting[0], "ACCESS_") {
			settings = []string{"ACCESS_ISSUER", "https://idp.example.com", "ACCESS_CLIENT_ID", "id"}
		}
		if err := refused(t, append(settings, setting[:]...)...); !strings.HasPrefix(err.Error(), setting[0]) {
			t.Errorf("%s=%s: %v", setting[0], setting[1], err)
		}
	}
	if err := refused(t, "ACCESS_ISSUER", "https://idp.example.com"); !strings.HasPrefix(err.Error(), "ACCESS_CLIENT_ID ") {
		t.Errorf("without a client id: %v", err)
	}
	if err := refused(t, "DATA_DIR", file); !strings.Contains(err.Error(), "DATA_DIR") {
		t.Errorf("a file as DATA_DIR: %v", err)
	}
}

// TestFiles: what is kept is for the one who runs it, and a key that is given is not kept at all.
func TestFiles(t *testing.T) {
	kept := ready(t, "DATA_DIR", filepath.Join(t.TempDir(), "made", "here")).env["DATA_DIR"]
	for name, mode := range map[string]fs.FileMode{".": 0o700, "keyset.json": 0o600, "store.db": 0o600, "demo-identity-provider.json": 0o600} {
		if info, err := os.Stat(filepath.Join(kept, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, want mode %o; %v", name, info, mode, err)
		}
	}
	given := ready(t, "COOKIE_ENCRYPTION_KEY", "0f1e2d3c4b5a69788796a5b4c3d2e1f0").env["DATA_DIR"]
	if _, err := os.Stat(filepath.Join(given, "keyset.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("keyset.json beside COOKIE_ENCRYPTION_KEY: %v", err)
	}
	open := t.TempDir()
	if err := os.WriteFile(filepath.Join(open, "keyset.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, "DATA_DIR", open); !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a keyset that others can read: %v", err)
	}
}

// Ctrl-C lets requests in flight end, and waits for none that does not.
func TestStopsWithRequestsInFlight(t *testing.T) {
	i := ready(t)
	finishing, hanging := begin(t, i), begin(t, i)
	i.stop()
	for deadline := time.Now().Add(patience); !strings.Contains(i.printed(), "Stopping."); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not stop")
		}
	}
	finishing.end(t)
	if err := i.end(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := hanging.answers.ReadByte(); err == nil {
		t.Error("a request that never ended was answered")
	}
}

const registration = `{"client_name":"In flight","redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}`

// flight is a registration whose body is not all there yet.
type flight struct {
	net.Conn
	answers *bufio.Reader
}

// begin returns once the handler is reading.
func begin(t *testing.T, i *instance) flight {
	t.Helper()
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", i.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(patience))
	f := flight{connection, bufio.NewReader(connection)}
	fmt.Fprintf(f, "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(registration))
	if line, err := f.answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := f.answers.ReadString('\n'); err != nil { // the empty line
		t.Fatal(err)
	}
	return f
}

func (f flight) end(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(f, registration); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(f.answers, nil)
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("a request in flight was answered %v, %v", response, err)
	}
}
