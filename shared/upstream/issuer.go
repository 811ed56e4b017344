package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// cloudflarePath is what every OpenID Connect application of Cloudflare Access has in its URLs, whatever its host.
const cloudflarePath = "/cdn-cgi/access/sso/oidc/"

// resolveIssuer applies the issuer rule (docs/decisions/0005-issuer-rule.md). It fails rather than leave iss unchecked.
// discover tells whether the endpoints are found by discovery; with all three URLs given they are not.
func resolveIssuer(cfg Config) (issuer string, discover bool, err error) {
	for _, u := range []struct{ name, value string }{
		{"ACCESS_ISSUER", cfg.Issuer}, {"ACCESS_AUTHORIZATION_URL", cfg.AuthorizationURL},
		{"ACCESS_TOKEN_URL", cfg.TokenURL}, {"ACCESS_JWKS_URL", cfg.JWKSURL},
	} {
		if u.value != "" && !secureURL(u.value) {
			return "", false, fmt.Errorf("%s must be an https URL (http only for a loopback host)", u.name)
		}
	}
	all := cfg.AuthorizationURL != "" && cfg.TokenURL != "" && cfg.JWKSURL != ""
	if cfg.Issuer != "" {
		return cfg.Issuer, !all, nil
	}
	if !all {
		return "", false, errors.New("ACCESS_ISSUER is empty; set it, or all of ACCESS_AUTHORIZATION_URL, ACCESS_TOKEN_URL and ACCESS_JWKS_URL")
	}
	token, err := url.Parse(cfg.TokenURL)
	if err != nil {
		return "", false, fmt.Errorf("reading ACCESS_TOKEN_URL: %w", err)
	}
	application, isToken := strings.CutSuffix(strings.TrimPrefix(token.Path, cloudflarePath), "/token")
	if !strings.HasPrefix(token.Path, cloudflarePath) || !isToken || application == "" || strings.Contains(application, "/") || token.RawQuery != "" {
		return "", false, errors.New("ACCESS_ISSUER is empty, and the issuer cannot be told from ACCESS_TOKEN_URL, as it can for Cloudflare Access; set ACCESS_ISSUER to the value that your provider's ID tokens bear as iss")
	}
	issuer = strings.TrimSuffix(cfg.TokenURL, "/token")
	if !strings.HasPrefix(cfg.AuthorizationURL, issuer+"/") || !strings.HasPrefix(cfg.JWKSURL, issuer+"/") {
		return "", false, errors.New("ACCESS_ISSUER is empty, and ACCESS_AUTHORIZATION_URL, ACCESS_TOKEN_URL and ACCESS_JWKS_URL belong to different Cloudflare Access applications; set ACCESS_ISSUER, or correct them")
	}
	return issuer, false, nil
}

// secureURL reports an absolute https URL, or an http one of this machine.
func secureURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}
