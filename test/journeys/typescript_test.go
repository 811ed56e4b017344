package journeys

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/test/npm"
)

// typeScript is ts-client.mjs, asked line by line.
type typeScript struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *json.Decoder
	log   *bytes.Buffer
}

func startTypeScript(t *testing.T, desktop *desktop, flavour, endpoint string, environment ...string) *typeScript {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second) // it ends after the test, in its cleanup
	t.Cleanup(cancel)
	cmd := npm.Command(t, ctx, "node", "ts-client.mjs", flavour, endpoint)
	cmd.Env = append(append(cmd.Env, desktop.environment(t)...), environment...)
	c := &typeScript{cmd: cmd, log: &bytes.Buffer{}}
	cmd.Stderr = c.log
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		c.lines = json.NewDecoder(stdout)
		c.stdin, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stdin.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("the client ended with: %v\n%s", err, c.log)
		}
	})
	var hello struct{ Connected bool }
	if err := c.lines.Decode(&hello); err != nil || !hello.Connected {
		cancel()
		_ = cmd.Wait() // its log is then complete
		t.Fatalf("the client did not connect: %v\nits browser: %s\nits log:\n%s", err, desktop.read(), c.log)
	}
	return c
}

func (c *typeScript) ask(request, response any) error {
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%w\n%s", err, c.log)
	}
	if err := c.lines.Decode(response); err != nil {
		return fmt.Errorf("%w\n%s", err, c.log)
	}
	return nil
}

func (c *typeScript) Tools(context.Context) ([]string, error) {
	var list struct{ Tools []string }
	err := c.ask(map[string]any{"tools": true}, &list)
	return list.Tools, err
}

func (c *typeScript) Call(_ context.Context, tool string, arguments map[string]any) (answer, error) {
	var got answer
	err := c.ask(map[string]any{"tool": tool, "arguments": arguments}, &got)
	return got, err
}

func TestTypeScriptSDK(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	for _, flavour := range []string{"v1", "v1-sse", "v2", "v2-auto"} {
		t.Run(flavour, func(t *testing.T) {
			everyone(t, func(t *testing.T, email string) {
				endpoint := d.MCPURL
				if flavour == "v1-sse" {
					endpoint = strings.TrimSuffix(d.MCPURL, "/mcp") + "/sse"
				}
				desktop := newDesktop(t, email)
				client := startTypeScript(t, desktop, flavour, endpoint)
				journey{client, true}.check(t, email)
				desktop.checkAsked(t, endpoint)
				if strings.HasSuffix(flavour, "-sse") {
					return // its stream has been opened with the token
				}
				// The SDK finds its access token refused, and refreshes.
				if err := client.ask(map[string]any{"spoil": true}, &struct{}{}); err != nil {
					t.Fatal(err)
				}
				journey{client, true}.check(t, email)
				if desktop.opened() != 1 {
					t.Errorf("the browser was opened %d times", desktop.opened())
				}
			})
		})
	}
}

// An application whose server has lost everything: its tokens are refused, and so is its registration, by the code that has
// the SDK forget both.
func TestTypeScriptSDKAfterWipe(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	const remembers = `REMEMBERS={"client": {"client_id": "dyn_of_another_time"}, "tokens": {"access_token": "at_x", "refresh_token": "rt_x", "token_type": "Bearer"}}`
	for _, flavour := range []string{"v1", "v2-auto"} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			desktop := newDesktop(t, teammate)
			client := startTypeScript(t, desktop, flavour, d.MCPURL, remembers)
			if tools, err := client.Tools(t.Context()); err != nil || len(tools) != 2 || desktop.opened() != 1 {
				t.Errorf("tools %v, %v\nits browser: %s", tools, err, desktop.read())
			}
		})
	}
}
