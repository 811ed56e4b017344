package grants

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"time"

	"mcp-access-oauth/shared/policy"
)

// Lifetimes are how long things hold. A zero member means its default.
type Lifetimes struct {
	// Access is the life of an access token; 15 minutes. It is also how old a person's claims may grow before the
	// identity provider is asked again, where it gave us a refresh token.
	Access time.Duration
	// Idle ends a grant that was not used for so long; 30 days.
	Idle time.Duration
	// Age ends a grant so long after the sign-in, however much it is used; 90 days.
	Age time.Duration
	// AgeUnchecked is Age where the identity provider gave no refresh token, so that nothing would tell us of a person
	// who has left: 7 days.
	AgeUnchecked time.Duration
}

const (
	// codeLife is how long a code may be redeemed (RFC 6749 section 4.1.2 allows ten minutes at most).
	codeLife = time.Minute
	// retryWindow is how long the predecessor of a refresh token may be retried once the successor has been used.
	retryWindow = time.Minute
	// leaseLife is how long one caller alone may ask the identity provider about a grant.
	leaseLife = 15 * time.Second
	// keepTombstone is the least time that an item stays, revoked or not: longer than the ten minutes of the cookie
	// that could create the grant once more.
	keepTombstone = time.Hour
	// maxAccess is the largest number of live access tokens of one grant.
	maxAccess = 8
)

func (l Lifetimes) withDefaults() Lifetimes {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&l.Access, 15*time.Minute)
	set(&l.Idle, 30*24*time.Hour)
	set(&l.Age, 90*24*time.Hour)
	set(&l.AgeUnchecked, 7*24*time.Hour)
	return l
}

// slack is the rest of life below which an access token is not worth handing out again: 2 minutes, for clients refresh
// when one is left.
func (l Lifetimes) slack() time.Duration { return min(2*time.Minute, l.Access/4) }

// Moment is what a transition may know beside the grant and the presented secret: the time, a source of randomness, and
// the lifetimes in force.
type Moment struct {
	Now       time.Time
	Rand      io.Reader // nil means crypto/rand
	Lifetimes Lifetimes
}

func (m Moment) random() ([]byte, error) {
	source := m.Rand
	if source == nil {
		source = rand.Reader
	}
	b := make([]byte, 32)
	if _, err := io.ReadFull(source, b); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return b, nil
}

// stamp is a point in time as the item keeps it: milliseconds since 1970, of constant width; 0 is never.
type stamp int64

func at(t time.Time) stamp { return stamp(t.UnixMilli()) }

func (s stamp) add(d time.Duration) stamp { return s + stamp(d.Milliseconds()) }

func (s stamp) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(s)).UTC()
}

// Grant is one person's leave for one client, with all that was issued on it. Its transitions return the grant to be
// written instead, or nil when nothing changes; they never change the receiver.
type Grant struct {
	ID          string   `json:"id"`
	ClientID    string   `json:"client"`
	ClientName  string   `json:"client_name,omitempty"`
	RedirectURI string   `json:"redirect_uri,omitempty"`
	Challenge   string   `json:"challenge,omitempty"` // S256 code challenge
	Scopes      []string `json:"scopes,omitempty"`
	Resource    string   `json:"resource,omitempty"`
	User        string   `json:"user,omitempty"` // hash of issuer and subject; empty when a client acts for itself

	Created  stamp `json:"created"`
	AuthTime stamp `json:"auth_time,omitempty"`
	LastUsed stamp `json:"last_used,omitempty"`
	Ends     stamp `json:"ends"`
	Revoked  stamp `json:"revoked,omitempty"`

	Code     codeState     `json:"code,omitzero"`
	Family   refreshState  `json:"refresh,omitzero"`
	Access   []accessState `json:"access,omitempty"`
	Upstream upstreamState `json:"upstream,omitzero"`
	Claims   []byte        `json:"claims,omitempty"` // policy.Identity under the data key
}

// codeState is the authorization code. Its hash outlives its redemption, so that a replay is known for one.
type codeState struct {
	Hash     []byte `json:"hash,omitempty"`
	Expires  stamp  `json:"expires,omitempty"`
	Redeemed stamp  `json:"redeemed,omitempty"`
	Wrap     []byte `json:"wrap,omitempty"` // data key under the code; dropped at redemption
}

// accessState is one live access token.
type accessState struct {
	Hash    []byte `json:"hash"`
	Expires stamp  `json:"expires"`
	Wrap    []byte `json:"wrap"` // data key under the token
	// Generation is that of the refresh token which came in the same answer; the token's first use is its first use.
	Generation generation `json:"generation"`
	Used       bool       `json:"used,omitempty"`
	Scopes     []string   `json:"scopes,omitempty"` // where they are narrower than the grant's
}

// refreshState is the current refresh token and what a retry of its predecessor needs.
type refreshState struct {
	Generation generation `json:"generation"`
	// MACKey proves old generations genuine. It opens nothing: who reads it in the table could at most forge an old
	// token, which ends the grant.
	MACKey []byte `json:"mac_key,omitempty"`
	Hash   []byte `json:"hash,omitempty"`
	Wrap   []byte `json:"wrap,omitempty"` // data key under the current token
	Used   stamp  `json:"used,omitempty"` // first use of the current token, or of an access token of its generation

	Previous []byte `json:"previous,omitempty"` // hash of the predecessor
	Response []byte `json:"response,omitempty"` // what the predecessor was answered, under the predecessor
}

// upstreamState is the session at the identity provider.
type upstreamState struct {
	Token      []byte `json:"token,omitempty"`   // the provider's refresh token under the data key
	Checked    stamp  `json:"checked,omitempty"` // when the provider last vouched for the person
	Lease      string `json:"lease,omitempty"`   // random name of the caller that is asking the provider
	LeaseUntil stamp  `json:"lease_until,omitempty"`
}

// NewGrant is what a sign-in has found out. ID is the transaction's id.
type NewGrant struct {
	ID                   string
	ClientID, ClientName string
	RedirectURI          string
	CodeChallenge        string
	Scopes               []string
	Resource             string
	Identity             policy.Identity
	UpstreamRefreshToken string
	AuthTime             time.Time // zero means now
}

// New makes the grant of a completed sign-in and its code.
func New(m Moment, n NewGrant) (Grant, string, error) {
	g, dataKey, err := blank(m, n)
	if err != nil {
		return Grant{}, "", err
	}
	g.RedirectURI, g.Challenge, g.User = n.RedirectURI, n.CodeChallenge, UserIndex(n.Identity.User())
	if n.UpstreamRefreshToken != "" {
		g.Upstream = upstreamState{Token: g.box(dataKey, purposeUpstream, []byte(n.UpstreamRefreshToken)), Checked: g.Created}
	}
	code, err := newSecret(m, KindCode, g.ID)
	if err != nil {
		return Grant{}, "", err
	}
	hash := digest(code)
	g.Code = codeState{Hash: hash[:], Expires: g.Created.add(codeLife), Wrap: g.wrap(code, dataKey)}
	g.Ends = g.Code.Expires
	return g, code, nil
}

// NewForClient makes the grant of a client that acts for itself (RFC 6749 section 4.4): no person, no code, no refresh
// token, and one access token. Its identity has the client's id as subject and no issuer, so that it equals no person's.
func NewForClient(m Moment, n NewGrant) (Grant, Issued, error) {
	n.Identity = policy.Identity{Subject: n.ClientID}
	g, dataKey, err := blank(m, n)
	if err != nil {
		return Grant{}, Issued{}, err
	}
	issued := Issued{GrantID: g.ID, Identity: n.Identity, Scopes: g.Scopes}
	if err := g.mint(m, dataKey, g.Scopes, &issued); err != nil {
		return Grant{}, Issued{}, err
	}
	g.slide(m)
	issued.GrantEnds = g.Ends.time()
	return g, issued, nil
}

func blank(m Moment, n NewGrant) (Grant, []byte, error) {
	dataKey, err := m.random()
	if err != nil {
		return Grant{}, nil, err
	}
	now := at(m.Now)
	g := Grant{
		ID: n.ID, ClientID: n.ClientID, ClientName: n.ClientName, Scopes: slices.Clone(n.Scopes), Resource: n.Resource,
		Created: now, AuthTime: now, LastUsed: now,
	}
	if !n.AuthTime.IsZero() {
		g.AuthTime = at(n.AuthTime)
	}
	return g, dataKey, g.sealIdentity(dataKey, n.Identity)
}

// live reports whether anything of the grant may still be used.
func (g Grant) live(m Moment) bool { return g.Revoked == 0 && at(m.Now) < g.Ends }

// ageLimit is when the grant ends however much it is used.
func (g Grant) ageLimit(m Moment) stamp {
	if len(g.Upstream.Token) > 0 {
		return g.Created.add(m.Lifetimes.Age)
	}
	return g.Created.add(m.Lifetimes.AgeUnchecked)
}

// slide records a use: the grant ends when it has been idle for long enough, or at its age limit. Without a refresh
// token it ends with its last access token.
func (g *Grant) slide(m Moment) {
	g.LastUsed = at(m.Now)
	if len(g.Family.Hash) > 0 {
		g.Ends = min(g.LastUsed.add(m.Lifetimes.Idle), g.ageLimit(m))
		return
	}
	g.Ends = g.LastUsed
	for _, a := range g.Access {
		g.Ends = max(g.Ends, a.Expires)
	}
}

// prune drops dead access tokens, and the way to the data key that each of them was, from a slice of its own.
func (g *Grant) prune(m Moment) {
	now := at(m.Now)
	g.Access = slices.DeleteFunc(slices.Clone(g.Access), func(a accessState) bool { return a.Expires <= now })
}

// mint adds an access token and notes it in issued. A ninth evicts the one nearest its expiry.
func (g *Grant) mint(m Moment, dataKey []byte, scopes []string, issued *Issued) error {
	token, err := newSecret(m, KindAccess, g.ID)
	if err != nil {
		return err
	}
	hash := digest(token)
	a := accessState{
		Hash: hash[:], Wrap: g.wrap(token, dataKey), Generation: g.Family.Generation,
		Expires: min(at(m.Now).add(m.Lifetimes.Access), g.ageLimit(m)),
	}
	if len(g.Upstream.Token) > 0 {
		// Claims are never older than one access-token life, so that a lost group takes its tools away within one.
		a.Expires = min(a.Expires, g.Upstream.Checked.add(m.Lifetimes.Access))
	}
	if !slices.Equal(scopes, g.Scopes) {
		a.Scopes = slices.Clone(scopes)
	}
	g.prune(m)
	for len(g.Access) >= maxAccess {
		nearest := 0
		for i := range g.Access {
			if g.Access[i].Expires < g.Access[nearest].Expires {
				nearest = i
			}
		}
		g.Access = slices.Delete(g.Access, nearest, nearest+1)
	}
	g.Access = append(g.Access, a)
	issued.AccessToken, issued.Expires, issued.Scopes = token, a.Expires.time(), slices.Clone(scopes)
	return nil
}

// find is the live access token, or -1. Every hash is compared, and each in constant time.
func (g Grant) find(m Moment, token string) int {
	found := -1
	for i, a := range g.Access {
		if matches(a.Hash, token) && at(m.Now) < a.Expires {
			found = i
		}
	}
	return found
}

// tombstone is what stays of a revoked grant: that it was.
func (g Grant) tombstone(m Moment) *Grant {
	now := at(m.Now)
	return &Grant{ID: g.ID, ClientID: g.ClientID, Created: g.Created, Ends: now.add(keepTombstone), Revoked: now}
}

// Revoke ends the grant and everything issued on it, from the next request on. It returns nil if it has ended already.
func (g Grant) Revoke(m Moment) *Grant {
	if !g.live(m) {
		return nil
	}
	return g.tombstone(m)
}

// Issued is the answer to a redemption or a refresh.
type Issued struct {
	AccessToken  string
	Expires      time.Time
	RefreshToken string // empty when the client may not have one
	Scopes       []string

	GrantID  string
	Identity policy.Identity
	// GrantEnds is when the grant ends if it is not used again.
	GrantEnds time.Time
}
