// Command run is `make test`: it installs what the tests need, runs the suites side by side, prints progress as they go,
// and ends with the result and time of each. What a suite tests is the business of its packages; this program only knows
// how to prepare, start and count them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"
)

func main() {
	only := flag.String("suite", "", "names of the suites to run, separated by commas; all that have tests by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reports whether every suite passed; an error means that they could not all be started.
func run(ctx context.Context, only string) (bool, error) {
	start := time.Now()
	suites, err := choose(only)
	if err != nil {
		return false, err
	}
	progress := &progress{start: start}
	machine := prepare(ctx, progress)
	if err := ctx.Err(); err != nil {
		return false, err
	}

	// Two lanes: compiling fills both cores, while journeys and browsers mostly wait. A lane takes the next suite as
	// soon as it is free, so the long ones stand first in the list.
	results := make([]result, len(suites))
	next := make(chan int)
	var lanes sync.WaitGroup
	for range 2 {
		lanes.Go(func() {
			for i := range next {
				results[i] = suites[i].run(ctx, machine, progress)
			}
		})
	}
	for i := range suites {
		next <- i
	}
	close(next)
	lanes.Wait()
	return summarize(results, time.Since(start)), ctx.Err()
}

func choose(only string) ([]suite, error) {
	all, err := discover()
	if err != nil || only == "" {
		return all, err
	}
	var chosen []suite
	for _, name := range strings.Split(only, ",") {
		found := false
		for _, s := range all {
			if s.name == name || strings.HasPrefix(s.name, name+"/") {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no suite is called %q", name)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no suite was named")
	}
	return chosen, nil
}

// summarize prints the closing table and reports whether all is well. Under CI=true a suite that could not run is a
// failure: a green run must mean that everything was tested.
func summarize(results []result, total time.Duration) bool {
	ci := os.Getenv("CI") == "true"
	sum := result{}
	fmt.Printf("\n%-18s %7s %7s %8s %9s\n", "suite", "passed", "failed", "skipped", "time")
	for _, r := range results {
		if r.notRun != "" {
			fmt.Printf("%-18s NOT RUN: %s\n", r.suite, r.notRun)
			if ci {
				sum.failed++
			}
			continue
		}
		fmt.Printf("%-18s %7d %7d %8d %9s\n", r.suite, r.passed, r.failed, r.skipped, r.took.Round(100*time.Millisecond))
		sum.passed += r.passed
		sum.failed += r.failed
		sum.skipped += r.skipped
	}
	fmt.Printf("%-18s %34s\n\n", "all", total.Round(100*time.Millisecond))
	fmt.Printf("%d passed, %d failed", sum.passed, sum.failed)
	if sum.skipped > 0 {
		fmt.Printf(", %d skipped", sum.skipped)
	}
	fmt.Println()
	return sum.failed == 0 && sum.passed > 0
}

// progress prints one line at a time, whichever suite it comes from, with the time since the start in front.
type progress struct {
	mu    sync.Mutex
	start time.Time
}

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Printf("%5.0fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
