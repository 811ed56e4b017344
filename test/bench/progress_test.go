package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/npm"
)

// How long a progress notification takes from the tool to the client, through the built function's runtime and the
// streaming function URL of the stack.
func BenchmarkProgress(b *testing.B) {
	b.Setenv("MCP_TEST_TARGET", "stack")
	d := deployment.Start(b, "DIST="+withSpeaking(b))
	_, token := d.SignIn(b, deployment.Employee)
	listen(b, d.MCPURL, token.AccessToken, 10) // warm
	const calls, each = 10, 50
	var waits []time.Duration
	for range calls {
		waits = append(waits, listen(b, d.MCPURL, token.AccessToken, each)...)
	}
	if len(waits) != calls*each {
		b.Fatalf("%d of %d notifications arrived", len(waits), calls*each)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(percentile(waits, 50)), "ms-p50")
	b.ReportMetric(milliseconds(percentile(waits, 99)), "ms-p99")
}

// withSpeaking is the built functions, with speaking in the place of mcp.
func withSpeaking(b *testing.B) string {
	b.Helper()
	functions, err := filepath.Glob(filepath.Join(deployment.Functions(b), "*"))
	if err != nil {
		b.Fatal(err)
	}
	dist := b.TempDir()
	for _, function := range functions {
		if name := filepath.Base(function); name != "mcp" {
			if err := os.Symlink(function, filepath.Join(dist, name)); err != nil {
				b.Fatal(err)
			}
		}
	}
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", filepath.Join(dist, "mcp", "bootstrap"), "./test/bench/speaking")
	cmd.Dir = npm.Root(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building speaking: %v\n%s", err, out)
	}
	return dist
}

// listen calls speak, and returns how long each notification took.
func listen(b *testing.B, mcpURL, accessToken string, times int) (waits []time.Duration) {
	b.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"speak","arguments":{"times":%d},"_meta":{"progressToken":1}}}`, times)
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, mcpURL, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	request.Header = http.Header{
		"Authorization": {"Bearer " + accessToken}, "Content-Type": {"application/json"},
		"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		arrived := time.Now()
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var message struct {
			Method string
			Params struct{ Message string }
		}
		if err := json.Unmarshal([]byte(data), &message); err != nil {
			b.Fatalf("%q: %v", data, err)
		}
		if message.Method != "notifications/progress" {
			continue
		}
		sent, err := strconv.ParseInt(message.Params.Message, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		waits = append(waits, arrived.Sub(time.UnixMicro(sent)))
	}
	if err := lines.Err(); err != nil {
		b.Fatal(err)
	}
	return waits
}
