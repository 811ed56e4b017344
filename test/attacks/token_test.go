package attacks

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"mcp-access-oauth/test/deployment"
)

// TestD04_RacingRedemptions: whoever can see a code tries to redeem it beside its owner, many times at once. Where
// reading and deleting the code are two steps, several of the racers get tokens.
func TestD04_RacingRedemptions(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	code := c.code(t, deployment.Employee)
	answers := make([]answer, 20)
	var racers sync.WaitGroup
	start := make(chan struct{})
	for i := range answers {
		racers.Go(func() {
			<-start
			answers[i] = c.redeem(t, code)
		})
	}
	close(start)
	racers.Wait()
	var won []issued
	for _, a := range answers {
		if a.status == http.StatusOK {
			won = append(won, a.issued(t))
			continue
		}
		a.refused(t, http.StatusBadRequest, "invalid_grant")
	}
	if len(won) != 1 {
		t.Fatalf("%d of %d redemptions got tokens, want 1", len(won), len(answers))
	}
	// A request that came when the code was already redeemed is a replay, which revokes (D01). One that lost the race
	// does not: so the tokens work, or the audit trail says that somebody came later.
	grant := strings.Split(code, "_")[1]
	if !works(t, d, won[0].access) && !audited(d, "code_replayed", grant) {
		t.Error("the winner's token does not work, though nobody has replayed the code")
	}
}

// audited reports whether the audit trail has this action on this grant.
func audited(d *deployment.Deployment, action, grant string) bool {
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, action) && strings.Contains(line, grant) {
			return true
		}
	}
	return false
}
