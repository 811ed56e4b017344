package journeys

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// The journeys' own binary is also the browser that clients open: they get it as BROWSER, with these variables set.
const (
	robotEmail = "MCP_TEST_ROBOT"          // who signs in
	robotDiary = "MCP_TEST_ROBOT_DIARY"    // file that gets a line for every address opened, and one for where it ended
	robotAlone = "MCP_TEST_ROBOT_DETACHED" // set in the process that does the visit
)

func TestMain(m *testing.M) {
	if email := os.Getenv(robotEmail); email != "" {
		if err := browse(email, os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, "robot browser:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	deployment.Close()
	os.Exit(code)
}

// browse behaves as the openers of desktops do: it returns at once, and the browser itself comes a second later.
func browse(email, address string) error {
	if os.Getenv(robotAlone) == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding itself: %w", err)
		}
		browser := exec.Command(self, address)
		browser.Env = append(os.Environ(), robotAlone+"=1")
		browser.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives its opener
		return browser.Start()
	}
	if err := note("open"); err != nil {
		return err
	}
	if asked, err := url.Parse(address); err == nil {
		if err := note("asks " + asked.Query().Get("code_challenge_method") + " " + asked.Query().Get("resource")); err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	page, err := robot.New(email).Visit(ctx, address)
	if err != nil {
		return note("error " + err.Error())
	}
	return note(fmt.Sprintf("end %d %s %s", page.Status, page.URL.Path, strings.Join(strings.Fields(page.Body), " ")))
}

func note(line string) error {
	diary, err := os.OpenFile(os.Getenv(robotDiary), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening diary: %w", err)
	}
	defer diary.Close()
	_, err = fmt.Fprintf(diary, "%.400s\n", line)
	return err
}

// desktop is a person at a machine whose browser is the robot.
type desktop struct {
	email string
	diary string
}

func newDesktop(t *testing.T, email string) *desktop {
	return &desktop{email: email, diary: t.TempDir() + "/diary"}
}

// environment is what a client must be started with to open the robot.
func (d *desktop) environment(t *testing.T) []string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"BROWSER=" + self, robotEmail + "=" + d.email, robotDiary + "=" + d.diary,
		"DISPLAY=", "WAYLAND_DISPLAY=", // with a display, the desktop's own browser would come before BROWSER
		"MCP_AUTO_OPEN_ENABLED=true",
	}
}

// opened counts how often a client has opened the browser.
func (d *desktop) opened() int {
	return strings.Count("\n"+d.read(), "\nopen\n")
}

// checkAsked checks that every authorization request that was opened has PKCE and names the resource.
func (d *desktop) checkAsked(t *testing.T, resource string) {
	t.Helper()
	diary := d.read()
	if asked := strings.Count(diary, "\nasks S256 "+resource+"\n"); asked == 0 || asked != strings.Count(diary, "\nasks ") {
		t.Errorf("not every request has S256 and the resource %s:\n%s", resource, diary)
	}
}

func (d *desktop) read() string {
	diary, err := os.ReadFile(d.diary)
	if err != nil {
		return "" // never opened
	}
	return string(diary)
}
