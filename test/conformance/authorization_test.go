package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/npm"
	"mcp-access-oauth/test/robot"
)

func TestMain(m *testing.M) {
	code := m.Run()
	deployment.Close()
	os.Exit(code)
}

// The suite's authorization mode: server metadata, and an authorization code grant that a person approves.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	port := freePort(t)
	callback := fmt.Sprintf("http://127.0.0.1:%d/callback", port)
	client := d.Register(t, "Conformance suite", callback)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := npm.Command(t, ctx, "conformance", "authorization", "--url", d.Issuer, "--client-id", client,
		"--resource", d.MCPURL, "-p", fmt.Sprint(port), "--spec-version", "2026-07-28")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		if address := strings.TrimSpace(lines.Text()); strings.HasPrefix(address, d.Issuer+"/authorize?") {
			// It ends at the suite's own page, which the suite would else wait for.
			if page, err := robot.New(deployment.Employee).Visit(ctx, address); err != nil || !strings.HasPrefix(page.URL.String(), callback) {
				t.Errorf("approving: %v, at %v: %.300s", err, page.URL, page.Body)
				cancel()
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the suite fails: %v", err)
	}
	for _, scenario := range []string{"authorization-server-metadata-endpoint", "authorization-code-grant"} {
		if !regexp.MustCompile(`(?m)^✓ ` + scenario + `: [1-9]\d* passed, 0 failed$`).MatchString(log.String()) {
			t.Errorf("%s did not pass", scenario)
		}
	}
	if t.Failed() {
		t.Logf("the suite's output:\n%s", log.String())
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
