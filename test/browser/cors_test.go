package browser

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"mcp-access-oauth/test/deployment"
)

// A client that is a web page, such as the Inspector's: it stands at another loopback origin, has the browser's own fetch and
// no other means. Everything that it asks for goes through the browser's checks: preflights without a token, and answers that
// a page may read, refusals included.
func TestClientInThePage(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	page := serveClient(t, d)
	b := openBrowser(t)
	b.do(t, chromedp.Navigate(page))
	b.press(t, "Connect")
	b.press(t, "Approve")
	b.press(t, deployment.Employee)
	b.do(t, chromedp.WaitVisible(chromedp.ID("report")))
	var report struct {
		Failure                           string
		Unauthorized, Unknown, Registered int
		Challenge, Wrong, Answer          string
		Tools                             []string
		Progress                          int
	}
	if err := json.Unmarshal([]byte(b.text(t)), &report); err != nil || report.Failure != "" {
		t.Fatalf("the page reports: %s", b.text(t))
	}
	if report.Unauthorized != http.StatusUnauthorized || report.Unknown != http.StatusNotFound || report.Registered != http.StatusCreated {
		t.Errorf("the page could read %+v", report)
	}
	// AWS renames the header, so that only the body is left.
	if os.Getenv("MCP_TEST_TARGET") != "stack" && !strings.Contains(report.Challenge, "resource_metadata=") {
		t.Errorf("WWW-Authenticate was not shown to the page: %q", report.Challenge)
	}
	if report.Wrong != "invalid_grant" {
		t.Errorf("the page read %q of a refused token request", report.Wrong)
	}
	if len(report.Tools) != 2 || report.Answer != "42" || report.Progress != 4 {
		t.Errorf("tools %v, answer %q, %d progress notifications", report.Tools, report.Answer, report.Progress)
	}
}

// serveClient serves the page at an origin of its own.
func serveClient(t *testing.T, d *deployment.Deployment) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(map[string]string{"mcp": d.MCPURL})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		script, err := os.ReadFile("testdata/client.js")
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `<!doctype html><title>Client</title><link rel="icon" href="data:,"><button>Connect</button><script>const settings = %s;%s</script>`, settings, script)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String() + "/"
}
