package tokens

import (
	"context"
	"net/http"

	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

// introspection is RFC 7662 section 2.2. An inactive token has no other member.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Username  string `json:"username,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	AuthTime  int64  `json:"auth_time,omitempty"` // RFC 9470 section 6.2
	Subject   string `json:"sub,omitempty"`
	Audience  string `json:"aud,omitempty"`
	Issuer    string `json:"iss,omitempty"`
}

// introspect is RFC 7662, for confidential clients and their own tokens. To all others a token is inactive, whatever it
// is, so that nobody can try tokens out here (section 4).
func (h *Handler) introspect(ctx context.Context, w http.ResponseWriter, r request) error {
	if r.credentials.Method == oauth.AuthNone {
		return &oauth.Error{
			Code: oauth.InvalidClient, Description: "introspection is for clients that authenticate", Status: http.StatusUnauthorized,
		}
	}
	token := r.form.Get("token")
	if token == "" {
		return oauth.NewError(oauth.InvalidRequest, "token is missing")
	}
	id, _ := grants.GrantID(token)
	client, item, err := h.authenticate(ctx, r, id)
	if err != nil {
		return err
	}
	answer, err := h.describe(item, id, token, client.ID)
	if err != nil {
		return err
	}
	oauth.WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (h *Handler) describe(item *table.Item, id, token, clientID string) (introspection, error) {
	if id == "" {
		return introspection{}, nil
	}
	in, active, err := h.Grants.Introspect(item, token, clientID)
	if err != nil || !active {
		return introspection{}, err
	}
	answer := introspection{
		Active: true, Scope: oauth.JoinScope(in.Scopes), ClientID: in.ClientID, Username: in.Identity.Email,
		Expires: in.Expires.Unix(), AuthTime: in.AuthTime.Unix(), Subject: in.Identity.Subject, Audience: in.Resource, Issuer: h.Issuer,
	}
	if in.Kind == grants.KindAccess {
		answer.TokenType = "Bearer"
	}
	return answer, nil
}
