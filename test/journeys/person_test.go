package journeys

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/test/deployment"
)

// shared is the server of all journeys that leave it as it is. mcp-remote needs one of its own, for it tells servers apart
// by their address.
var shared = &deployment.Shared{Env: []string{"REGISTRATIONS_PER_MINUTE=1000", "PROCESSES=40"}}

// mcpClient is what a journey asks of a client, whatever it is built on.
type mcpClient interface {
	Tools(ctx context.Context) ([]string, error)
	Call(ctx context.Context, tool string, arguments map[string]any) (answer, error)
}

// answer is what came back from a call. A refusal is an error of the protocol, a failure an error of the tool.
type answer struct {
	Text     string `json:"text"`
	Images   int    `json:"images"`
	Progress int    `json:"progress"`
	Failed   bool   `json:"failed"`
	Refusal  string `json:"refusal"`
}

// teammate is a third of the demo identity provider's people.
const teammate = "teammate1@mycompany.com"

// noPerson is who signs in with a client that acts for itself.
const noPerson = ""

// journey is one client on its way through what a person may do.
type journey struct {
	client   mcpClient
	progress bool // whether the client shows progress notifications
}

// check lets email use everything they may, and try what they may not.
func (j journey) check(t *testing.T, email string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tools, err := j.client.Tools(ctx)
	if err != nil {
		t.Fatalf("listing tools: %v", err)
	}
	slices.Sort(tools)
	want := []string{"add"}
	if email == deployment.Employee {
		want = []string{"add", "generateImage"}
	}
	if !slices.Equal(tools, want) {
		t.Errorf("%s sees the tools %v, want %v", email, tools, want)
	}

	sum := j.call(t, ctx, "add", map[string]any{"a": 2, "b": 40})
	if sum.Text != "42" || sum.Failed || sum.Refusal != "" {
		t.Errorf("add 2 + 40: %+v", sum)
	}

	const steps = 5
	image := j.call(t, ctx, "generateImage", map[string]any{"prompt": "a lighthouse at dusk", "steps": steps})
	if email == deployment.Employee {
		if image.Images != 1 || image.Failed || image.Refusal != "" {
			t.Errorf("generateImage: %+v", image)
		}
		if j.progress && image.Progress != steps {
			t.Errorf("generateImage with %d steps sent %d progress notifications", steps, image.Progress)
		}
		return
	}
	// G03: what policy denies answers as what does not exist.
	unknown := j.call(t, ctx, "generateSound", map[string]any{"prompt": "a lighthouse at dusk", "steps": steps})
	if image.Images != 0 || image.Refusal == "" && !image.Failed {
		t.Errorf("%q was served generateImage: %+v", email, image)
	}
	if got := strings.ReplaceAll(image.Refusal+image.Text, "generateImage", "generateSound"); got != unknown.Refusal+unknown.Text {
		t.Errorf("a denied tool answers %q, an unknown one %q", got, unknown.Refusal+unknown.Text)
	}
}

func (j journey) call(t *testing.T, ctx context.Context, tool string, arguments map[string]any) answer {
	t.Helper()
	got, err := j.client.Call(ctx, tool, arguments)
	if err != nil {
		t.Fatalf("calling %s: %v", tool, err)
	}
	return got
}

// everyone runs a journey for each kind of person.
func everyone(t *testing.T, run func(t *testing.T, email string)) {
	for name, email := range map[string]string{"Employee": deployment.Employee, "Guest": deployment.Guest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, email)
		})
	}
}
