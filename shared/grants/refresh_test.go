package grants

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
)

func TestRefresh_Rotates(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	if second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
		t.Error("nothing was rotated")
	}
	if len(second.RefreshToken) != len(first.RefreshToken) {
		t.Error("refresh tokens differ in length")
	}
	if !f.works(first.AccessToken) || !f.works(second.AccessToken) {
		t.Error("want both access tokens to work until they expire")
	}
	f.clock.advance(15 * time.Minute)
	if f.works(second.AccessToken) {
		t.Error("an access token outlived its life")
	}
}

func TestE01_RetryGivesTheSameAnswer(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	f.clock.advance(10 * time.Minute) // the successor was never used: nothing closes the window
	f.budget("retry", 1, 0, func() {
		again := f.mustRefresh(first.RefreshToken)
		if again.AccessToken != second.AccessToken || again.RefreshToken != second.RefreshToken || !again.Expires.Equal(second.Expires) {
			t.Error("the retry was answered otherwise")
		}
	})
	if !f.works(second.AccessToken) {
		t.Error("access token")
	}
	f.clock.advance(59 * time.Second)
	if again := f.mustRefresh(first.RefreshToken); again.AccessToken != second.AccessToken {
		t.Error("inside the window the retry was answered otherwise")
	}
	if third := f.mustRefresh(second.RefreshToken); third.RefreshToken == second.RefreshToken {
		t.Error("the successor did not rotate")
	}
}

func TestE01_RetryNearExpiryMints(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	f.clock.advance(13*time.Minute + time.Second)
	third := f.mustRefresh(first.RefreshToken)
	if third.RefreshToken != second.RefreshToken {
		t.Error("a retry rotated")
	}
	if third.AccessToken == second.AccessToken || third.Expires.Sub(f.clock.Now()) != 15*time.Minute {
		t.Error("want a new access token of full life")
	}
	if again := f.mustRefresh(first.RefreshToken); again.AccessToken != third.AccessToken {
		t.Error("retries do not converge on the new access token")
	}
	if !f.works(third.AccessToken) {
		t.Error("access token")
	}
}

func TestE01_RetryAfterItsAccessTokenWasRevoked(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	if err := f.RevokeToken(t.Context(), f.item(second.AccessToken), second.AccessToken, testClient); err != nil {
		t.Fatal(err)
	}
	third := f.mustRefresh(first.RefreshToken)
	if third.AccessToken == second.AccessToken || !f.works(third.AccessToken) || f.works(second.AccessToken) {
		t.Error("want another access token")
	}
}

func TestE02_ReuseRevokes(t *testing.T) {
	t.Run("window closed by the access token", func(t *testing.T) {
		f := newFixture(t)
		first := f.signedIn("")
		second := f.mustRefresh(first.RefreshToken)
		if !f.works(second.AccessToken) {
			t.Fatal("access token")
		}
		f.clock.advance(time.Minute)
		wantReuse(t, f, first.RefreshToken, second)
	})
	t.Run("older than the predecessor", func(t *testing.T) {
		f := newFixture(t)
		first := f.signedIn("")
		second := f.mustRefresh(first.RefreshToken)
		third := f.mustRefresh(second.RefreshToken)
		wantReuse(t, f, first.RefreshToken, third)
	})
	t.Run("very old", func(t *testing.T) {
		f := newFixture(t)
		first := f.signedIn("")
		last := first
		for range 50 {
			last = f.mustRefresh(last.RefreshToken)
		}
		wantReuse(t, f, first.RefreshToken, last)
	})
}

func wantReuse(t *testing.T, f *fixture, old string, live Issued) {
	t.Helper()
	_, err := f.refresh(old)
	wantCode(t, err, oauth.InvalidGrant)
	if f.works(live.AccessToken) {
		t.Error("the access token survived a reuse")
	}
	_, err = f.refresh(live.RefreshToken)
	wantCode(t, err, oauth.InvalidGrant)
	if !f.audited(audit.RefreshReused) {
		t.Error("no audit event")
	}
}

func TestE02_InventionNeverRevokes(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	foreign, err := newRefreshToken(Moment{}, first.GrantID, []byte("another key"), 1)
	if err != nil {
		t.Fatal(err)
	}
	other := f.signedIn("")
	token := first.RefreshToken
	for name, invented := range map[string]string{
		"signed with another key":    foreign,
		"old one, flipped MAC":       token[:len(token)-1] + flip(token[len(token)-1]),
		"old one, other generation":  token[:31] + flip(token[31]) + token[32:],
		"another grant's, this id":   "rt_" + first.GrantID + "_" + other.RefreshToken[26:],
		"this grant's, another id":   "rt_" + other.GrantID + "_" + token[26:],
		"access token":               second.AccessToken,
		"access token named refresh": "rt" + second.AccessToken[2:],
		"empty":                      "",
		"garbage":                    "rt_" + first.GrantID + "_ü",
	} {
		_, err := f.refresh(invented)
		wantCode(t, err, oauth.InvalidGrant)
		if !f.works(second.AccessToken) {
			t.Fatalf("%s: revoked the grant", name)
		}
	}
}

func TestE03_ParallelRefreshes(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	const callers = 20
	results, errs := make([]Issued, callers), make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { results[i], errs[i] = f.refresh(first.RefreshToken) })
	}
	wg.Wait()
	for i := range callers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if results[i].AccessToken != results[0].AccessToken || results[i].RefreshToken != results[0].RefreshToken {
			t.Fatal("callers got different answers")
		}
	}
	g, err := Decode(*f.item(first.RefreshToken))
	if err != nil || g.Family.Generation != 2 {
		t.Errorf("generation %d, want 2: %v", g.Family.Generation, err)
	}
	if !f.works(results[0].AccessToken) {
		t.Error("the answer does not work")
	}
}

func TestE03_ParallelRefreshesAskTheProviderOnce(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	asked, release := make(chan struct{}, 64), make(chan struct{})
	ask := func(context.Context, string, policy.Identity) (Renewal, error) {
		asked <- struct{}{}
		<-release
		return Renewal{Identity: ada, RefreshToken: "upstream-2"}, nil
	}
	var waiting sync.WaitGroup
	waiting.Add(19)
	var once sync.Map
	f.pause = func(ctx context.Context, d time.Duration) error {
		if _, waited := once.LoadOrStore(ctx, true); !waited {
			waiting.Done()
		}
		<-release
		return sleep(ctx, time.Millisecond)
	}
	const callers = 20
	results, errs := make([]Issued, callers), make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			ctx := context.WithValue(t.Context(), callerKey{}, i)
			results[i], errs[i] = f.Refresh(ctx, f.item(first.RefreshToken), refreshOf(first.RefreshToken), ask)
		})
	}
	waiting.Wait()
	close(release)
	wg.Wait()
	if len(asked) != 1 {
		t.Errorf("the provider was asked %d times", len(asked))
	}
	for i := range callers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if results[i].AccessToken != results[0].AccessToken || results[i].RefreshToken != results[0].RefreshToken {
			t.Fatal("callers got different answers")
		}
	}
}

type callerKey struct{}

func TestE04_ForeignRequestsChangeNothing(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	before := f.item(first.RefreshToken)
	for _, c := range []struct {
		r    RefreshRequest
		code string
	}{
		{RefreshRequest{Token: second.RefreshToken, ClientID: "client-2", Resource: testResource}, oauth.InvalidGrant},
		{RefreshRequest{Token: first.RefreshToken, ClientID: "client-2", Resource: testResource}, oauth.InvalidGrant},
		{RefreshRequest{Token: second.RefreshToken, ClientID: testClient, Scopes: []string{"mcp", "admin"}, Resource: testResource}, oauth.InvalidScope},
		{RefreshRequest{Token: first.RefreshToken, ClientID: testClient, Scopes: []string{"admin"}, Resource: testResource}, oauth.InvalidScope},
		{RefreshRequest{Token: second.RefreshToken, ClientID: testClient, Resource: "https://moved.example/mcp"}, oauth.InvalidGrant},
		{RefreshRequest{Token: first.RefreshToken, ClientID: testClient, Resource: "https://moved.example/mcp"}, oauth.InvalidGrant},
		{RefreshRequest{Token: second.RefreshToken, ClientID: testClient}, oauth.InvalidGrant},
	} {
		_, err := f.Refresh(t.Context(), f.item(c.r.Token), c.r, nil)
		wantCode(t, err, c.code)
		if f.item(first.RefreshToken).Version != before.Version {
			t.Error("the grant was written")
		}
	}
}

func TestRefresh_NarrowerScope(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	r := refreshOf(first.RefreshToken)
	r.Scopes = []string{"mcp"}
	second, err := f.Refresh(t.Context(), f.item(r.Token), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.Authenticate(t.Context(), second.AccessToken)
	if err != nil || oauth.JoinScope(a.Scopes) != "mcp" || oauth.JoinScope(second.Scopes) != "mcp" {
		t.Errorf("scopes %v, issued %v, %v", a.Scopes, second.Scopes, err)
	}
	again, err := f.Refresh(t.Context(), f.item(r.Token), r, nil)
	if err != nil || again.AccessToken != second.AccessToken {
		t.Errorf("retry with the same scope: %v", err)
	}
	// A retry that asks for other scopes gets them with the same refresh token.
	whole := f.mustRefresh(first.RefreshToken)
	if whole.RefreshToken != second.RefreshToken || oauth.JoinScope(whole.Scopes) != "mcp offline_access" {
		t.Errorf("retry with all scopes: %v", whole.Scopes)
	}
	// RFC 6749 section 6: the next refresh has the scopes of the grant.
	if third := f.mustRefresh(second.RefreshToken); oauth.JoinScope(third.Scopes) != "mcp offline_access" {
		t.Errorf("next refresh: %v", third.Scopes)
	}
}

func TestRefresh_NinthAccessTokenEvictsTheOldest(t *testing.T) {
	f := newFixture(t)
	last := f.signedIn("")
	tokens := []string{last.AccessToken}
	for range maxAccess {
		f.clock.advance(time.Second)
		last = f.mustRefresh(last.RefreshToken)
		tokens = append(tokens, last.AccessToken)
	}
	if f.works(tokens[0]) {
		t.Error("the token nearest its expiry was not evicted")
	}
	for i, token := range tokens[1:] {
		if !f.works(token) {
			t.Errorf("token %d was evicted", i+1)
		}
	}
}

func TestRefresh_AgeAndIdle(t *testing.T) {
	f := newFixture(t)
	last := f.signedIn("") // no session at the provider: 7 days
	for range 6 {
		f.clock.advance(24 * time.Hour)
		last = f.mustRefresh(last.RefreshToken)
	}
	f.clock.advance(24*time.Hour - 5*time.Minute)
	last = f.mustRefresh(last.RefreshToken)
	if left := last.Expires.Sub(f.clock.Now()); left != 5*time.Minute {
		t.Errorf("the access token outlives its grant: %v", left)
	}
	f.clock.advance(5 * time.Minute)
	_, err := f.refresh(last.RefreshToken)
	wantCode(t, err, oauth.InvalidGrant)

	f = newFixture(t)
	last = f.signedIn("upstream")
	keep := func(context.Context, string, policy.Identity) (Renewal, error) { return Renewal{Identity: ada}, nil }
	f.clock.advance(29 * 24 * time.Hour)
	if last, err = f.refreshAsking(last.RefreshToken, keep); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(30 * 24 * time.Hour)
	_, err = f.refreshAsking(last.RefreshToken, keep)
	wantCode(t, err, oauth.InvalidGrant)
}

func TestItemHasAConstantSize(t *testing.T) {
	m := Moment{Now: newClock().Now(), Lifetimes: Lifetimes{}.withDefaults()}
	g, code, err := New(m, newGrant("upstream"))
	if err != nil {
		t.Fatal(err)
	}
	next, issued, err := g.Redeem(m, redemption(code))
	if err != nil {
		t.Fatal(err)
	}
	g = *next
	size, refreshes := 0, 10_000
	if testing.Short() {
		refreshes = 1_000
	}
	for i := range refreshes {
		m.Now = m.Now.Add(10 * time.Minute)
		g.Created = at(m.Now) // or the age limit would end the test
		g.Upstream.Checked = at(m.Now)
		next, out, err := g.Refresh(m, refreshOf(issued.RefreshToken))
		if err != nil {
			t.Fatalf("refresh %d: %v", i, err)
		}
		g, issued = *next, out.issued
		if next, _, err = g.Authenticate(m, issued.AccessToken); err != nil || next == nil {
			t.Fatalf("first call %d: %v", i, err)
		}
		g = *next
		item, err := g.item()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case i == 2:
			size = len(item.Data)
		case i > 2 && len(item.Data) != size:
			t.Fatalf("after %d refreshes the item has %d bytes, after 3 it had %d", i+1, len(item.Data), size)
		}
	}
	t.Logf("%d bytes", size)
}

func TestRefresh_ConflictsAreBounded(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	f.table.before = func(op string) error {
		if op == "replace" {
			return table.ErrConflict
		}
		return nil
	}
	_, err := f.refresh(first.RefreshToken)
	if oerr := oauth.AsError(err); oerr.Code != oauth.TemporarilyUnavailable {
		t.Errorf("error %v", err)
	}
	f.table.before = nil
	if errors.Is(err, errRefreshToken) || !f.works(first.AccessToken) {
		t.Error("the grant suffered")
	}
}
