package journeys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/test/npm"
)

// inspector is the official Inspector's command line, started once per question.
type inspector struct {
	t           *testing.T
	endpoint    string
	arguments   []string
	environment []string
	storage     string // where it keeps registrations and tokens
}

func newInspector(t *testing.T, endpoint string, arguments ...string) inspector {
	storage := t.TempDir()
	return inspector{t, endpoint, arguments, []string{"HOME=" + storage, "MCP_STORAGE_DIR=" + storage, "MCP_INSPECTOR_SECRET_STORE=file"}, storage}
}

// spoil makes the access tokens that it remembers ones that are refused.
func (i inspector) spoil(t *testing.T) {
	t.Helper()
	file := filepath.Join(i.storage, "secrets.json")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := regexp.MustCompile(`\bat_\w+`).ReplaceAll(kept, []byte("${0}x"))
	if bytes.Equal(kept, spoilt) {
		t.Fatal("the Inspector has kept no access token")
	}
	if err := os.WriteFile(file, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
}

// inspection is what the Inspector prints with --format json: the result on stdout, or an error on stderr.
type inspection struct {
	Result struct {
		Tools   []struct{ Name string }
		Content []struct{ Type, Text string }
		IsError bool
	}
	Error struct{ Code, Message string }
}

func (i inspector) ask(ctx context.Context, question ...string) (inspection, error) {
	arguments := append([]string{"--cli", i.endpoint, "--transport", "http", "--format", "json", "-q"}, i.arguments...)
	cmd := npm.Command(i.t, ctx, "mcp-inspector", append(arguments, question...)...)
	cmd.Env = append(cmd.Env, i.environment...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return inspection{}, err
	}
	var got inspection
	if err == nil {
		return got, json.Unmarshal(stdout.Bytes(), &got)
	}
	// Prompts to sign in stand before the error, a line each.
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if json.Unmarshal([]byte(lines[len(lines)-1]), &got) != nil || got.Error.Code == "" {
		return got, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return got, nil
}

func (i inspector) Tools(ctx context.Context) ([]string, error) {
	got, err := i.ask(ctx, "--method", "tools/list")
	if err == nil && got.Error.Code != "" {
		err = errors.New(got.Error.Message)
	}
	var names []string
	for _, tool := range got.Result.Tools {
		names = append(names, tool.Name)
	}
	return names, err
}

func (i inspector) Call(ctx context.Context, tool string, arguments map[string]any) (answer, error) {
	line, err := json.Marshal(arguments)
	if err != nil {
		return answer{}, err
	}
	got, err := i.ask(ctx, "--method", "tools/call", "--tool-name", tool, "--tool-args-json", string(line))
	if err != nil {
		return answer{}, err
	}
	if got.Error.Code != "" && got.Error.Code != "tool_error" {
		return answer{Refusal: got.Error.Code + ": " + got.Error.Message}, nil
	}
	call := answer{Failed: got.Result.IsError || got.Error.Code != "", Refusal: ""}
	for _, content := range got.Result.Content {
		switch content.Type {
		case "text":
			call.Text += content.Text
		case "image":
			call.Images++
		}
	}
	return call, nil
}

func TestInspectorWithBearer(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	everyone(t, func(t *testing.T, email string) {
		_, token := d.SignIn(t, email)
		for _, era := range []string{"legacy", "modern"} {
			t.Run(era, func(t *testing.T) {
				t.Parallel()
				client := newInspector(t, d.MCPURL, "--protocol-era", era, "--header", "Authorization: Bearer "+token.AccessToken)
				journey{client, false}.check(t, email)
			})
		}
	})
}

// inspectorWithBrowser signs in by itself. It waits for the person's answer at a port that was free.
func inspectorWithBrowser(t *testing.T, endpoint string, desktop *desktop, arguments ...string) inspector {
	t.Helper()
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer callback.Close() // for the Inspector to take
	client := newInspector(t, endpoint, append(arguments, "--callback-url", "http://"+callback.Addr().String()+"/oauth/callback")...)
	client.environment = append(client.environment, desktop.environment(t)...)
	return client
}

// The first question opens the browser; the Inspector remembers the sign-in for those that follow.
func TestInspectorSignsIn(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	everyone(t, func(t *testing.T, email string) {
		desktop := newDesktop(t, email)
		client := inspectorWithBrowser(t, d.MCPURL, desktop)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.ask(ctx, "--method", "tools/list"); err != nil {
			t.Fatalf("%v\nits browser: %s", err, desktop.read())
		}
		journey{client, false}.check(t, email)
		client.spoil(t) // so that it must refresh
		if tools, err := client.Tools(ctx); err != nil || len(tools) == 0 {
			t.Errorf("with its access token refused: %v, %v", tools, err)
		}
		desktop.checkAsked(t, d.MCPURL)
		if desktop.opened() != 1 {
			t.Errorf("the browser was opened %d times:\n%s", desktop.opened(), desktop.read())
		}
	})
}
