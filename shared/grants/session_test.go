package grants

import (
	"context"
	"errors"
	"testing"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
)

// provider answers for the identity provider.
type provider struct {
	asked  int
	tokens []string
	says   Renewal
	err    error
}

func (p *provider) ask(_ context.Context, token string, previous policy.Identity) (Renewal, error) {
	p.asked++
	p.tokens = append(p.tokens, token)
	return p.says, p.err
}

func TestSession_CheckedOncePerAccessTokenLife(t *testing.T) {
	f := newFixture(t)
	p := &provider{says: Renewal{Identity: ada, RefreshToken: "upstream-2"}}
	last := f.signedIn("upstream-1")
	step := func(d time.Duration) {
		t.Helper()
		f.clock.advance(d)
		var err error
		if last, err = f.refreshAsking(last.RefreshToken, p.ask); err != nil {
			t.Fatal(err)
		}
	}
	step(time.Minute)
	if p.asked != 0 {
		t.Error("asked too early")
	}
	if left := last.Expires.Sub(f.clock.Now()); left != 14*time.Minute {
		t.Errorf("without a check the access token lives %v, want no longer than the claims", left)
	}
	step(13 * time.Minute)
	if p.asked != 1 || last.Expires.Sub(f.clock.Now()) != 15*time.Minute {
		t.Errorf("asked %d times, token lives %v", p.asked, last.Expires.Sub(f.clock.Now()))
	}
	step(time.Second)
	step(14 * time.Minute)
	if p.asked != 2 || p.tokens[0] != "upstream-1" || p.tokens[1] != "upstream-2" {
		t.Errorf("asked with %v", p.tokens)
	}
}

func TestSession_ClaimsAreTakenAnew(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	changed := ada
	changed.Groups, changed.Email = nil, "ada@new.example"
	p := &provider{says: Renewal{Identity: changed}}
	if _, err := f.refreshAsking(first.RefreshToken, p.ask); err != nil {
		t.Fatal(err)
	}
	// The old access token shows the new claims too: they belong to the grant.
	a, err := f.Authenticate(t.Context(), first.AccessToken)
	if err != nil || len(a.Identity.Groups) != 0 || a.Identity.Email != "ada@new.example" {
		t.Errorf("identity %+v, %v", a.Identity, err)
	}
	f.clock.advance(14 * time.Minute)
	if _, err := f.refreshAsking(first.RefreshToken, p.ask); err != nil {
		t.Errorf("retry that needs a check: %v", err)
	}
	if p.asked != 2 || p.tokens[1] != "upstream-1" {
		t.Errorf("asked %d times with %v: a provider that does not rotate keeps its token", p.asked, p.tokens)
	}
}

func TestE05_ProviderEndsTheSession(t *testing.T) {
	other := ada
	other.Subject = "eve"
	for name, p := range map[string]*provider{
		"refused":         {err: ErrSessionEnded},
		"another subject": {says: Renewal{Identity: other}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			first, bystander := f.signedIn("upstream-1"), f.signedIn("upstream-1")
			f.clock.advance(14 * time.Minute)
			_, err := f.refreshAsking(first.RefreshToken, p.ask)
			wantCode(t, err, oauth.InvalidGrant)
			if f.works(first.AccessToken) {
				t.Error("the access token survived")
			}
			if !f.works(bystander.AccessToken) {
				t.Error("another grant of the person ended too")
			}
			if !f.audited(audit.GrantEnded) {
				t.Error("no audit event")
			}
		})
	}
}

func TestE05_ProviderUnavailable(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	p := &provider{err: errors.New("502")}
	f.budget("refused by a fault", 1, 2, func() {
		_, err := f.refreshAsking(first.RefreshToken, p.ask)
		wantCode(t, err, oauth.TemporarilyUnavailable)
		if oauth.AsError(err).RetryAfter <= 0 {
			t.Error("no Retry-After")
		}
	})
	if !f.works(first.AccessToken) {
		t.Error("the grant suffered")
	}
	p.err, p.says = nil, Renewal{Identity: ada}
	if _, err := f.refreshAsking(first.RefreshToken, p.ask); err != nil {
		t.Errorf("the next try: %v", err)
	}
}

func TestE05_FaultAfterTheProviderRotated(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	p := &provider{err: errors.New("bad ID token"), says: Renewal{RefreshToken: "upstream-2"}}
	_, err := f.refreshAsking(first.RefreshToken, p.ask)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	p.err, p.says = nil, Renewal{Identity: ada}
	if _, err := f.refreshAsking(first.RefreshToken, p.ask); err != nil {
		t.Fatal(err)
	}
	if p.tokens[1] != "upstream-2" {
		t.Errorf("asked with %v: the rotated token was lost", p.tokens)
	}
}

func TestSession_Lease(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	f.pause = func(context.Context, time.Duration) error { f.clock.advance(time.Second); return nil }
	second := &provider{says: Renewal{Identity: ada}}
	holder := func(ctx context.Context, token string, previous policy.Identity) (Renewal, error) {
		// While one asks, another waits in vain and asks nothing.
		_, err := f.refreshAsking(first.RefreshToken, second.ask)
		wantCode(t, err, oauth.TemporarilyUnavailable)
		if second.asked != 0 {
			t.Error("two asked at once")
		}
		// The lease has run out meanwhile, and the next caller takes it over.
		if _, err := f.refreshAsking(first.RefreshToken, second.ask); err != nil || second.asked != 1 {
			t.Errorf("takeover: %v, asked %d times", err, second.asked)
		}
		return Renewal{}, ErrSessionEnded // the provider took the holder's token for a stolen one
	}
	_, err := f.refreshAsking(first.RefreshToken, holder)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	if !f.works(first.AccessToken) {
		t.Error("a holder that lost its lease ended the grant")
	}
}

// A caller that has waited, and whose own write then comes so late that the next check is under way, has nothing to hand
// out.
func TestSession_WaitingTwiceIsNoAnswer(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	change := func(to func(*upstreamState)) { // by another process
		t.Helper()
		item := f.item(first.RefreshToken)
		g, err := Decode(*item)
		if err != nil {
			t.Fatal(err)
		}
		to(&g.Upstream)
		next, err := g.item()
		if err != nil {
			t.Fatal(err)
		}
		next.Version = item.Version
		if _, err := f.table.Table.Replace(t.Context(), next); err != nil {
			t.Fatal(err)
		}
	}
	lease := func(u *upstreamState) { u.Lease, u.LeaseUntil = "other", at(f.clock.Now()).add(leaseLife) }
	f.clock.advance(14 * time.Minute)
	change(lease)
	f.pause = func(context.Context, time.Duration) error {
		change(func(u *upstreamState) { *u = upstreamState{Token: u.Token, Checked: at(f.clock.Now())} })
		return nil
	}
	f.table.before = func(op string) error {
		if op == "replace" {
			f.table.before = nil
			f.clock.advance(14 * time.Minute)
			change(lease)
		}
		return nil
	}
	issued, err := f.refreshAsking(first.RefreshToken, (&provider{}).ask)
	if err == nil {
		t.Fatalf("answered with %+v", issued)
	}
	wantCode(t, err, oauth.TemporarilyUnavailable)
}

func TestSession_SurvivesALostWrite(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	p := &provider{says: Renewal{Identity: ada, RefreshToken: "upstream-2"}}
	replaces := 0
	f.table.before = func(op string) error {
		if op == "replace" {
			if replaces++; replaces == 2 {
				return table.ErrUnavailable
			}
		}
		return nil
	}
	second, err := f.refreshAsking(first.RefreshToken, p.ask)
	if err != nil || !f.works(second.AccessToken) || p.asked != 1 {
		t.Errorf("%v, asked %d times", err, p.asked)
	}
}

func TestSession_GoneClientDoesNotLoseTheProvidersToken(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("upstream-1")
	f.clock.advance(14 * time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	item := f.item(first.RefreshToken)
	_, err := f.Refresh(ctx, item, refreshOf(first.RefreshToken), func(ctx context.Context, _ string, _ policy.Identity) (Renewal, error) {
		cancel()
		return Renewal{Identity: ada, RefreshToken: "upstream-2"}, ctx.Err()
	})
	if err != nil {
		t.Errorf("the check ended with its client: %v", err)
	}
}
