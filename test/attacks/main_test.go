package attacks

import (
	"os"
	"testing"

	"mcp-access-oauth/test/deployment"
)

// server is the deployment that tests share. A test that stops it, or needs another identity provider, has its own.
var server = deployment.Shared{Env: []string{"REGISTRATIONS_PER_MINUTE=1000"}}

func TestMain(m *testing.M) {
	code := m.Run()
	deployment.Close()
	os.Exit(code)
}

// onStack reports that the built functions are tested, behind what stands in for API Gateway and a function URL.
func onStack() bool { return os.Getenv("MCP_TEST_TARGET") == "stack" }
