package signin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
)

// transactionLife is how long the consent page may be answered, and how long the identity provider may take.
const transactionLife = 10 * time.Minute

// transaction is a checked request on its way: sealed into the form of the consent page, and once approved into a
// cookie. It holds what the callback needs, so that nothing is looked up or stored on the way.
type transaction struct {
	id     string    // becomes the grant's id
	issued time.Time // when it was sealed, to the second
	// key names the keyset key of which verifier and nonce are derived. It is the key that sealed the form, so that the
	// form sent twice asks the identity provider the same twice, even while a new key becomes primary.
	key         string
	clientID    string
	clientName  string
	kind        clients.Kind
	redirectURI string
	state       string
	challenge   string
	scopes      []string
	prompts     []string // what the identity provider is asked: login, select_account
	// approval is the fingerprint to be remembered when the person has signed in. It is empty where nothing may be
	// remembered.
	approval string
	// approvedBy is the user who approved this earlier, when the page was skipped for that. Nobody else may come back.
	approvedBy string
}

// codecVersion begins every encoded value. Another layout gets another number; values on their way then read as
// expired.
const codecVersion = 1

var errEncoding = errors.New("signin: not an encoding of ours")

// encode is a compact binary form: in JSON the longest allowed redirect URI and state would not fit in a cookie of 2 KB.
// The id is not in it: the cookie bears it in its name, to which it is bound.
func (t transaction) encode() []byte {
	var w writer
	w.time(t.issued)
	w.text(t.key)
	w.text(t.clientID)
	w.text(t.clientName)
	w.text(string(rune('0' + t.kind)))
	w.text(t.redirectURI)
	w.text(t.state)
	challenge, _ := base64.RawURLEncoding.DecodeString(t.challenge) // checked when the request came
	w.text(string(challenge))
	w.text(oauth.JoinScope(t.scopes))
	w.text(oauth.JoinScope(t.prompts))
	w.text(t.approval)
	w.text(t.approvedBy)
	return w.bytes()
}

// decodeTransaction reads what encode wrote, and nothing else: what it accepts encodes to the same bytes.
func decodeTransaction(b []byte) (transaction, error) {
	r := newReader(b)
	var t transaction
	t.issued = r.time()
	t.key = r.text()
	t.clientID = r.text()
	t.clientName = r.text()
	kind := r.text()
	t.redirectURI = r.text()
	t.state = r.text()
	t.challenge = base64.RawURLEncoding.EncodeToString([]byte(r.text()))
	t.scopes = r.list()
	t.prompts = r.list()
	t.approval = r.text()
	t.approvedBy = r.text()
	if len(kind) != 1 || kind[0] < '1' || kind[0] > '3' {
		return transaction{}, errEncoding
	}
	t.kind = clients.Kind(kind[0] - '0')
	return t, r.finish()
}

// maxEncoded is how much of a transaction fits in a cookie of 2 KB, name included, once it is sealed and in base64.
const maxEncoded = 1470

// fit shortens the client's name, which is there for the audit trail and lists of grants alone, until the transaction
// fits in its cookie. It reports whether it does.
func (t *transaction) fit() bool {
	over := len(t.encode()) + keyIDBytes - len(t.key) + hashBytes - len(t.approval+t.approvedBy) - maxEncoded
	if over > 0 {
		keep := max(0, len(t.clientName)-over)
		for keep > 0 && !utf8.RuneStart(t.clientName[keep]) {
			keep--
		}
		over -= len(t.clientName) - keep
		t.clientName = t.clientName[:keep]
	}
	return over <= 0
}

// keyIDBytes is the length of seal.Key.ID.
const keyIDBytes = 8

// fresh reports whether the transaction may still go on.
func (t transaction) fresh(now time.Time) bool {
	return !now.Before(t.issued.Add(-time.Minute)) && now.Before(t.issued.Add(transactionLife)) // clocks of two functions differ a little
}

// userKey stands for a person in cookies, which name nobody.
func userKey(who policy.Identity) string {
	sum := sha256.Sum256([]byte("signin user/1\x00" + who.User()))
	return string(sum[:hashBytes])
}

// hashBytes is how much of a SHA-256 stands in cookies: enough that no two values meet.
const hashBytes = 24

// writer and reader put values one after another: strings behind their length in two bytes, times as four bytes of
// seconds. There is one encoding of every value.
type writer struct{ b []byte }

func (w *writer) text(s string) {
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) time(t time.Time) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(t.Unix())) }

func (w *writer) bytes() []byte { return append([]byte{codecVersion}, w.b...) }

type reader struct {
	b   []byte
	bad bool
}

func newReader(b []byte) *reader {
	if len(b) == 0 || b[0] != codecVersion {
		return &reader{bad: true}
	}
	return &reader{b: b[1:]}
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) text() string { return string(r.take(int(binary.BigEndian.Uint16(r.take(2))))) }

func (r *reader) time() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(r.take(4))), 0).UTC()
}

// list reads scopes or prompts, which must be spelled as JoinScope does.
func (r *reader) list() []string {
	joined := r.text()
	values, err := oauth.ParseScope(joined)
	if err != nil || oauth.JoinScope(values) != joined {
		r.bad = true
	}
	return values
}

func (r *reader) more() bool { return !r.bad && len(r.b) > 0 }

func (r *reader) finish() error {
	if r.bad || len(r.b) > 0 {
		return errEncoding
	}
	return nil
}
