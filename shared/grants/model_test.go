package grants

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
)

// model is what DESIGN.md says of a grant, told once more in the plainest words: tokens are strings in lists, nothing is
// sealed, hashed or written. The property test drives a Store and the model with the same random requests.
type model struct {
	now           time.Time
	dead          bool
	created, ends time.Time
	redeemed      bool
	refresh       []string // every refresh token that was handed out; the last is current
	usedAt        time.Time
	answer        modelAnswer // what the predecessor was answered
	access        []modelAccess
	upstream      bool
	checked       time.Time
	provider      string // ok, down or ended
	groups        string // what the provider says now
	claims        string // what the grant knows
}

type modelAnswer struct {
	access, refresh string
	expires         time.Time
}

type modelAccess struct {
	token   string
	expires time.Time
	born    int // how many refresh tokens there were when it was issued
	used    bool
}

func (m *model) alive() bool { return !m.dead && m.now.Before(m.ends) }

func (m *model) drop() {
	m.access = slices.DeleteFunc(m.access, func(a modelAccess) bool { return !m.now.Before(a.expires) })
}

func (m *model) limit() time.Time {
	if m.upstream {
		return m.created.Add(90 * 24 * time.Hour)
	}
	return m.created.Add(7 * 24 * time.Hour)
}

func (m *model) touch() {
	m.ends = m.now.Add(30 * 24 * time.Hour)
	if m.limit().Before(m.ends) {
		m.ends = m.limit()
	}
}

// expiry is that of an access token issued now.
func (m *model) expiry() time.Time {
	e := m.now.Add(15 * time.Minute)
	if m.upstream && m.checked.Add(15*time.Minute).Before(e) {
		e = m.checked.Add(15 * time.Minute)
	}
	if m.limit().Before(e) {
		e = m.limit()
	}
	return e
}

func (m *model) issue(token string) {
	m.drop()
	if len(m.access) == 8 {
		nearest := slices.MinFunc(m.access, func(a, b modelAccess) int { return a.expires.Compare(b.expires) })
		m.access = slices.DeleteFunc(m.access, func(a modelAccess) bool { return a.token == nearest.token })
	}
	m.access = append(m.access, modelAccess{token: token, expires: m.expiry(), born: len(m.refresh)})
	m.touch()
}

func (m *model) find(token string) *modelAccess {
	for i := range m.access {
		if m.access[i].token == token && m.now.Before(m.access[i].expires) {
			return &m.access[i]
		}
	}
	return nil
}

// ask is the provider's part; it returns the error code that the refresh must give, or "".
func (m *model) ask() string {
	if !m.upstream || m.now.Before(m.checked.Add(13*time.Minute)) {
		return ""
	}
	switch m.provider {
	case "down":
		return oauth.TemporarilyUnavailable
	case "ended":
		m.dead = true
		return oauth.InvalidGrant
	}
	m.checked, m.claims = m.now, m.groups
	return ""
}

func TestModel(t *testing.T) {
	f := newFixture(t)
	rapid.Check(t, func(t *rapid.T) {
		upstream := ""
		if rapid.Bool().Draw(t, "provider has a session") {
			upstream = "upstream"
		}
		n := newGrant(upstream)
		n.Identity.Groups = []string{"g0"}
		code, err := f.Create(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{now: f.clock.Now(), created: f.clock.Now(), ends: f.clock.Now().Add(time.Minute), upstream: upstream != "", provider: "ok", groups: "g0", claims: "g0"}
		d := &driver{f: f, m: m, code: code}
		t.Repeat(map[string]func(*rapid.T){
			"redeem":       d.redeem,
			"redeem wrong": d.redeemWrong,
			"refresh":      d.refresh,
			"refresh last": func(t *rapid.T) { d.refreshAt(t, len(m.refresh)-1) }, // or chains would seldom get long
			"invent":       d.invent,
			"call":         d.call,
			"revoke":       d.revoke,
			"wait":         d.wait,
			"wait a bit":   d.wait,
			"provider":     d.provider,
			"":             d.check,
		})
	})
}

type driver struct {
	f      *fixture
	m      *model
	code   string
	issued []string // every access token that was handed out
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return oauth.AsError(err).Code
}

func (d *driver) expect(t *rapid.T, what string, err error, want string) {
	t.Helper()
	if got := codeOf(err); got != want {
		t.Fatalf("%s: %q (%v), the model says %q", what, got, err, want)
	}
}

func (d *driver) redeem(t *rapid.T) {
	issued, err := d.f.redeem(redemption(d.code))
	switch {
	case d.m.alive() && !d.m.redeemed:
		d.expect(t, "redeem", err, "")
		d.m.redeemed, d.m.checked = true, d.m.now
		d.m.refresh = append(d.m.refresh, issued.RefreshToken)
		d.m.issue(issued.AccessToken)
		d.issued = append(d.issued, issued.AccessToken)
	default:
		d.expect(t, "redeem", err, oauth.InvalidGrant)
		d.m.dead = d.m.dead || d.m.redeemed
	}
}

func (d *driver) redeemWrong(t *rapid.T) {
	r := redemption(d.code)
	switch rapid.IntRange(0, 2).Draw(t, "what is wrong") {
	case 0:
		r.Verifier = strings.Repeat("w", 43)
	case 1:
		r.ClientID = "client-2"
	case 2:
		r.RedirectURI += "/"
	}
	_, err := d.f.redeem(r)
	d.expect(t, "wrong redemption", err, oauth.InvalidGrant)
}

func (d *driver) refresh(t *rapid.T) {
	if len(d.m.refresh) == 0 {
		t.Skip("nothing to refresh")
	}
	d.refreshAt(t, rapid.IntRange(max(0, len(d.m.refresh)-3), len(d.m.refresh)-1).Draw(t, "which refresh token"))
}

func (d *driver) refreshAt(t *rapid.T, i int) {
	if i < 0 {
		t.Skip("nothing to refresh")
	}
	m, last := d.m, len(d.m.refresh)-1
	issued, err := d.f.refreshAsking(m.refresh[i], d.ask)
	switch {
	case !m.alive():
		d.expect(t, "refresh of a dead grant", err, oauth.InvalidGrant)
	case i == last:
		want := m.ask()
		d.expect(t, "refresh", err, want)
		if want == oauth.TemporarilyUnavailable && m.usedAt.IsZero() {
			m.usedAt = m.now // the lease was written for it
		}
		if want != "" {
			return
		}
		m.refresh, m.usedAt = append(m.refresh, issued.RefreshToken), time.Time{}
		m.issue(issued.AccessToken)
		d.issued = append(d.issued, issued.AccessToken)
		m.answer = modelAnswer{issued.AccessToken, issued.RefreshToken, m.find(issued.AccessToken).expires}
		if !issued.Expires.Equal(m.answer.expires) {
			t.Fatalf("the access token expires at %v, the model says %v", issued.Expires, m.answer.expires)
		}
	case i == last-1 && (m.usedAt.IsZero() || m.now.Before(m.usedAt.Add(time.Minute))):
		if m.find(m.answer.access) != nil && !m.answer.expires.Before(m.now.Add(2*time.Minute)) {
			d.expect(t, "retry", err, "")
			if issued.AccessToken != m.answer.access || issued.RefreshToken != m.answer.refresh {
				t.Fatal("a retry was answered otherwise")
			}
			return
		}
		want := m.ask()
		d.expect(t, "retry that mints", err, want)
		if want != "" {
			return
		}
		if issued.RefreshToken != m.answer.refresh || slices.Contains(d.issued, issued.AccessToken) {
			t.Fatal("want a new access token with the same refresh token")
		}
		m.issue(issued.AccessToken)
		d.issued = append(d.issued, issued.AccessToken)
		m.answer.access, m.answer.expires = issued.AccessToken, m.find(issued.AccessToken).expires
	default:
		d.expect(t, "reuse", err, oauth.InvalidGrant)
		m.dead = true
	}
}

func (d *driver) ask(context.Context, string, policy.Identity) (Renewal, error) {
	who := ada
	who.Groups = []string{d.m.groups}
	switch d.m.provider {
	case "down":
		return Renewal{}, errors.New("down")
	case "ended":
		return Renewal{}, ErrSessionEnded
	}
	return Renewal{Identity: who, RefreshToken: "upstream"}, nil
}

func (d *driver) invent(t *rapid.T) {
	if len(d.m.refresh) == 0 {
		t.Skip("nothing to forge")
	}
	token := []byte(rapid.SampledFrom(d.m.refresh).Draw(t, "refresh token"))
	i := rapid.IntRange(26, len(token)-1).Draw(t, "position")
	token[i] = flip(token[i])[0]
	_, err := d.f.refresh(string(token))
	d.expect(t, "invention", err, oauth.InvalidGrant)
}

func (d *driver) call(t *rapid.T) {
	if len(d.issued) == 0 {
		t.Skip("no access token")
	}
	token := rapid.SampledFrom(d.issued).Draw(t, "access token")
	a, err := d.f.Authenticate(context.Background(), token)
	state := d.m.find(token)
	if !d.m.alive() || state == nil {
		if !errors.Is(err, ErrInvalidToken) {
			t.Fatalf("call: %v, the model says it is invalid", err)
		}
		return
	}
	if err != nil || a.Identity.Groups[0] != d.m.claims {
		t.Fatalf("call: %v, groups %v, the model says %s", err, a.Identity.Groups, d.m.claims)
	}
	if !state.used {
		state.used = true
		if state.born == len(d.m.refresh) && d.m.usedAt.IsZero() {
			d.m.usedAt = d.m.now
		}
		d.m.touch()
	}
}

func (d *driver) revoke(t *rapid.T) {
	if len(d.issued) == 0 || rapid.IntRange(0, 3).Draw(t, "seldom") != 0 {
		t.Skip("not now")
	}
	token := rapid.SampledFrom(append(slices.Clone(d.issued), d.m.refresh...)).Draw(t, "token")
	if err := d.f.RevokeToken(context.Background(), d.f.item(token), token, testClient); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(d.m.refresh, token) {
		d.m.dead = true
		return
	}
	d.m.access = slices.DeleteFunc(d.m.access, func(a modelAccess) bool { return d.m.alive() && a.token == token })
}

func (d *driver) wait(t *rapid.T) {
	steps := []time.Duration{time.Second, 20 * time.Second, 59 * time.Second, time.Minute, 5 * time.Minute, 13 * time.Minute, 14 * time.Minute, 15 * time.Minute, 36 * time.Hour}
	d.f.clock.advance(rapid.SampledFrom(steps).Draw(t, "time"))
	d.m.now = d.f.clock.Now()
}

func (d *driver) provider(t *rapid.T) {
	d.m.provider = rapid.SampledFrom([]string{"ok", "ok", "ok", "down", "ended"}).Draw(t, "provider")
	d.m.groups = rapid.SampledFrom([]string{"g0", "g1"}).Draw(t, "groups")
}

// check holds what must be true at all times.
func (d *driver) check(t *rapid.T) {
	item := d.f.item(d.code)
	if item == nil {
		return
	}
	g, err := Decode(*item)
	if err != nil {
		t.Fatal(err)
	}
	if len(item.Data) > 6<<10 || len(g.Access) > maxAccess {
		t.Fatalf("%d bytes, %d access tokens", len(item.Data), len(g.Access))
	}
	if d.m.dead && (len(g.Access) > 0 || len(g.Claims) > 0 || len(g.Family.Wrap) > 0) {
		t.Fatal("a dead grant keeps something")
	}
	if d.m.redeemed && len(g.Code.Wrap) > 0 {
		t.Fatal("the redeemed code still opens the data key")
	}
}
