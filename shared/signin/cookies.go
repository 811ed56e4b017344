package signin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"mcp-access-oauth/shared/seal"
)

// The cookies. The __Host- prefix keeps every other host, sibling subdomains included, from setting them (RFC 6265bis
// section 4.1.3.2). Lax, for the way back from the identity provider is a top-level navigation from another site.
const (
	csrfCookie        = "__Host-csrf"
	approvalsCookie   = "__Host-approvals"
	transactionPrefix = "__Host-tx-"
)

// The purposes that values are sealed, and secrets derived, for.
const (
	purposeCSRF        seal.Purpose = "signin csrf"
	purposeForm        seal.Purpose = "signin form"
	purposeTransaction seal.Purpose = "signin transaction"
	purposeApprovals   seal.Purpose = "signin approvals"
	purposeVerifier    seal.Purpose = "signin upstream verifier"
	purposeNonce       seal.Purpose = "signin upstream nonce"
)

const (
	// csrfLife is renewed with every page, so that it outlives the form.
	csrfLife = time.Hour
	// maxTransactions is how many sign-ins one browser may have under way. Each cookie may take 2 KB, and API Gateway
	// takes 10,240 bytes of headers in all.
	maxTransactions = 3
	// maxSealed bounds what we try to open.
	maxSealed = 4096
	csrfBytes = 16
)

func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func dropCookie(w http.ResponseWriter, name string) { setCookie(w, name, "", -time.Second) }

// openCookie gives the content of the first cookie of that name which is ours; a browser may send several. ok is false
// when there is none. The error is a passing fault.
func (h *Handler) openCookie(ctx context.Context, r *http.Request, name string, purpose seal.Purpose, bind string) (plain []byte, ok bool, err error) {
	for _, c := range r.CookiesNamed(name) {
		switch plain, err := h.open(ctx, purpose, bind, c.Value); {
		case err == nil:
			return plain, true, nil
		case !errors.Is(err, seal.ErrInvalid):
			return nil, false, err
		}
	}
	return nil, false, nil
}

func (h *Handler) open(ctx context.Context, purpose seal.Purpose, bind, sealed string) ([]byte, error) {
	if sealed == "" || len(sealed) > maxSealed {
		return nil, seal.ErrInvalid
	}
	return h.Sealer.Open(ctx, purpose, bind, sealed)
}

// csrf is the secret that ties forms to this browser, or nil when the browser has none that is valid.
func (h *Handler) csrf(ctx context.Context, r *http.Request) ([]byte, error) {
	for _, c := range r.CookiesNamed(csrfCookie) {
		plain, err := h.open(ctx, purposeCSRF, csrfCookie, c.Value)
		if err != nil && !errors.Is(err, seal.ErrInvalid) {
			return nil, err
		}
		reader := newReader(plain)
		secret, issued := []byte(reader.text()), reader.time()
		if err == nil && reader.finish() == nil && len(secret) == csrfBytes && h.Now().Before(issued.Add(csrfLife)) {
			return secret, nil
		}
	}
	return nil, nil
}

// renewCSRF sets the cookie anew. A valid secret is kept, so that the forms of other tabs go on working.
func (h *Handler) renewCSRF(ctx context.Context, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	secret, err := h.csrf(ctx, r)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		secret = h.random(csrfBytes)
	}
	var content writer
	content.text(string(secret))
	content.time(h.Now())
	sealed, err := h.Sealer.Seal(ctx, purposeCSRF, csrfCookie, content.bytes())
	if err != nil {
		return nil, fmt.Errorf("sealing the form's cookie: %w", err)
	}
	setCookie(w, csrfCookie, sealed, csrfLife)
	return secret, nil
}

// sealForm puts a transaction into the consent page, for the browser that holds the CSRF secret alone.
func (h *Handler) sealForm(ctx context.Context, t transaction, csrf []byte) (string, error) {
	sealed, err := h.Sealer.Seal(ctx, purposeForm, formBinding(csrf), append([]byte(t.id), t.encode()...))
	if err != nil {
		return "", fmt.Errorf("sealing the request: %w", err)
	}
	return sealed, nil
}

// openForm is the transaction of a form. The error is seal.ErrInvalid for one that is not ours, or not this browser's.
func (h *Handler) openForm(ctx context.Context, sealed string, csrf []byte) (transaction, error) {
	plain, err := h.open(ctx, purposeForm, formBinding(csrf), sealed)
	if err != nil {
		return transaction{}, err
	}
	if len(plain) < transactionIDLength {
		return transaction{}, seal.ErrInvalid
	}
	t, err := decodeTransaction(plain[transactionIDLength:])
	if err != nil {
		return transaction{}, seal.ErrInvalid // of a version before or after ours
	}
	t.id = string(plain[:transactionIDLength])
	return t, nil
}

func formBinding(csrf []byte) string { return base64.RawURLEncoding.EncodeToString(csrf) }

// transactionIDLength is that of grants.NewID.
const transactionIDLength = 22

// validTransactionID looks at the form alone, before anything is opened for it.
func validTransactionID(id string) bool {
	return len(id) == transactionIDLength && strings.Trim(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// openTransaction is the transaction under this id that this browser holds; ok is false when there is none.
func (h *Handler) openTransaction(ctx context.Context, r *http.Request, id string) (t transaction, ok bool, err error) {
	if !validTransactionID(id) {
		return transaction{}, false, nil
	}
	plain, ok, err := h.openCookie(ctx, r, transactionPrefix+id, purposeTransaction, id)
	if err != nil || !ok {
		return transaction{}, false, err
	}
	if t, err = decodeTransaction(plain); err != nil {
		return transaction{}, false, nil // of a version before or after ours
	}
	t.id = id
	return t, t.fresh(h.Now()), nil
}

// keepTransaction binds the transaction to this browser, and expires the browser's oldest if there would be too many.
func (h *Handler) keepTransaction(ctx context.Context, w http.ResponseWriter, r *http.Request, t transaction) error {
	sealed, err := h.Sealer.Seal(ctx, purposeTransaction, t.id, t.encode())
	if err != nil {
		return fmt.Errorf("sealing the transaction: %w", err)
	}
	var others []transaction
	seen := map[string]bool{t.id: true}
	for _, c := range r.Cookies() {
		id, ok := strings.CutPrefix(c.Name, transactionPrefix)
		if !ok || seen[id] || len(seen) > 16 {
			continue
		}
		seen[id] = true
		other, ok, err := h.openTransaction(ctx, r, id)
		if err != nil {
			return err
		}
		if !ok {
			dropCookie(w, c.Name)
			continue
		}
		others = append(others, other)
	}
	for len(others) >= maxTransactions {
		oldest := 0
		for i := range others {
			if others[i].issued.Before(others[oldest].issued) {
				oldest = i
			}
		}
		dropCookie(w, transactionPrefix+others[oldest].id)
		others = append(others[:oldest], others[oldest+1:]...)
	}
	setCookie(w, transactionPrefix+t.id, sealed, transactionLife)
	return nil
}

// approvals are what this browser remembers; none when it has no valid cookie.
func (h *Handler) approvals(ctx context.Context, r *http.Request) (approvals, error) {
	plain, ok, err := h.openCookie(ctx, r, approvalsCookie, purposeApprovals, approvalsCookie)
	if err != nil || !ok {
		return approvals{}, err
	}
	a, err := decodeApprovals(plain)
	if err != nil {
		return approvals{}, nil // of a version before or after ours
	}
	return a, nil
}

func (h *Handler) keepApprovals(ctx context.Context, w http.ResponseWriter, a approvals) error {
	sealed, err := h.Sealer.Seal(ctx, purposeApprovals, approvalsCookie, a.encode())
	if err != nil {
		return fmt.Errorf("sealing approvals: %w", err)
	}
	setCookie(w, approvalsCookie, sealed, approvalLife)
	return nil
}
