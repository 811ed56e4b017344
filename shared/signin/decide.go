package signin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/seal"
)

// decide is POST /authorize, the answer of the consent page. Whatever else the form holds, only the sealed request
// counts.
func (h *Handler) decide(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if !sameOrigin(r.Header, h.Issuer) {
		h.problem(w, r, problemForeign)
		return
	}
	form, err := oauth.ParseForm(w, r)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	csrf, err := h.csrf(ctx, r)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	if csrf == nil {
		h.problem(w, r, problemNoCookie)
		return
	}
	t, err := h.openForm(ctx, form.Get("request"), csrf)
	switch {
	case errors.Is(err, seal.ErrInvalid):
		h.problem(w, r, problemForm)
		return
	case err != nil:
		h.fail(w, r, err, "")
		return
	}
	audit.Add(ctx, slog.String("client_id", t.clientID), slog.String("grant_id", t.id))
	if !t.fresh(h.Now()) {
		p := problemExpired
		p.LinkURL, p.LinkText = h.restartURL(t), "Show the question again"
		h.problem(w, r, p)
		return
	}
	switch form.Get("decision") {
	case "approve":
		key, _ := seal.KeyID(form.Get("request"))
		h.approve(w, r, t, key)
	case "cancel":
		h.Audit.Record(ctx, audit.Event{Action: audit.ConsentDenied, Decision: "deny", ClientID: t.clientID, GrantID: t.id})
		h.answerError(w, r, t, oauth.NewError(oauth.AccessDenied, "the person did not approve the request"))
	default:
		h.fail(w, r, oauth.NewError(oauth.InvalidRequest, "decision must be approve or cancel"), "")
	}
}

// approve binds the transaction to this browser and sends it to the identity provider. key names the keyset key that
// verifier and nonce are derived with.
func (h *Handler) approve(w http.ResponseWriter, r *http.Request, t transaction, key string) {
	ctx := r.Context()
	t.key, t.issued = key, h.Now()
	verifier, nonce, err := h.upstreamSecrets(ctx, t)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	target, err := h.Upstream.AuthorizationURL(ctx, t.id, nonce, verifier, t.prompts...)
	if err != nil {
		h.fail(w, r, err, h.backURL(t, backCode(err)))
		return
	}
	if err := h.keepTransaction(ctx, w, r, t); err != nil {
		h.fail(w, r, err, "")
		return
	}
	event := audit.Event{Action: audit.ConsentApproved, Decision: "allow", ClientID: t.clientID, GrantID: t.id}
	if t.approvedBy != "" {
		event.Reason = "remembered"
	}
	h.Audit.Record(ctx, event)
	redirect(w, r, target)
}

// upstreamSecrets are the PKCE verifier (RFC 7636 section 4.1) and nonce of a transaction. They are derived, so that
// they are stored nowhere, not even in the browser, and a form that is sent twice asks the same twice.
func (h *Handler) upstreamSecrets(ctx context.Context, t transaction) (verifier, nonce string, err error) {
	v, err := h.Sealer.Derive(ctx, purposeVerifier, t.key, t.id)
	if err != nil {
		return "", "", fmt.Errorf("deriving the verifier: %w", err)
	}
	n, err := h.Sealer.Derive(ctx, purposeNonce, t.key, t.id)
	if err != nil {
		return "", "", fmt.Errorf("deriving the nonce: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(v[:]), base64.RawURLEncoding.EncodeToString(n[:]), nil
}

// sameOrigin reports whether a form was sent by a page of ours. Browsers say so in Sec-Fetch-Site, which no page can
// set; older ones in Origin. Whoever says neither is refused, and so is the opaque origin null.
func sameOrigin(header http.Header, issuer string) bool {
	if site, ok := header["Sec-Fetch-Site"]; ok {
		return len(site) == 1 && site[0] == "same-origin"
	}
	origin := header["Origin"]
	return len(origin) == 1 && origin[0] == issuer
}
