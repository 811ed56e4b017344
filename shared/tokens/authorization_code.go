package tokens

import (
	"context"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
)

// authorizationCode redeems a code (RFC 6749 section 4.1.3) that is bound to its verifier (RFC 7636 section 4.5).
func (h *Handler) authorizationCode(ctx context.Context, r request) (clients.Client, grants.Issued, error) {
	code := r.form.Get("code")
	if code == "" {
		return clients.Client{}, grants.Issued{}, oauth.NewError(oauth.InvalidRequest, "code is missing")
	}
	id, _ := grants.KindCode.GrantID(code)
	client, item, err := h.authenticate(ctx, r, id)
	if err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	if err := allowed(client, oauth.GrantAuthorizationCode); err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	issued, err := h.Grants.Redeem(ctx, item, grants.Redemption{
		Code:        code,
		ClientID:    client.ID,
		RedirectURI: r.form.Get("redirect_uri"),
		Verifier:    r.form.Get("code_verifier"),
		// By grant type, whether offline_access was asked for or not: clients that forget to ask would otherwise send
		// their users to sign in every quarter of an hour.
		Refreshable: client.Allows(oauth.GrantRefreshToken),
		Arrived:     r.arrived,
	})
	return client, issued, err
}
