package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"mcp-access-oauth/test/npm"
)

// The suite's server mode, for both revisions that it freezes requirements of. It has no way to send a token, so that the
// header is added on the way in. What is counted are the checks of the scenarios that a revision requires; docs/clients.md
// keeps the count.
func TestServer(t *testing.T) {
	t.Parallel()
	url := serve(t)
	record, err := os.ReadFile(filepath.Join(npm.Root(t), "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			baseline := filepath.Join(npm.Root(t), "test", "conformance", "baseline-"+revision+".yml")
			results := t.TempDir()
			cmd := npm.Command(t, ctx, "conformance", "server", "--url", url, "--requirements", revision, "--expected-failures", baseline, "-o", results)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("the suite fails: %v\n%s", err, out)
			}
			total := score(t, revision, results)
			t.Logf("%s: %s", revision, total)
			if line := fmt.Sprintf("| %s | %d | %d | %d | %d |", revision, total.scenarios, total.passed, total.failed, total.warned); !strings.Contains(string(record), line) {
				t.Errorf("docs/clients.md does not say %s", line)
			}
		})
	}
}

// scored are the checks of the scenarios that count for a revision.
type scored struct {
	scenarios, passed, failed, warned int
	open                              []string // what did not pass, as a baseline names it
}

func (s scored) String() string {
	return fmt.Sprintf("%d scenarios, %d checks passed, %d failed, %d warned: %v", s.scenarios, s.passed, s.failed, s.warned, s.open)
}

// score reads the results, and fails the test unless each scenario that the revision requires has run.
func score(t *testing.T, revision, results string) scored {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(npm.Root(t), "test", "node_modules", "@modelcontextprotocol", "conformance", "requirements", revision+".yaml"))
	var required struct{ Server []string }
	if err == nil {
		err = yaml.Unmarshal(raw, &required)
	}
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(results, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var total scored
	for _, file := range found {
		scenario := stamped.ReplaceAllString(strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "server-"), "")
		i := slices.Index(required.Server, scenario)
		if i < 0 {
			continue
		}
		required.Server = slices.Delete(required.Server, i, i+1)
		var checks []struct{ ID, Status string }
		raw, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(raw, &checks)
		}
		if err != nil {
			t.Fatal(err)
		}
		total.scenarios++
		for _, check := range checks {
			switch check.Status {
			case "SUCCESS":
				total.passed++
				continue
			case "FAILURE":
				total.failed++
			case "WARNING":
				total.warned++
			default: // SKIPPED and INFO say nothing
				continue
			}
			total.open = append(total.open, scenario+":"+check.ID)
		}
	}
	if len(required.Server) > 0 {
		t.Errorf("these scenarios did not run: %v", required.Server)
	}
	return total
}

// stamped is the time that the suite puts behind a scenario's name.
var stamped = regexp.MustCompile(`-\d{4}-\d{2}-\d{2}T[\d-]+Z$`)
