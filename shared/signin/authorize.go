package signin

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/web"
)

// ask is GET /authorize: it checks the request and shows the consent page, or, when this browser remembers an approval,
// goes on to the identity provider. It stores nothing.
func (h *Handler) ask(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	params, err := oauth.ParseQuery(r.URL.RawQuery)
	if err != nil {
		h.refuse(w, r, clients.Client{}, refusal{err: oauth.AsError(err)})
		return
	}
	clientID := params.Get("client_id")
	if clientID == "" {
		h.refuse(w, r, clients.Client{}, refusal{err: oauth.NewError(oauth.InvalidRequest, "client_id is missing")})
		return
	}
	client, err := h.Clients.Lookup(ctx, clientID)
	if err != nil {
		h.refuse(w, r, clients.Client{}, refusal{err: oauth.AsError(err)})
		return
	}
	audit.Add(ctx, slog.String("client_id", client.ID))
	request, refused := check(params, client, h.terms())
	if refused != nil {
		h.refuse(w, r, client, *refused)
		return
	}
	t := h.newTransaction(request)
	if !t.fit() {
		e := oauth.NewError(oauth.InvalidRequest, "client_id, redirect_uri and state are too long together")
		h.refuse(w, r, client, refusal{err: e, redirectURI: request.redirectURI, state: request.state})
		return
	}
	if wantsJSON(r) {
		// A program has asked whether the request is good. A person must open it, so nothing begins here.
		web.SetRedirectHeaders(w.Header())
		oauth.WriteJSON(w, http.StatusOK, struct {
			ClientID string `json:"client_id"`
			Next     string `json:"next"`
		}{client.ID, "open this address in a browser"})
		return
	}

	remembered, err := h.approvals(ctx, r)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	if remembered.covers(request, h.Resource, h.Now()) {
		t.approval, t.approvedBy = "", remembered.user
		// Sealed for no one to open, only to learn which key is primary.
		sealed, err := h.Sealer.Seal(ctx, purposeForm, "", nil)
		if err != nil {
			h.fail(w, r, err, "")
			return
		}
		key, _ := seal.KeyID(sealed)
		h.approve(w, r, t, key)
		return
	}

	csrf, err := h.renewCSRF(ctx, w, r)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	sealed, err := h.sealForm(ctx, t, csrf)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	web.WriteConsent(w, h.consentPage(request, sealed))
}

// newTransaction begins a transaction for a checked request.
func (h *Handler) newTransaction(r request) transaction {
	t := transaction{
		id: grants.NewID(h.Rand), issued: h.Now(),
		clientID: r.client.ID, clientName: displayName(r.client), kind: r.client.Kind,
		redirectURI: r.redirectURI, state: r.state, challenge: r.challenge, scopes: r.scopes,
		approval: r.fingerprint(h.Resource),
	}
	for _, prompt := range []string{"login", "select_account"} { // consent is ours to ask
		if slices.Contains(r.prompts, prompt) {
			t.prompts = append(t.prompts, prompt)
		}
	}
	return t
}

// restartURL is the authorization request of a transaction once more, with the consent page.
func (h *Handler) restartURL(t transaction) string {
	values := url.Values{
		"response_type": {"code"}, "client_id": {t.clientID}, "redirect_uri": {t.redirectURI},
		"code_challenge": {t.challenge}, "code_challenge_method": {oauth.MethodS256},
		"scope": {oauth.JoinScope(t.scopes)}, "resource": {h.Resource.String()}, "prompt": {"consent"},
	}
	if t.state != "" {
		values.Set("state", t.state)
	}
	return h.Issuer + oauth.PathAuthorize + "?" + values.Encode()
}
