package signin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
)

// asked reports whether the consent page was shown, rather than the provider asked at once.
func (b *browser) asked(v url.Values) bool {
	b.r.t.Helper()
	resp := b.authorize(v)
	switch resp.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusFound:
		if !strings.HasPrefix(resp.Header.Get("Location"), b.r.provider.URL) {
			b.r.t.Errorf("sent to %s", resp.Header.Get("Location"))
		}
		return false
	}
	b.r.t.Fatalf("status %d", resp.StatusCode)
	return false
}

func TestB06_RememberedApproval(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	location(t, b.signIn(r.params("scope", "mcp images"), "ann"), 302)
	approved := b.cookies[approvalsCookie]
	if approved == "" {
		t.Fatal("nothing was remembered")
	}
	if b.asked(r.params("scope", "mcp images")) || b.asked(r.params("scope", "images mcp", "state", "other", "code_challenge", oauth.S256Challenge(strings.Repeat("v", 43)))) {
		t.Error("the same person is asked again about the same")
	}
	// The whole way, without a page.
	u := location(t, b.get(r.provider.signIn(location(t, b.authorize(r.params("scope", "mcp images")), 302), "ann")), 302)
	if u.Query().Get("code") == "" {
		t.Errorf("sent to %s", u)
	}

	otherClient := r.register(`{"client_name":"Other","redirect_uris":["` + webRedirect + `"]}`)
	for name, v := range map[string]url.Values{
		"other client":       r.params("scope", "mcp images", "client_id", otherClient),
		"other redirect URI": r.params("scope", "mcp images", "redirect_uri", "https://client.example/other"),
		"more scopes":        r.params("scope", "mcp images offline_access"),
		"fewer scopes":       r.params("scope", "mcp"),
		"prompt=consent":     r.params("scope", "mcp images", "prompt", "consent"),
		"prompt with more":   r.params("scope", "mcp images", "prompt", "login consent"),
	} {
		t.Run(name, func(t *testing.T) {
			if !b.asked(v) {
				t.Error("the page was skipped")
			}
		})
	}
	t.Run("A12 prompt=none", func(t *testing.T) {
		page := wantPage(t, b.authorize(r.params("scope", "mcp images", "prompt", "none")), 400)
		if linkOf(t, page).Query().Get("error") != "consent_required" {
			t.Error("not told so")
		}
	})
	t.Run("flipped byte", func(t *testing.T) {
		for _, i := range []int{3, 20, len(approved) - 2} {
			b.cookies[approvalsCookie] = flip(approved, i)
			if !b.asked(r.params("scope", "mcp images")) {
				t.Errorf("byte %d", i)
			}
		}
	})
	t.Run("expired", func(t *testing.T) {
		b.cookies[approvalsCookie] = approved
		r.now = r.now.Add(approvalLife)
		r.table.reset()
		// The registration has gone by then too; a listed client stands in for one that is used every day.
		fingerprint := request{redirectKind: oauth.RedirectHTTPS}.fingerprint(r.h.Resource)
		a := approvals{}.with("user", fingerprint, r.now.Add(-approvalLife))
		if a.covers(request{redirectKind: oauth.RedirectHTTPS}, r.h.Resource, r.now) {
			t.Error("the page was skipped")
		}
	})
}

func TestB06_AnotherUserComesBack(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	location(t, b.signIn(r.params(), "ann"), 302)
	at := location(t, b.authorize(r.params()), 302) // remembered
	writes := r.table.writes
	again := location(t, b.get(r.provider.signIn(at, "bob")), 302)
	if r.table.writes != writes {
		t.Error("a grant was made")
	}
	if b.cookies[approvalsCookie] != "" || len(b.transactions()) != 0 {
		t.Errorf("cookies %v were left", b.cookies)
	}
	if !strings.HasPrefix(again.String(), testIssuer+"/authorize?") || again.Query().Get("prompt") != "consent" {
		t.Fatalf("sent to %s", again)
	}
	u := location(t, b.signIn(again.Query(), "bob"), 302)
	if u.Query().Get("code") == "" || u.Query().Get("state") != "the client's state" {
		t.Errorf("sent to %s", u)
	}
	if b.asked(r.params()) {
		t.Error("bob's own approval was not remembered")
	}
	if r.provider.signIn(location(t, b.authorize(r.params()), 302), "ann"); !strings.Contains(r.log.String(), "another user") {
		t.Error("no audit event")
	}
}

func TestB06_NeverRemembered(t *testing.T) {
	r := newRig(t)
	for name, v := range map[string]url.Values{"loopback": r.nativeParams(), "private-use scheme": r.params("client_id", r.app, "redirect_uri", appRedirect)} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			b := r.browser()
			location(t, b.signIn(v, "ann"), 302)
			if b.cookies[approvalsCookie] != "" || !b.asked(v) {
				t.Error("an approval was remembered")
			}
		})
	}
}

func TestApprovalsAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	fingerprint := func(i int) string { return fmt.Sprintf("%0*d", hashBytes, i) }
	var a approvals
	for i := range 30 {
		a = a.with("ann", fingerprint(i), now.Add(time.Duration(i)*time.Minute))
	}
	if len(a.entries) != maxApprovals || a.entries[0].fingerprint != fingerprint(29) || a.entries[19].fingerprint != fingerprint(10) {
		t.Errorf("%d entries", len(a.entries))
	}
	if again := a.with("ann", fingerprint(29), now); len(again.entries) != maxApprovals {
		t.Errorf("approving again made %d entries", len(again.entries))
	}
	if other := a.with("bob", fingerprint(1), now); len(other.entries) != 1 || other.user != "bob" {
		t.Error("one person's approvals went to another")
	}
	if later := a.with("ann", fingerprint(99), now.Add(2*approvalLife)); len(later.entries) != 1 {
		t.Error("expired approvals were kept")
	}
	if got, err := decodeApprovals(a.encode()); err != nil || got.user != a.user || !slices.Equal(got.entries, a.entries) {
		t.Errorf("decoded %v, %v", got, err)
	}
	if n := len(a.encode()); n > 700 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzDecodeTransaction(f *testing.F) {
	f.Add(transaction{kind: 1, clientID: "c", scopes: []string{"mcp"}, challenge: oauth.S256Challenge("x")}.encode())
	f.Add([]byte{codecVersion})
	f.Add([]byte{codecVersion, 0, 0, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		tx, err := decodeTransaction(b)
		if err != nil {
			return
		}
		if again := tx.encode(); string(again) != string(b) {
			t.Errorf("%q encodes again as %q", b, again)
		}
	})
}

func FuzzDecodeApprovals(f *testing.F) {
	f.Add(approvals{user: "u"}.with("u", strings.Repeat("f", hashBytes), time.Unix(1, 0)).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeApprovals(b)
		if err != nil {
			return
		}
		if again := a.encode(); string(again) != string(b) {
			t.Errorf("%q encodes again as %q", b, again)
		}
	})
}
