package tokens

import (
	"context"
	"net/http"

	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
)

// revoke is RFC 7009. A token that is unknown, dead or another client's is answered like one that was revoked, 200
// (section 2.2). token_type_hint is not needed: a token says what it is.
func (h *Handler) revoke(ctx context.Context, w http.ResponseWriter, r request) error {
	token := r.form.Get("token")
	if token == "" {
		return oauth.NewError(oauth.InvalidRequest, "token is missing")
	}
	id, _ := grants.GrantID(token)
	client, item, err := h.authenticate(ctx, r, id)
	if err != nil {
		return err
	}
	if id != "" {
		if err := h.Grants.RevokeToken(ctx, item, token, client.ID); err != nil {
			return err
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}
