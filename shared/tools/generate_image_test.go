package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/shared/state"
	"mcp-access-oauth/shared/table/bolt"
)

func TestPreview(t *testing.T) {
	for steps := MinSteps; steps <= MaxSteps; steps++ {
		var reported []int
		request := PaintRequest{Prompt: "a lighthouse above the clouds, painted in the manner of a very long prompt that must be wrapped and at last cut: " + strings.Repeat("waves ", 40), Steps: steps}
		paint := func() Picture {
			reported = nil
			picture, err := Preview{}.Paint(t.Context(), request, func(n int) { reported = append(reported, n) })
			if err != nil {
				t.Fatal(err)
			}
			return picture
		}
		start := time.Now()
		picture := paint()
		took := time.Since(start)
		want := make([]int, steps)
		for i := range want {
			want[i] = i + 1
		}
		if !slices.Equal(reported, want) {
			t.Errorf("%d steps: reported %v", steps, reported)
		}
		if len(picture.Data) > 400<<10 {
			t.Errorf("%d steps: %d bytes", steps, len(picture.Data))
		}
		t.Logf("%d steps: %d bytes in %v", steps, len(picture.Data), took)
		decoded, err := png.Decode(bytes.NewReader(picture.Data))
		if err != nil || decoded.Bounds().Dx() != previewWidth || decoded.Bounds().Dy() != previewHeight {
			t.Errorf("%d steps: not the picture we meant: %v", steps, err)
		}
		if !bytes.Equal(paint().Data, picture.Data) {
			t.Errorf("%d steps: the same prompt gives another picture", steps)
		}
	}
}

func TestPreviewOfAnyPrompt(t *testing.T) {
	for _, prompt := range []string{"x", "\x00\n\t", "日本語の風景 🦊", strings.Repeat("w", MaxPrompt), "fox " + strings.Repeat("é", 300)} {
		if _, err := (Preview{}).Paint(t.Context(), PaintRequest{Prompt: prompt, Steps: 4}, func(int) {}); err != nil {
			t.Errorf("%.20q: %v", prompt, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Preview{}).Paint(cancelled, PaintRequest{Prompt: "x", Steps: 4}, func(int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call goes on: %v", err)
	}
}

type failing struct {
	Preview
	err error
}

func (f failing) Paint(context.Context, PaintRequest, func(int)) (Picture, error) {
	return Picture{}, f.err
}

func TestGenerateImageKeepsHistory(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { now = now.Add(time.Second); return now }
	store, err := bolt.Open(t.TempDir()+"/table", clock)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	people := &state.Store{Table: store, Now: clock}
	tool := generateImage(Deps{Painter: Preview{}, Now: clock})
	call := func(user, arguments string) (*mcp.CallToolResult, error) {
		return tool.Call(t.Context(), &Call{
			Arguments: json.RawMessage(arguments), State: people.For(user),
			Progress: func(context.Context, float64, float64, string) {},
		})
	}
	for i := range HistoryLength + 2 {
		if _, err := call("ann", fmt.Sprintf(`{"prompt": "fox %d", "steps": 5.0}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := people.For("ann").List(t.Context(), HistoryList, 100)
	if err != nil || len(entries) != HistoryLength {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	var newest HistoryEntry
	if err := json.Unmarshal(entries[0].Data, &newest); err != nil || newest.Prompt != fmt.Sprintf("fox %d", HistoryLength+1) || newest.Steps != 5 || newest.Model != "preview" || newest.Time.IsZero() {
		t.Errorf("the newest entry is %+v, %v", newest, err)
	}
	if others, err := people.For("bob").List(t.Context(), HistoryList, 100); err != nil || len(others) != 0 {
		t.Errorf("another person sees %d entries, %v", len(others), err)
	}

	result, err := call("", `{"prompt": "fox"}`) // a person without state stands for a table that fails
	if err != nil || len(result.Content) != 2 || !strings.Contains(result.Content[1].(mcp.TextContent).Text, "could not be added") {
		t.Errorf("a finished picture was lost with its history entry: %v", err)
	}

	tool = generateImage(Deps{Painter: failing{err: Errorf("no")}, Now: clock})
	if _, err := call("ann", `{"prompt": "fox"}`); err == nil {
		t.Error("a failed picture is a result")
	}
	if _, err := call("ann", `{"prompt": "  "}`); err == nil {
		t.Error("a blank prompt was painted")
	}
	if entries, _ := people.For("ann").List(t.Context(), HistoryList, 1); string(entries[0].Data) == "" || !strings.Contains(string(entries[0].Data), "fox 21") {
		t.Error("a failed call changed the history")
	}
}
