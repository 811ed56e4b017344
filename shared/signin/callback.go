package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/upstream"
)

// callback is GET /callback. Nothing that the request says counts before its state has been found in this browser.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	params, err := oauth.ParseQuery(r.URL.RawQuery)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	t, ok, err := h.openTransaction(ctx, r, params.Get("state"))
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	if !ok {
		h.Audit.Record(ctx, audit.Event{Action: audit.SignIn, Decision: "deny", Reason: "state"})
		h.problem(w, r, problemState)
		return
	}
	audit.Add(ctx, slog.String("client_id", t.clientID), slog.String("grant_id", t.id))

	session, err := h.exchange(ctx, params, t)
	if err != nil {
		h.signInFailed(w, r, params, t, err)
		return
	}
	who := session.Identity
	if t.approvedBy != "" && t.approvedBy != userKey(who) {
		// The consent was somebody else's. This person is asked like anyone who comes for the first time.
		h.Audit.Record(ctx, event(audit.SignIn, "deny", t, who, "another user than the one who approved"))
		dropCookie(w, approvalsCookie)
		dropCookie(w, transactionPrefix+t.id)
		redirect(w, r, h.restartURL(t))
		return
	}
	h.finish(w, r, t, session)
}

// exchange asks the identity provider who came back.
func (h *Handler) exchange(ctx context.Context, params oauth.Params, t transaction) (upstream.Session, error) {
	if err := h.Upstream.CheckIssuer(ctx, params.Get("iss")); err != nil {
		return upstream.Session{}, err
	}
	if params.Get("error") != "" {
		return upstream.Session{}, upstream.AuthorizationError(params.Get("error"), params.Get("error_description"))
	}
	if params.Get("code") == "" {
		return upstream.Session{}, oauth.NewError(oauth.InvalidRequest, "the identity provider sent neither a code nor an error")
	}
	verifier, nonce, err := h.upstreamSecrets(ctx, t)
	if errors.Is(err, seal.ErrInvalid) {
		err = fmt.Errorf("the transaction's key is gone: %w", seal.ErrUnavailable)
	}
	if err != nil {
		return upstream.Session{}, err
	}
	return h.Upstream.Exchange(ctx, params.Get("code"), verifier, nonce)
}

// finish makes the grant and gives its code to the client.
func (h *Handler) finish(w http.ResponseWriter, r *http.Request, t transaction, session upstream.Session) {
	ctx := r.Context()
	who := session.Identity
	// Once more before anything is sent there: the settings may have changed since the request was checked.
	if _, err := oauth.ClassifyRedirectURI(t.redirectURI, h.NativeSchemes); err != nil {
		h.fail(w, r, oauth.NewError(oauth.InvalidRequest, oauth.AsError(err).Description), "")
		return
	}
	code, err := h.Grants.Create(ctx, grants.NewGrant{
		ID: t.id, ClientID: t.clientID, ClientName: t.clientName,
		RedirectURI: t.redirectURI, CodeChallenge: t.challenge, Scopes: t.scopes, Resource: h.Resource.String(),
		Identity: who, UpstreamRefreshToken: session.RefreshToken, AuthTime: h.Now(),
	})
	switch {
	case errors.Is(err, grants.ErrExists):
		h.Audit.Record(ctx, event(audit.SignIn, "deny", t, who, "the transaction was already used"))
		dropCookie(w, transactionPrefix+t.id)
		h.problem(w, r, problemUsed)
		return
	case err != nil:
		h.fail(w, r, fmt.Errorf("creating grant: %w", err), h.backURL(t, oauth.TemporarilyUnavailable))
		return
	}
	h.Audit.Record(ctx, event(audit.SignIn, "allow", t, who, ""))

	// The grant exists. What follows is for next time, and its faults keep no one from this sign-in.
	if t.approval != "" {
		if err := h.remember(ctx, w, r, t, who); err != nil {
			audit.Fault(ctx, err)
		}
	}
	if err := h.keepClient(ctx, t); err != nil {
		audit.Fault(ctx, err)
	}
	dropCookie(w, transactionPrefix+t.id)
	redirect(w, r, h.answerURL(t.redirectURI, t.state, url.Values{"code": {code}}))
}

func (h *Handler) remember(ctx context.Context, w http.ResponseWriter, r *http.Request, t transaction, who policy.Identity) error {
	remembered, err := h.approvals(ctx, r)
	if err != nil {
		return fmt.Errorf("reading approvals: %w", err)
	}
	return h.keepApprovals(ctx, w, remembered.with(userKey(who), t.approval, h.Now()))
}

// keepClient lets the client's metadata document, which a person has now approved, be kept. A registered client's time
// begins when it redeems its code, in one write with that (shared/tokens), so that a sign-in costs no calls for it.
func (h *Handler) keepClient(ctx context.Context, t transaction) error {
	if t.kind != clients.Document {
		return nil
	}
	client, err := h.Clients.Lookup(ctx, t.clientID)
	if err != nil {
		return fmt.Errorf("keeping client: %w", err)
	}
	return h.Clients.Approved(ctx, client)
}

// signInFailed answers a sign-in that the identity provider did not confirm. Where it refused the person, or the person
// turned back there, the client is told so at once, for the person has approved the client. Everything else is a page
// first: a fault of the provider's or the operator's is nothing that a client could explain.
func (h *Handler) signInFailed(w http.ResponseWriter, r *http.Request, params oauth.Params, t transaction, err error) {
	ctx := r.Context()
	switch {
	case errors.Is(err, upstream.ErrUnavailable): // and ErrMisconfigured
		h.fail(w, r, err, h.backURL(t, backCode(err)))
		return
	case errors.Is(err, upstream.ErrRejected) && params.Get("error") == "access_denied":
		h.Audit.Record(ctx, event(audit.SignIn, "deny", t, policy.Identity{}, "access denied by the identity provider"))
		dropCookie(w, transactionPrefix+t.id)
		h.answerError(w, r, t, oauth.NewError(oauth.AccessDenied, "the identity provider refused access, or the person turned back there"))
		return
	case errors.Is(err, upstream.ErrRejected), errors.Is(err, upstream.ErrVerification), errors.Is(err, upstream.ErrNoSubject):
		h.Audit.Record(ctx, event(audit.SignIn, "deny", t, policy.Identity{}, "not confirmed by the identity provider"))
		h.fail(w, r, err, h.backURL(t, backCode(err)))
		return
	}
	h.fail(w, r, err, "")
}

func event(action, decision string, t transaction, who policy.Identity, reason string) audit.Event {
	return audit.Event{
		Action: action, Decision: decision, Issuer: who.Issuer, Subject: who.Subject, Email: who.Email,
		ClientID: t.clientID, GrantID: t.id, Reason: reason,
	}
}
