package grants

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

func TestRedeem(t *testing.T) {
	f := newFixture(t)
	n := newGrant("")
	code := f.create(n)
	f.clock.advance(59 * time.Second)
	issued, err := f.redeem(redemption(code))
	if err != nil {
		t.Fatal(err)
	}
	if issued.RefreshToken == "" || issued.Expires.Sub(f.clock.Now()) != 15*time.Minute {
		t.Errorf("issued %v, want a refresh token and 15 minutes", issued)
	}
	a, err := f.Authenticate(t.Context(), issued.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if a.Identity.User() != ada.User() || a.Identity.Groups[0] != "designers" || a.GrantID != n.ID || a.ClientID != testClient ||
		a.Resource != testResource || oauth.JoinScope(a.Scopes) != "mcp offline_access" || !a.Expires.Equal(issued.Expires) {
		t.Errorf("access %+v", a)
	}
	if !f.audited(audit.CodeRedeemed) {
		t.Error("no audit event")
	}
}

func TestRedeem_WithoutRefreshToken(t *testing.T) {
	f := newFixture(t)
	r := redemption(f.create(newGrant("")))
	r.Refreshable = false
	issued, err := f.redeem(r)
	if err != nil || issued.RefreshToken != "" {
		t.Fatalf("issued %v, %v; want no refresh token", issued, err)
	}
	if !f.works(issued.AccessToken) {
		t.Error("the access token does not work")
	}
	if !issued.GrantEnds.Equal(issued.Expires) {
		t.Error("the grant outlives all that was issued on it")
	}
	// Without a MAC key nothing may count as an old refresh token.
	forged, err := newRefreshToken(Moment{}, issued.GrantID, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.refresh(forged)
	wantCode(t, err, oauth.InvalidGrant)
	if err := f.RevokeToken(t.Context(), f.item(forged), forged, testClient); err != nil || !f.works(issued.AccessToken) {
		t.Error("a forged refresh token ended the grant")
	}
}

func TestCreate_OncePerTransaction(t *testing.T) {
	f := newFixture(t)
	n := newGrant("")
	code := f.create(n)
	if _, err := f.Create(t.Context(), n); !errors.Is(err, ErrExists) {
		t.Errorf("second use: %v", err)
	}
	if _, err := f.redeem(redemption(code)); err != nil {
		t.Fatal(err)
	}
	if err := f.Revoke(t.Context(), n.ID, "test"); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(30 * time.Minute) // longer than any cookie of the transaction
	if _, err := f.Create(t.Context(), n); !errors.Is(err, ErrExists) {
		t.Errorf("use after revocation: %v", err)
	}
}

func TestD02_WrongRedemptionKeepsTheCode(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	for name, spoil := range map[string]func(*Redemption){
		"another client":    func(r *Redemption) { r.ClientID = "client-2" },
		"another redirect":  func(r *Redemption) { r.RedirectURI = testRedirect + "/" },
		"wrong verifier":    func(r *Redemption) { r.Verifier = strings.Repeat("a", 43) },
		"missing verifier":  func(r *Redemption) { r.Verifier = "" },
		"challenge as such": func(r *Redemption) { r.Verifier = oauth.S256Challenge(testVerifier) },
		"wrong secret":      func(r *Redemption) { r.Code = code[:len(code)-1] + flip(code[len(code)-1]) },
		"another kind":      func(r *Redemption) { r.Code = "at" + code[2:] },
		"cut":               func(r *Redemption) { r.Code = code[:len(code)-1] },
	} {
		r := redemption(code)
		spoil(&r)
		before := f.item(code)
		_, err := f.Redeem(t.Context(), before, r)
		wantCode(t, err, oauth.InvalidGrant)
		if after := f.item(code); after.Version != before.Version {
			t.Errorf("%s: the grant was written", name)
		}
	}
	if _, err := f.redeem(redemption(code)); err != nil {
		t.Errorf("the code did not survive: %v", err)
	}
}

func flip(c byte) string {
	if c == '0' {
		return "1"
	}
	return "0"
}

func TestD03_NoChallengeStored(t *testing.T) {
	f := newFixture(t)
	n := newGrant("")
	n.CodeChallenge = ""
	code := f.create(n)
	for _, verifier := range []string{"", testVerifier} {
		r := redemption(code)
		r.Verifier = verifier
		_, err := f.redeem(r)
		wantCode(t, err, oauth.InvalidGrant)
	}
}

func TestD05_CodeExpires(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	f.clock.advance(time.Minute)
	if f.item(code) == nil {
		t.Fatal("want the item to be there still: expiry is checked in code")
	}
	_, err := f.redeem(redemption(code))
	wantCode(t, err, oauth.InvalidGrant)
}

func TestD01_ReplayRevokes(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	issued, err := f.redeem(redemption(code))
	if err != nil {
		t.Fatal(err)
	}
	wrong := redemption(code)
	wrong.Verifier = strings.Repeat("b", 43)
	_, err = f.redeem(wrong)
	wantCode(t, err, oauth.InvalidGrant)
	wrong = redemption(code)
	wrong.ClientID = "client-2"
	_, err = f.redeem(wrong)
	wantCode(t, err, oauth.InvalidGrant)
	if !f.works(issued.AccessToken) {
		t.Fatal("a wrong replay revoked the grant")
	}
	f.clock.advance(10 * time.Minute)
	_, err = f.redeem(redemption(code))
	wantCode(t, err, oauth.InvalidGrant)
	if f.works(issued.AccessToken) {
		t.Error("the access token survived a replay")
	}
	_, err = f.refresh(issued.RefreshToken)
	wantCode(t, err, oauth.InvalidGrant)
	if !f.audited(audit.CodeReplayed) {
		t.Error("no audit event")
	}
}

func TestD01_RacerDoesNotRevoke(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	stale := f.item(code) // read while the code was unredeemed
	issued, err := f.redeem(redemption(code))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Redeem(t.Context(), stale, redemption(code))
	wantCode(t, err, oauth.InvalidGrant)
	if !f.works(issued.AccessToken) {
		t.Error("the loser of a race revoked the winner")
	}
}

// A request that had arrived when the code was redeemed, and that a cold start held up, reads the code redeemed.
func TestD01_ArrivalTellsRacerFromReplay(t *testing.T) {
	for _, c := range []struct {
		arrived time.Duration // after the redemption
		lives   bool
	}{{-time.Second, true}, {-time.Millisecond, true}, {0, false}, {time.Millisecond, false}} {
		f := newFixture(t)
		code := f.create(newGrant(""))
		issued, err := f.redeem(redemption(code))
		if err != nil {
			t.Fatal(err)
		}
		late := redemption(code)
		late.Arrived = f.clock.Now().Add(c.arrived)
		_, err = f.redeem(late)
		wantCode(t, err, oauth.InvalidGrant)
		if f.works(issued.AccessToken) != c.lives || f.audited(audit.CodeReplayed) == c.lives {
			t.Errorf("arrived %v after the redemption: the grant lives %v, want %v", c.arrived, !c.lives, c.lives)
		}
	}
}

// Redemptions that come while the first one settles have read the code unredeemed.
func TestD04_RedemptionsThatSettle(t *testing.T) {
	f := newFixture(t)
	f.Settle = time.Second
	code := f.create(newGrant(""))
	const racers = 5
	var arrived, done sync.WaitGroup
	arrived.Add(racers)
	f.pause = func(_ context.Context, d time.Duration) error {
		if d != time.Second {
			t.Errorf("a redemption settles for %v", d)
		}
		arrived.Done()
		arrived.Wait() // the last one comes while all others wait
		return nil
	}
	won := make(chan Issued, racers)
	for range racers {
		done.Go(func() {
			if issued, err := f.redeem(redemption(code)); err == nil {
				won <- issued
			}
		})
	}
	done.Wait()
	if len(won) != 1 {
		t.Fatalf("%d redemptions won", len(won))
	}
	if !f.works((<-won).AccessToken) || f.audited(audit.CodeReplayed) {
		t.Error("a racer was taken for a replay")
	}
	// What comes afterwards does not settle: it finds the code redeemed.
	f.pause = func(context.Context, time.Duration) error { t.Error("a replay waited"); return nil }
	_, err := f.redeem(redemption(code))
	wantCode(t, err, oauth.InvalidGrant)
	if !f.audited(audit.CodeReplayed) {
		t.Error("a replay was taken for a racer")
	}
}

func TestD04_RacingRedemptions(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	const racers = 20
	items := make([]*table.Item, racers)
	for i := range items {
		items[i] = f.item(code)
	}
	results := make([]Issued, racers)
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { results[i], errs[i] = f.Redeem(t.Context(), items[i], redemption(code)) })
	}
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err != nil {
			wantCode(t, err, oauth.InvalidGrant)
			continue
		}
		winners++
		if !f.works(results[i].AccessToken) {
			t.Error("the winner's access token does not work")
		}
		f.mustRefresh(results[i].RefreshToken)
	}
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
}
