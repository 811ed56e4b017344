package journeys

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/test/deployment"
)

// Many people sign in at once, with more requests in flight than the stack may have processes: nobody gets an error, and
// nobody's grant is lost.
func TestParallelSignIns(t *testing.T) {
	t.Parallel()
	const people = 200
	d := deployment.Start(t, "PROCESSES=3")
	client := d.OAuth(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	var everyone sync.WaitGroup
	for i := range people {
		everyone.Go(func() {
			email := deployment.Employee
			if i%2 == 1 {
				email = deployment.Guest
			}
			token, err := d.Authorize(ctx, client, email)
			if err == nil {
				err = add(ctx, d.MCPURL, token.AccessToken)
			}
			if err != nil {
				t.Errorf("person %d: %v", i, err)
			}
		})
	}
	everyone.Wait()
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, "ERROR") {
			t.Errorf("the server logged %s", line)
		}
	}
	t.Logf("%d people signed in and called add in %s", people, time.Since(start).Round(10*time.Millisecond))
}

// add calls the tool as a client does that has initialized before.
func add(ctx context.Context, mcpURL, accessToken string) error {
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":40}}}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, mcpURL, strings.NewReader(call))
	if err != nil {
		return fmt.Errorf("calling add: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("MCP-Protocol-Version", "2025-11-25")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("calling add: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"sum":42`) {
		return fmt.Errorf("calling add: %s %s, %v", response.Status, body, err)
	}
	return nil
}
