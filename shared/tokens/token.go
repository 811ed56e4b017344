package tokens

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
)

// grantType answers one kind of token request.
type grantType func(context.Context, request) (clients.Client, grants.Issued, error)

// grantTypes are the grant types of the token endpoint; each has a file of its own.
func (h *Handler) grantTypes() map[string]grantType {
	return map[string]grantType{
		oauth.GrantAuthorizationCode: h.authorizationCode,
		oauth.GrantRefreshToken:      h.refreshToken,
		oauth.GrantClientCredentials: h.clientCredentials,
	}
}

// response is RFC 6749 section 5.1.
type response struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
}

// token is the token endpoint (RFC 6749 section 3.2). What can be refused without looking anything up is refused first,
// before an assertion could be used up for it.
func (h *Handler) token(ctx context.Context, w http.ResponseWriter, r request) error {
	name := r.form.Get("grant_type")
	if name == "" {
		return oauth.NewError(oauth.InvalidRequest, "grant_type is missing")
	}
	serve, ok := h.grantTypes()[name]
	if !ok {
		return oauth.NewError(oauth.UnsupportedGrantType, "grant_type must be authorization_code, refresh_token or client_credentials")
	}
	audit.Add(ctx, slog.String("grant_type", name))
	// RFC 8707 section 2.2: the one resource in any of its spellings, or none.
	if _, err := h.Resource.Canonical(r.form.Resources()); err != nil {
		return err
	}
	client, issued, err := serve(ctx, r)
	if err != nil {
		return err
	}
	audit.Add(ctx, slog.String("grant_id", issued.GrantID))
	if err := h.Clients.Used(ctx, client, issued.GrantEnds); err != nil {
		audit.Fault(ctx, err) // the tokens are out; the next use moves the client's expiry
	}
	w.Header().Set("Pragma", "no-cache") // RFC 6749 section 5.1; WriteJSON sends Cache-Control: no-store
	oauth.WriteJSON(w, http.StatusOK, response{
		AccessToken:  issued.AccessToken,
		TokenType:    "Bearer",
		ExpiresIn:    int64(issued.Expires.Sub(h.Now()).Round(time.Second) / time.Second),
		RefreshToken: issued.RefreshToken,
		Scope:        oauth.JoinScope(issued.Scopes),
	})
	return nil
}

// allowed refuses a grant type that the client did not register (RFC 6749 section 5.2).
func allowed(client clients.Client, grantType string) error {
	if !client.Allows(grantType) {
		return oauth.NewError(oauth.UnauthorizedClient, "the client is not registered for grant_type "+grantType)
	}
	return nil
}
