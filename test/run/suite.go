package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"
)

// suite is one `go test` run. Every package is tested once, under the race detector, so that nothing is compiled twice.
type suite struct {
	name     string
	packages []string
	env      []string
	browser  bool // needs Chrome or Chromium
	each     bool // print a line for every test, and what it logs, not only a line for every package
}

type result struct {
	suite                   string
	notRun                  string // why the suite could not run at all
	passed, failed, skipped int
	took                    time.Duration
}

// The suites that test the running program from outside, each a folder of test/; all other packages are the unit suite.
var outside = []suite{
	{name: "journeys", each: true},
	{name: "browser", each: true, browser: true},
	{name: "conformance", each: true},
	{name: "attacks", each: true},
}

// discover lists the suites that have tests. Those that run against any deployment run a second time against the built
// functions, once there is a program that starts those.
func discover() ([]suite, error) {
	list := exec.Command("go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	unit := suite{name: "unit"}
	suites := slices.Clone(outside)
	for _, pkg := range strings.Fields(string(out)) {
		i := slices.IndexFunc(suites, func(s suite) bool { return strings.Contains(pkg+"/", "/test/"+s.name+"/") })
		if i < 0 {
			unit.packages = append(unit.packages, pkg)
			continue
		}
		suites[i].packages = append(suites[i].packages, pkg)
	}
	if _, err := os.Stat("infra/stack/main.go"); err == nil {
		var both []suite // the two of a kind together, so that the longest kind stands first
		for _, s := range suites {
			stack := s
			stack.name, stack.env = s.name+"/stack", []string{"MCP_TEST_TARGET=stack"}
			both = append(both, s, stack)
		}
		suites = both
	}
	suites = slices.DeleteFunc(suites, func(s suite) bool { return len(s.packages) == 0 })
	return append([]suite{unit}, suites...), nil
}

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func (s suite) run(ctx context.Context, machine machine, progress *progress) result {
	r := result{suite: s.name}
	if s.browser && machine.chrome == "" {
		r.notRun = machine.noChrome
		return r
	}
	start := time.Now()
	args := append([]string{"test", "-race", "-json", "-timeout", "10m"}, s.packages...)
	if s.each {
		args = slices.Insert(args, 1, "-count=1") // their subject is a program that go test's cache knows nothing of
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(append(os.Environ(), s.env...), "CHROME="+machine.chrome)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.notRun = err.Error()
		return r
	}
	c := counter{suite: s, progress: progress, result: &r, output: map[string]*strings.Builder{}, parents: map[string]bool{}, failed: map[string]bool{}}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			c.count(e)
		}
	}
	if err := cmd.Wait(); err != nil && r.failed == 0 {
		progress.printf("%-12s FAIL: go test: %v", s.name, err)
		r.failed++
	}
	r.took = time.Since(start)
	return r
}

// counter adds up one suite. It counts leaves: a test that has subtests is their sum.
type counter struct {
	suite    suite
	progress *progress
	result   *result
	output   map[string]*strings.Builder
	parents  map[string]bool
	failed   map[string]bool // packages in which a test failed
}

func (c *counter) count(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Action == "build-output" {
			key = e.ImportPath
		}
		if c.output[key] == nil {
			c.output[key] = &strings.Builder{}
		}
		c.output[key].WriteString(e.Output)
		return
	case "run":
		for parent := path.Dir(e.Test); parent != "."; parent = path.Dir(parent) {
			c.parents[e.Package+"\x00"+parent] = true
		}
		return
	case "build-fail":
		c.progress.printf("%-12s FAIL  %s does not build\n%s", c.suite.name, e.ImportPath, c.text(e.ImportPath))
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	if e.Test == "" {
		c.finishPackage(e, took)
		return
	}
	leaf := !c.parents[key]
	switch e.Action {
	case "pass":
		if leaf {
			c.result.passed++
		}
	case "skip":
		if leaf {
			c.result.skipped++
		}
		c.progress.printf("%-12s skip  %s: %s", c.suite.name, e.Test, strings.TrimSpace(c.text(key)))
	case "fail":
		if leaf {
			c.result.failed++
		}
		c.failed[e.Package] = true
		c.progress.printf("%-12s FAIL  %s %s (%s)\n%s", c.suite.name, e.Package, e.Test, took, c.text(key))
	}
	if c.suite.each && e.Action == "pass" {
		if said := strings.TrimSpace(c.text(key)); said != "" { // such as how many checks of the conformance suite passed
			c.progress.printf("%-12s says  %s", c.suite.name, said)
		}
		if !strings.Contains(e.Test, "/") {
			c.progress.printf("%-12s ok    %s (%s)", c.suite.name, e.Test, took)
		}
	}
	delete(c.output, key)
}

func (c *counter) finishPackage(e event, took time.Duration) {
	switch {
	case e.Action == "fail" && !c.failed[e.Package]:
		// A package can fail without a failed test: it does not build, panics, or its TestMain gives up.
		c.result.failed++
		c.progress.printf("%-12s FAIL  %s\n%s", c.suite.name, e.Package, c.text(e.Package+"\x00"))
	case e.Action == "pass" && !c.suite.each:
		c.progress.printf("%-12s ok    %s (%s)", c.suite.name, e.Package, took)
	}
}

// text is what the test printed, without go test's own markers.
func (c *counter) text(key string) string {
	if c.output[key] == nil {
		return ""
	}
	var kept strings.Builder
	for line := range strings.Lines(c.output[key].String()) {
		if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "=== ") && !strings.HasPrefix(trimmed, "--- ") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
