package bench

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/npm"
)

// Cold starts: from the start of a built function's process to its first request for an event, which is when Lambda
// hands it one.
func BenchmarkStart(b *testing.B) {
	dist := deployment.Functions(b)
	asked := make(chan time.Time, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- time.Now()
		<-r.Context().Done()
	})}
	go func() { _ = server.Serve(listener) }() // until Close
	defer server.Close()
	functions, err := filepath.Glob(filepath.Join(dist, "*", "bootstrap"))
	if err != nil || len(functions) == 0 {
		b.Fatalf("no functions in %s: %v", dist, err)
	}
	for _, function := range functions {
		b.Run(filepath.Base(filepath.Dir(function)), func(b *testing.B) {
			const starts = 12
			var took []time.Duration
			for range starts {
				took = append(took, start(b, function, listener.Addr().String(), asked))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(median(took)), "ms-p50")
			b.ReportMetric(milliseconds(slices.Max(took)), "ms-max")
			b.ReportMetric(float64(size(b, function))/(1<<20), "MB")
		})
	}
}

// settings are enough for any function to start. None calls AWS before it has an event.
var settings = []string{
	"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key",
	"ISSUER=https://login.example.com", "MCP_URL=https://mcp.example.com/mcp", "ALLOWED_EMAILS=employee1@mycompany.com",
	"TABLE_NAME=table", "KMS_KEY_ID=key", "STACK_NAME=stack", "IMAGE_MODEL=bedrock",
	"ACCESS_ISSUER=https://idp.example.com", "ACCESS_CLIENT_ID=client", "ACCESS_CLIENT_SECRET_ARN=arn",
}

func start(b *testing.B, function, runtimeAPI string, asked <-chan time.Time) time.Duration {
	b.Helper()
	cmd := exec.Command(function)
	cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + runtimeAPI}, settings...)
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, and says so
	}()
	select {
	case at := <-asked:
		return at.Sub(began)
	case <-time.After(10 * time.Second):
		b.Fatalf("%s does not ask for an event", function)
		return 0
	}
}

func size(tb testing.TB, file string) int64 {
	tb.Helper()
	info, err := os.Stat(file)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}

// maxFunction keeps downloads and starts of functions short.
const maxFunction = 16 << 20

// Every function stays small, and links no more than it needs: html/template, whose methods the linker keeps all, is for
// those that show pages, and the AWS SDK is not for discovery.
func TestFunctionsAreSmall(t *testing.T) {
	functions, err := filepath.Glob(filepath.Join(deployment.Functions(t), "*", "bootstrap"))
	if err != nil || len(functions) != 7 {
		t.Fatalf("functions %q, %v", functions, err)
	}
	for _, function := range functions {
		if n := size(t, function); n > maxFunction {
			t.Errorf("%s has %d bytes", function, n)
		}
	}
}

func TestFunctionsLinkWhatTheyNeed(t *testing.T) {
	type links struct{ template, sdk bool }
	want := map[string]links{
		"authorize": {template: true, sdk: true}, "callback": {template: true, sdk: true},
		"token": {sdk: true}, "register": {sdk: true}, "mcp": {sdk: true}, "janitor": {sdk: true}, "discovery": {},
	}
	for name, want := range want {
		list := exec.Command("go", "list", "-deps", "-tags", "lambda.norpc", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./functions/"+name)
		list.Dir = npm.Root(t)
		out, err := list.Output()
		if err != nil {
			t.Fatalf("listing what %s links: %v", name, err)
		}
		var got links
		for line := range strings.Lines(string(out)) {
			pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
			// spf13/cast, of mcp-go, names a type of html/template and calls nothing there; the linker drops the rest.
			if pkg != "github.com/spf13/cast" && slices.Contains(strings.Fields(imports), "html/template") {
				got.template = true
			}
			got.sdk = got.sdk || strings.HasPrefix(pkg, "github.com/aws/aws-sdk-go-v2/")
		}
		if got != want {
			t.Errorf("%s links %+v, want %+v", name, got, want)
		}
	}
}
