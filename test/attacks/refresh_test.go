package attacks

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mcp-access-oauth/test/deployment"
)

func TestE01_RetryGivesTheSameAnswer(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	first := c.signIn(t, deployment.Guest)
	second := c.refresh(t, first.refresh).issued(t)
	for range 3 { // its answer was lost
		if again := c.refresh(t, first.refresh).issued(t); again != second {
			t.Errorf("a retry begins a branch of the family")
		}
	}
	if second.refresh == first.refresh || second.access == first.access || !works(t, d, second.access) {
		t.Error("the refresh token is not rotated, or its access token does not work")
	}
}

// TestE02_StolenRefreshToken: a thief has the refresh token of some time ago, which its owner has since used and used
// again. Where old tokens are only refused, or forgotten, the theft stays unnoticed.
func TestE02_StolenRefreshToken(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	stolen := c.signIn(t, deployment.Guest)
	next := c.refresh(t, stolen.refresh).issued(t)
	last := c.refresh(t, next.refresh).issued(t)

	// Who has no genuine token of the family cannot end it.
	grant := strings.Split(stolen.refresh, "_")[1]
	for _, invented := range []string{
		"rt_" + grant + "_" + strings.Repeat("A", len(stolen.refresh)-len(grant)-4), stolen.refresh[:len(stolen.refresh)-4] + "AAAA", stolen.refresh + "A", "rt_" + grant + "_",
	} {
		c.refresh(t, invented).refused(t, http.StatusBadRequest, "invalid_grant")
	}
	newClient(t, d, web).refresh(t, stolen.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
	if !works(t, d, last.access) {
		t.Fatal("an invented token has signed the owner out")
	}

	c.refresh(t, stolen.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
	for name, token := range map[string]string{"last": last.access, "middle": next.access, "first": stolen.access} {
		if works(t, d, token) {
			t.Errorf("the %s access token outlives the reuse of a stolen refresh token", name)
		}
	}
	c.refresh(t, last.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
	if !audited(d, "refresh_reused", grant) {
		t.Error("the audit trail does not say so")
	}
}

func TestE03_ParallelRefreshes(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	tokens := c.signIn(t, deployment.Guest)
	answers := together(20, func() answer { return c.refresh(t, tokens.refresh) })()
	given := map[issued]int{}
	for _, a := range answers {
		given[a.issued(t)]++
	}
	if len(given) != 1 {
		t.Errorf("20 callers got %d different answers", len(given))
	}
	for tokens := range given {
		if !works(t, d, tokens.access) {
			t.Error("the access token does not work")
		}
		c.refresh(t, tokens.refresh).issued(t)
	}
}

func TestE04_ForeignRefreshesChangeNothing(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c, other := newClient(t, d, loopback), newClient(t, d, web)
	tokens := c.signIn(t, deployment.Guest)
	other.refresh(t, tokens.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
	c.refresh(t, tokens.refresh, "client_id", "nobody").refused(t, http.StatusUnauthorized, "invalid_client")
	c.refresh(t, tokens.refresh, "scope", "mcp more").refused(t, http.StatusBadRequest, "invalid_scope")
	c.refresh(t, tokens.refresh, "resource", "https://evil.example/").refused(t, http.StatusBadRequest, "invalid_target")
	next := c.refresh(t, tokens.refresh).issued(t)
	if !works(t, d, next.access) || !works(t, d, tokens.access) {
		t.Error("the refused requests have changed the grant")
	}
}

func TestE06_Revocation(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c, other := newClient(t, d, loopback), newClient(t, d, web)
	tokens := c.signIn(t, deployment.Guest)
	revoke := func(c client, token, hint string) {
		t.Helper()
		a := post(t, d.Issuer+"/revoke", url.Values{"client_id": {c.id}, "token": {token}, "token_type_hint": {hint}})
		if a.status != http.StatusOK {
			t.Errorf("answered %d %s", a.status, a.body)
		}
	}
	for _, token := range []string{tokens.access, tokens.refresh} {
		revoke(other, token, "refresh_token")
	}
	for _, token := range []string{"x", tokens.access + "x", "at_" + strings.Repeat("A", 22) + "_x", strings.Repeat("A", 5000)} {
		revoke(c, token, "access_token")
	}
	if !works(t, d, tokens.access) {
		t.Fatal("another client, or a made-up token, revoked")
	}
	revoke(c, tokens.refresh, "access_token") // the hint is wrong
	if works(t, d, tokens.access) {
		t.Error("the access token outlives its refresh token")
	}
	c.refresh(t, tokens.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
	// To who is not the token's client it is as unknown as any other (RFC 7662).
	post(t, d.Issuer+"/introspect", url.Values{"client_id": {other.id}, "token": {tokens.access}}).refused(t, http.StatusUnauthorized, "invalid_client")
}

// TestE06_RevocationWins revokes a grant while a thief refreshes it as fast as they can. Whatever the refreshes were answered,
// once the revocation has been answered nothing of the family works.
func TestE06_RevocationWins(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	for range 4 {
		tokens := c.signIn(t, deployment.Guest)
		thieves := together(8, func() answer { return c.refresh(t, tokens.refresh) })
		if a := post(t, d.Issuer+"/revoke", url.Values{"client_id": {c.id}, "token": {tokens.refresh}}); a.status != http.StatusOK {
			t.Fatalf("the revocation is answered %d %s", a.status, a.body)
		}
		for _, a := range append(thieves(), c.refresh(t, tokens.refresh)) {
			if a.status != http.StatusOK {
				a.refused(t, http.StatusBadRequest, "invalid_grant")
				continue
			}
			got := a.issued(t)
			if works(t, d, got.access) {
				t.Error("an access token outlives the revocation")
			}
			c.refresh(t, got.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
		}
		if works(t, d, tokens.access) {
			t.Error("the first access token outlives the revocation")
		}
	}
}
