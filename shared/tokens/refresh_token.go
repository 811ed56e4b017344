package tokens

import (
	"context"
	"errors"
	"fmt"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/upstream"
)

// refreshToken refreshes an access token (RFC 6749 section 6).
func (h *Handler) refreshToken(ctx context.Context, r request) (clients.Client, grants.Issued, error) {
	token := r.form.Get("refresh_token")
	if token == "" {
		return clients.Client{}, grants.Issued{}, oauth.NewError(oauth.InvalidRequest, "refresh_token is missing")
	}
	scopes, err := oauth.ParseScope(r.form.Get("scope"))
	if err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	id, _ := grants.KindRefresh.GrantID(token)
	client, item, err := h.authenticate(ctx, r, id)
	if err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	if err := allowed(client, oauth.GrantRefreshToken); err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	issued, err := h.Grants.Refresh(ctx, item, grants.RefreshRequest{
		Token: token, ClientID: client.ID, Scopes: scopes, Resource: h.Resource.String(),
	}, h.renew)
	return client, issued, err
}

// renew asks the identity provider. Only its clear refusal ends the grant: an answer that does not stand up to
// verification, a provider that is down and one that does not know this server any more all pass, or one mistake of an
// operator would sign everybody out.
func (h *Handler) renew(ctx context.Context, refreshToken string, previous policy.Identity) (grants.Renewal, error) {
	if h.Upstream == nil {
		return grants.Renewal{}, errors.New("no identity provider is configured")
	}
	session, err := h.Upstream(ctx, refreshToken, previous)
	renewal := grants.Renewal{Identity: session.Identity, RefreshToken: session.RefreshToken}
	if errors.Is(err, upstream.ErrRejected) {
		return renewal, fmt.Errorf("%w: %w", grants.ErrSessionEnded, err)
	}
	return renewal, err
}
