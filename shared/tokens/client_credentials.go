package tokens

import (
	"context"
	"slices"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
)

// clientCredentials lets a client act for itself (RFC 6749 section 4.4, the MCP extension
// io.modelcontextprotocol/oauth-client-credentials). Only clients that the operator named may: anyone can register a
// client, and a token without a person must not be had by anyone. There is no refresh token (section 4.4.3).
func (h *Handler) clientCredentials(ctx context.Context, r request) (clients.Client, grants.Issued, error) {
	requested, err := oauth.ParseScope(r.form.Get("scope"))
	if err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	client, _, err := h.authenticate(ctx, r, "")
	if err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	if err := allowed(client, oauth.GrantClientCredentials); err != nil {
		return clients.Client{}, grants.Issued{}, err
	}
	if client.Kind != clients.PreRegistered || r.credentials.Method == oauth.AuthNone {
		return clients.Client{}, grants.Issued{}, oauth.NewError(oauth.UnauthorizedClient,
			"client_credentials is for confidential clients that the operator registered")
	}
	supported := slices.DeleteFunc(oauth.SupportedScopes(h.ToolScopes), func(s string) bool { return s == oauth.ScopeOfflineAccess })
	scopes := oauth.GrantScopes(requested, client.DefaultScopes(), supported, client.ScopeCeiling())
	if len(scopes) == 0 {
		return clients.Client{}, grants.Issued{}, oauth.NewError(oauth.InvalidScope, "the client may have none of these scopes")
	}
	issued, err := h.Grants.CreateForClient(ctx, grants.NewGrant{
		ID: grants.NewID(h.Grants.Rand), ClientID: client.ID, ClientName: client.Name, Scopes: scopes, Resource: h.Resource.String(),
	})
	return client, issued, err
}
