package signin

import (
	"crypto/sha256"
	"slices"
	"time"

	"mcp-access-oauth/shared/oauth"
)

const (
	approvalLife = 30 * 24 * time.Hour
	maxApprovals = 20
)

// approvals are what one person has approved in this browser. They travel in one sealed cookie.
type approvals struct {
	user    string
	entries []approval // the newest first
}

type approval struct {
	fingerprint string
	expires     time.Time
}

// fingerprint stands for everything that the person sees and approves: the client with its metadata, where the answer
// goes, the scopes and the resource. It is empty for a request whose approval may not be remembered: a loopback port or a
// private-use scheme may belong to another program tomorrow, so only https counts (RFC 8252 section 8.6).
func (r request) fingerprint(resource oauth.Resource) string {
	if r.redirectKind != oauth.RedirectHTTPS {
		return ""
	}
	scopes := slices.Clone(r.scopes)
	slices.Sort(scopes)
	var w writer
	for _, s := range []string{"approval/1", r.client.ID, r.client.Fingerprint(), r.redirectURI, oauth.JoinScope(scopes), resource.String()} {
		w.text(s)
	}
	sum := sha256.Sum256(w.bytes())
	return string(sum[:hashBytes])
}

// covers decides whether the consent page may be skipped: this request was approved in this browser within 30 days, and
// the client does not ask for the page. Whether the same person comes back is decided at the callback.
func (a approvals) covers(r request, resource oauth.Resource, now time.Time) bool {
	fingerprint := r.fingerprint(resource)
	return a.user != "" && fingerprint != "" && !r.asksConsent() && slices.ContainsFunc(a.entries, func(e approval) bool {
		return e.fingerprint == fingerprint && now.Before(e.expires)
	})
}

// with remembers one more approval of a user. Those of another user go, and so do expired ones and the oldest beyond
// twenty.
func (a approvals) with(user, fingerprint string, now time.Time) approvals {
	next := approvals{user: user, entries: []approval{{fingerprint, now.Add(approvalLife).Truncate(time.Second)}}}
	if a.user != user {
		return next
	}
	for _, e := range a.entries {
		if e.fingerprint != fingerprint && now.Before(e.expires) && len(next.entries) < maxApprovals {
			next.entries = append(next.entries, e)
		}
	}
	return next
}

func (a approvals) encode() []byte {
	var w writer
	w.text(a.user)
	for _, e := range a.entries {
		w.text(e.fingerprint)
		w.time(e.expires)
	}
	return w.bytes()
}

func decodeApprovals(b []byte) (approvals, error) {
	r := newReader(b)
	a := approvals{user: r.text()}
	for r.more() && len(a.entries) < maxApprovals {
		a.entries = append(a.entries, approval{r.text(), r.time()})
	}
	return a, r.finish()
}
