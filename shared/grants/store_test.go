package grants

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/table"
)

// The budget of DESIGN.md, "What every layer promises". Reads by the fixture itself stand for the joint read of client
// and grant at the token endpoint.
func TestCallBudget(t *testing.T) {
	f := newFixture(t)
	var code string
	f.budget("create", 0, 1, func() { code = f.create(newGrant("upstream-1")) })
	var first, second Issued
	f.budget("redeem", 1, 1, func() { first, _ = f.redeem(redemption(code)) })
	f.budget("first call", 1, 1, func() { f.works(first.AccessToken) })
	f.budget("next call", 1, 0, func() { f.works(first.AccessToken) })
	f.budget("refresh", 1, 1, func() { second = f.mustRefresh(first.RefreshToken) })
	f.budget("retry", 1, 0, func() { f.mustRefresh(first.RefreshToken) })
	f.clock.advance(14 * time.Minute)
	p := &provider{says: Renewal{Identity: ada}}
	f.budget("refresh that asks the provider", 1, 2, func() {
		if _, err := f.refreshAsking(second.RefreshToken, p.ask); err != nil {
			t.Fatal(err)
		}
	})
	f.budget("unknown token", 1, 0, func() { f.works("at_" + NewID(nil) + "_" + strings.Repeat("a", 43)) })
	f.budget("malformed token", 0, 0, func() { f.works("at_x") })
	f.budget("refused refresh", 1, 0, func() {
		_, _ = f.Refresh(t.Context(), f.item(second.RefreshToken), RefreshRequest{Token: second.RefreshToken, ClientID: "client-2", Resource: testResource}, nil)
	})
	f.budget("revoke", 1, 1, func() {
		_ = f.RevokeToken(t.Context(), f.item(second.RefreshToken), second.RefreshToken, testClient)
	})
}

func TestAuthenticate_RemembersOnlyTheSameBytes(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	for range 3 {
		if !f.works(first.AccessToken) {
			t.Fatal("access token")
		}
	}
	if err := f.Revoke(t.Context(), first.GrantID, "test"); err != nil {
		t.Fatal(err)
	}
	if f.works(first.AccessToken) {
		t.Error("a revoked token was remembered")
	}

	second := f.signedIn("")
	f.works(second.AccessToken)
	f.works(second.AccessToken)
	f.clock.advance(15 * time.Minute)
	if f.works(second.AccessToken) {
		t.Error("an expired token was remembered")
	}
}

func TestMemory_IsBounded(t *testing.T) {
	var m memory
	key := func(i int) (sum [32]byte) { copy(sum[:], fmt.Sprint(i)); return sum }
	now := time.Unix(1000, 0)
	for i := range 10 * memorySize {
		m.remember(key(i), nil, Access{Expires: now.Add(time.Hour)})
		if _, ok := m.get(key(0), nil, now); !ok {
			t.Fatalf("forgot what is asked for all the time, at %d", i)
		}
	}
	if n := len(m.young) + len(m.old); n > 2*memorySize {
		t.Errorf("%d entries", n)
	}
	if _, ok := m.get(key(1), nil, now); ok {
		t.Error("remembers what nobody asks for")
	}
}

func TestG01_OtherSecretsAreNoBearer(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	first, err := f.redeem(redemption(code))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{
		code, first.RefreshToken, "at" + code[2:], "at" + first.RefreshToken[2:], "", "at_", first.AccessToken + "0",
		strings.ToUpper(first.AccessToken), first.AccessToken[:len(first.AccessToken)-1], " " + first.AccessToken,
	} {
		if f.works(token) {
			t.Errorf("%q works as a bearer", token[:min(3, len(token))])
		}
	}
}

func TestAuthenticate_Fault(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	f.table.before = func(string) error { return table.ErrUnavailable }
	if _, err := f.Authenticate(t.Context(), first.AccessToken); !errors.Is(err, table.ErrUnavailable) || errors.Is(err, ErrInvalidToken) {
		t.Errorf("error %v", err)
	}
}

func TestE06_RevokeToken(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	revoke := func(token, client string) {
		t.Helper()
		if err := f.RevokeToken(t.Context(), f.item(token), token, client); err != nil {
			t.Fatal(err)
		}
	}
	revoke(first.RefreshToken, "client-2")
	revoke(first.AccessToken, "client-2")
	revoke("rt_"+first.GrantID+"_"+strings.Repeat("0", refreshLength), testClient)
	revoke("at_"+NewID(nil)+"_"+strings.Repeat("0", secretLength), testClient)
	if !f.works(first.AccessToken) {
		t.Fatal("a request without effect had one")
	}
	second := f.mustRefresh(first.RefreshToken)
	revoke(first.AccessToken, testClient)
	if f.works(first.AccessToken) || !f.works(second.AccessToken) {
		t.Error("want this access token gone, and it alone")
	}
	revoke(second.RefreshToken, testClient)
	if f.works(second.AccessToken) {
		t.Error("the access token survived its refresh token")
	}
	if !f.audited("grant_revoked") {
		t.Error("no audit event")
	}

	third := f.signedIn("")
	fourth := f.mustRefresh(third.RefreshToken)
	revoke(third.RefreshToken, testClient) // the predecessor: its holder wants the grant gone
	if f.works(fourth.AccessToken) {
		t.Error("revoking the predecessor left the grant alive")
	}
}

func TestE07_RevokeOwned(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	eve := policy.Identity{Issuer: ada.Issuer, Subject: "eve"}
	if err := f.RevokeOwned(t.Context(), eve.User(), first.GrantID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another person's grant: %v", err)
	}
	if err := f.RevokeOwned(t.Context(), eve.User(), NewID(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown grant: %v", err)
	}
	if !f.works(first.AccessToken) {
		t.Fatal("another person revoked the grant")
	}
	if err := f.RevokeOwned(t.Context(), ada.User(), first.GrantID); err != nil {
		t.Fatal(err)
	}
	if f.works(first.AccessToken) {
		t.Error("access token survived")
	}
	if err := f.RevokeOwned(t.Context(), ada.User(), first.GrantID); !errors.Is(err, ErrNotFound) {
		t.Errorf("second time: %v", err)
	}
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	first, second := f.signedIn(""), f.signedIn("")
	machine, err := f.CreateForClient(t.Context(), NewGrant{ID: NewID(nil), ClientID: "robot", Scopes: []string{"mcp"}, Resource: testResource})
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := f.ListByUser(t.Context(), ada.User(), "")
	if err != nil || len(found) != 2 || found[0].ClientName != "Client" {
		t.Errorf("by user: %+v, %v", found, err)
	}
	if live, err := f.HasLiveGrant(t.Context(), testClient); err != nil || !live {
		t.Errorf("live %v, %v", live, err)
	}
	for _, id := range []string{first.GrantID, second.GrantID} {
		if err := f.Revoke(t.Context(), id, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if live, err := f.HasLiveGrant(t.Context(), testClient); err != nil || live {
		t.Errorf("after revocation: live %v, %v", live, err)
	}
	if live, _ := f.HasLiveGrant(t.Context(), "robot"); !live {
		t.Error("the machine's grant is not listed")
	}
	a, err := f.Authenticate(t.Context(), machine.AccessToken)
	if err != nil || a.Identity.Issuer != "" || a.Identity.Subject != "robot" || machine.RefreshToken != "" {
		t.Errorf("machine: %+v, %v", a, err)
	}
	f.clock.advance(15 * time.Minute)
	if live, _ := f.HasLiveGrant(t.Context(), "robot"); live {
		t.Error("the machine's grant outlives its token")
	}
}

func TestIntrospect(t *testing.T) {
	f := newFixture(t)
	first := f.signedIn("")
	second := f.mustRefresh(first.RefreshToken)
	for _, c := range []struct {
		name, token, client string
		active              bool
	}{
		{"access token", second.AccessToken, testClient, true},
		{"refresh token", second.RefreshToken, testClient, true},
		{"predecessor", first.RefreshToken, testClient, false},
		{"another client's", second.AccessToken, "client-2", false},
		{"unknown", "at_" + NewID(nil) + "_" + strings.Repeat("0", secretLength), testClient, false},
	} {
		before := f.item(second.AccessToken)
		in, ok, err := f.Introspect(f.item(c.token), c.token, c.client)
		if err != nil || ok != c.active {
			t.Errorf("%s: active %v, %v", c.name, ok, err)
		}
		if ok && (in.Identity.Subject != "ada" || in.ClientID != testClient || in.Expires.IsZero()) {
			t.Errorf("%s: %+v", c.name, in)
		}
		if f.item(second.AccessToken).Version != before.Version {
			t.Errorf("%s: introspection wrote", c.name)
		}
	}
}

// TestH08_TableDump reads what is stored at every stage of a grant and looks for anything that opens something.
func TestH08_TableDump(t *testing.T) {
	f := newFixture(t)
	secrets := map[string]string{"verifier": testVerifier, "upstream token": "upstream-secret", "e-mail": ada.Email, "group": ada.Groups[0], "subject": `"ada"`}
	look := func(stage, id string) {
		t.Helper()
		items, err := f.table.Get(t.Context(), Key(id))
		if err != nil {
			t.Fatal(err)
		}
		item := items[0]
		hay := [][]byte{item.Data, []byte(item.Key.Partition), []byte(item.Indexes[table.ByUser])}
		var fields [][]byte
		for _, s := range stringsIn(item.Data) {
			hay = append(hay, []byte(s))
			fields = append(fields, []byte(s))
			if raw, err := base64.StdEncoding.DecodeString(s); err == nil {
				hay, fields = append(hay, raw), append(fields, raw)
			}
		}
		for name, secret := range secrets {
			if i := strings.LastIndexByte(secret, '_'); i > 0 {
				secret = secret[i+1:] // the grant's id is public
			}
			for _, h := range hay {
				if bytes.Contains(h, []byte(secret)) {
					t.Errorf("%s: the %s stands in the item", stage, name)
				}
			}
		}
		// Nor is anything stored a key to anything else.
		var g Grant
		if err := json.Unmarshal(item.Data, &g); err != nil {
			t.Fatal(err)
		}
		for _, key := range fields {
			for _, box := range fields {
				for _, purpose := range []string{purposeDataKey, purposeClaims, purposeUpstream, purposeResponse} {
					if _, err := g.openUnder(string(key), purpose, box); err == nil {
						t.Errorf("%s: a stored value opens another as %s", stage, purpose)
					}
					if len(key) == 32 {
						if _, err := g.openBox(key, purpose, box); err == nil {
							t.Errorf("%s: a stored value is a key to %s", stage, purpose)
						}
					}
				}
			}
		}
	}
	n := newGrant("upstream-secret")
	code := f.create(n)
	secrets["code"] = code
	look("signed in", n.ID)
	first, err := f.redeem(redemption(code))
	if err != nil {
		t.Fatal(err)
	}
	secrets["access token"], secrets["refresh token"] = first.AccessToken, first.RefreshToken
	look("redeemed", n.ID)
	second := f.mustRefresh(first.RefreshToken)
	secrets["second access token"], secrets["second refresh token"] = second.AccessToken, second.RefreshToken
	look("refreshed", n.ID)
	f.works(second.AccessToken)
	look("used", n.ID)
	if err := f.Revoke(t.Context(), n.ID, "test"); err != nil {
		t.Fatal(err)
	}
	look("revoked", n.ID)
	for name, secret := range map[string]string{"code": code, "token": first.AccessToken, "refresh token": second.RefreshToken} {
		if strings.Contains(f.audit.String(), secret) {
			t.Errorf("the %s stands in the audit log", name)
		}
	}
}

// stringsIn are all strings of a JSON document.
func stringsIn(data []byte) (found []string) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := decoder.Token()
		if err != nil {
			return found
		}
		if s, ok := token.(string); ok {
			found = append(found, s)
		}
	}
}

// TestH07_CiphertextSwap moves ciphertexts between grants and fields.
func TestH07_CiphertextSwap(t *testing.T) {
	f := newFixture(t)
	alice, bob := f.signedIn("upstream-a"), f.signedIn("upstream-b")
	load := func(token string) (Grant, *table.Item) {
		item := f.item(token)
		g, err := Decode(*item)
		if err != nil {
			t.Fatal(err)
		}
		return g, item
	}
	for name, swap := range map[string]func(to *Grant, from Grant){
		"claims of another grant":    func(to *Grant, from Grant) { to.Claims = from.Claims },
		"wrap of another grant":      func(to *Grant, from Grant) { to.Access[0].Wrap = from.Access[0].Wrap },
		"another field":              func(to *Grant, _ Grant) { to.Claims = to.Upstream.Token },
		"claims and wrap of another": func(to *Grant, from Grant) { to.Claims, to.Access[0].Wrap = from.Claims, from.Access[0].Wrap },
		"flipped bit":                func(to *Grant, _ Grant) { to.Claims[20] ^= 1 },
		"the token's other wrap":     func(to *Grant, _ Grant) { to.Access[0].Wrap = to.Family.Wrap },
	} {
		g, item := load(bob.AccessToken)
		other, _ := load(alice.AccessToken)
		swap(&g, other)
		swapped, err := g.item()
		if err != nil {
			t.Fatal(err)
		}
		swapped.Version = item.Version
		version, err := f.table.Table.Replace(t.Context(), swapped)
		if err != nil {
			t.Fatal(err)
		}
		if f.works(bob.AccessToken) {
			t.Errorf("%s: opened", name)
		}
		restored := *item
		restored.Version = version
		if _, err := f.table.Table.Replace(t.Context(), restored); err != nil {
			t.Fatal(err)
		}
	}
	// A whole item under another key is not taken for a grant.
	_, item := load(alice.AccessToken)
	item.Key = Key(bob.GrantID)
	if _, err := Decode(*item); !errors.Is(err, errCorrupt) {
		t.Errorf("moved item: %v", err)
	}
	if _, err := seal.OpenBox([32]byte{}, nil, nil); !errors.Is(err, seal.ErrInvalid) {
		t.Errorf("empty box: %v", err)
	}
}

func TestRedeem_Unavailable(t *testing.T) {
	f := newFixture(t)
	code := f.create(newGrant(""))
	item := f.item(code)
	f.table.before = func(string) error { return table.ErrUnavailable }
	_, err := f.Redeem(t.Context(), item, redemption(code))
	if oerr := oauth.AsError(err); oerr.HTTPStatus() != 503 {
		t.Errorf("error %v", err)
	}
	f.table.before = nil
	if _, err := f.redeem(redemption(code)); err != nil {
		t.Errorf("the code was lost: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Authenticate(ctx, "at_"+NewID(nil)+"_"+strings.Repeat("0", secretLength)); err == nil {
		t.Error("want an error")
	}
}
