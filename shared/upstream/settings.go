package upstream

import (
	"context"

	"mcp-access-oauth/shared/config"
)

// FromSettings is the provider that the ACCESS_* variables name. callback is our own /callback; secret is as in Config.
func FromSettings(a config.Access, callback string, secret func(context.Context) (string, error)) (*Provider, error) {
	return New(Config{
		Issuer:               a.Issuer,
		AuthorizationURL:     a.AuthorizationURL,
		TokenURL:             a.TokenURL,
		JWKSURL:              a.JWKSURL,
		ClientID:             a.ClientID,
		Secret:               secret,
		RedirectURL:          callback,
		Scopes:               a.Scopes,
		Prompt:               a.Prompt,
		GroupsClaim:          a.GroupsClaim,
		RequireEmailVerified: a.RequireEmailVerified,
	})
}
