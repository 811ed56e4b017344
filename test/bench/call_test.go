package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/test/deployment"
)

// bareAddress is set in the process that is the bare server: this binary again.
const bareAddress = "MCP_BENCH_BARE"

func TestMain(m *testing.M) {
	if address := os.Getenv(bareAddress); address != "" {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(address, bareHandler()))
		os.Exit(1)
	}
	code := m.Run()
	deployment.Close()
	os.Exit(code)
}

// bareHandler is mcp-go with the product's add, its own checks of the schemas, and open to everyone.
func bareHandler() http.Handler {
	s := server.NewMCPServer("bare", "1", server.WithToolCapabilities(false),
		server.WithInputSchemaValidation(), server.WithOutputSchemaValidation(), server.WithRecovery())
	for _, tool := range tools.All(tools.Deps{}) {
		if tool.Name != "add" {
			continue
		}
		s.AddTool(mcp.Tool{
			Name: tool.Name, Title: tool.Title, Description: tool.Description,
			RawInputSchema: json.RawMessage(tool.Input), RawOutputSchema: json.RawMessage(tool.Output),
		}, func(ctx context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return tool.Call(ctx, &tools.Call{Arguments: request.Params.RawArguments})
		})
	}
	return server.NewStreamableHTTPServer(s, server.WithStateLess(true))
}

// What authentication, policy, audit and the request log add to a call of add, beside the bare library.
func BenchmarkToolCall(b *testing.B) {
	d := deployment.Start(b)
	_, token := d.SignIn(b, deployment.Employee)
	ours := target{strings.TrimPrefix(strings.TrimSuffix(d.MCPURL, "/mcp"), "http://"), request("Authorization: Bearer " + token.AccessToken + "\r\n"), d.PID()}
	bare := startBare(b)
	for _, warm := range []target{bare, ours} {
		warm.load(b, time.Second)
	}
	var oursCPU, bareCPU []time.Duration
	var oursRate, bareRate []float64
	for range 5 {
		r := bare.load(b, 2*time.Second)
		bareCPU, bareRate = append(bareCPU, r.cpu), append(bareRate, r.perSecond)
		r = ours.load(b, 2*time.Second)
		oursCPU, oursRate = append(oursCPU, r.cpu), append(oursRate, r.perSecond)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(bareRate), "bare/s")
	b.ReportMetric(median(oursRate), "ours/s")
	b.ReportMetric(median(oursRate)/median(bareRate), "rate-ratio")
	b.ReportMetric(float64(median(bareCPU).Nanoseconds())/1000, "bare-µs-CPU")
	b.ReportMetric(float64(median(oursCPU).Nanoseconds())/1000, "ours-µs-CPU")
	b.ReportMetric(float64(median(oursCPU))/float64(median(bareCPU)), "CPU-ratio")
	b.ReportMetric(residentMB(b, ours.pid), "MB-resident")
}

func request(header string) []byte {
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":40}}}`
	return fmt.Appendf(nil, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
}

func startBare(b *testing.B) target {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close() // for the bare server to take
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), bareAddress+"="+address)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, and says so
	})
	for range 500 {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return target{address, request(""), cmd.Process.Pid}
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("the bare server does not start")
	return target{}
}
