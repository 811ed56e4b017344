package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// state is a process's as proc(5) has it, T for one that was stopped, or "" when there is no such process.
func state(pid string) string {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	return string(stat[strings.LastIndexByte(string(stat), ')')+2])
}

func stopped(state string) bool { return state == "T" }

// becomes waits until the process is in a state of which ok approves.
func becomes(t *testing.T, pid, what string, ok func(state string) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(state(pid)); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the process is in state %q, want it %s", state(pid), what)
		}
	}
}

// Between two requests a process stands still, and goes on where it was.
func TestFrozen(t *testing.T) {
	p := newTestPool(t, "api", 1, 60)
	api, g := apiOf(t, p, patience), newGate(t)
	pid := get(t, api+"/pid").body
	becomes(t, pid, "frozen", stopped)
	answer := send(t, api+"/pid?gate="+g.url)
	receive(t, "the request", g.arrived)
	if stopped(state(pid)) {
		t.Error("the process is frozen in the middle of a request")
	}
	g.letGo(t)
	if got := receive(t, "the answer", answer); got.body != pid {
		t.Errorf("process %s, then %d %s", pid, got.status, got.body)
	}
	becomes(t, pid, "frozen", stopped)
}

// A frozen process does not outlive the stack, not even one that was killed.
func TestNoOrphans(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.Command(self)
	keeper.Env = []string{testFunction + "=keeper"}
	said, err := keeper.StdoutPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = keeper.Process.Kill()
		_ = keeper.Wait() // it was killed, and says so
	}()
	pid, err := bufio.NewReader(said).ReadString('\n')
	if pid = strings.TrimSpace(pid); err != nil || pid == "" {
		t.Fatalf("process %q, %v", pid, err)
	}
	becomes(t, pid, "frozen", stopped)
	if err := keeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	becomes(t, pid, "gone", func(state string) bool { return state == "" || state == "Z" }) // a zombie waits for init
}
