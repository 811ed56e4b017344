package upstream

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"mcp-access-oauth/shared/policy"
)

// Config is what the operator says of the provider; the fields are named after their ACCESS_* variables.
type Config struct {
	// Issuer is the provider's identifier, below which discovery is done. It may be empty when the three URLs are given
	// and are of Cloudflare Access. With all three URLs given there is no discovery.
	Issuer                              string
	AuthorizationURL, TokenURL, JWKSURL string
	ClientID                            string
	// Secret gives the client secret. It is called on first use, and again, at most once a minute, when the provider
	// refuses the secret, which may have been rotated. Nil, or an empty secret, means a public client.
	Secret func(ctx context.Context) (string, error)
	// RedirectURL is our own /callback, as registered at the provider.
	RedirectURL string
	// Scopes defaults to openid, email and profile, and offline_access where discovery lists it.
	Scopes []string
	// Prompt is the prompt that every sign-in asks for, unless the caller of AuthorizationURL names one. It is for providers
	// that give refresh tokens only with prompt=consent, as OpenID Connect Core section 11 lets them.
	Prompt string
	// GroupsClaim names the claim that holds the groups, or the way to it, such as realm_access.roles. Default: groups.
	GroupsClaim string
	// RequireEmailVerified makes an e-mail count as unverified when the provider says nothing about it.
	RequireEmailVerified bool
	// HTTPClient defaults to one with Go's default transport. Its redirects, cookies and longer timeouts are not used.
	HTTPClient *http.Client
	// Now defaults to time.Now.
	Now func() time.Time
}

// Provider is the identity provider. It is safe for concurrent use.
type Provider struct {
	cfg      Config
	issuer   string
	discover bool
	client   *http.Client
	secret   secret

	flight    singleflight.Group
	mu        sync.Mutex
	meta      *metadata
	metaUntil time.Time
	style     oauth2.AuthStyle // the one that worked last
}

// New checks the settings. It asks nothing of the network. Its errors name the variable to correct.
func New(cfg Config) (*Provider, error) {
	issuer, discover, err := resolveIssuer(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.ClientID == "" {
		return nil, errors.New("ACCESS_CLIENT_ID is empty; it is the client id that your identity provider gave this server")
	}
	if !secureURL(cfg.RedirectURL) {
		return nil, errors.New("the callback URL must be an https URL (http only for a loopback host)")
	}
	if cfg.GroupsClaim == "" {
		cfg.GroupsClaim = "groups"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Provider{cfg: cfg, issuer: issuer, discover: discover, client: newClient(cfg.HTTPClient)}
	p.secret.source, p.secret.now = cfg.Secret, cfg.Now
	if !discover {
		p.meta = p.staticMetadata()
	}
	return p, nil
}

// StaticSecret is a Config.Secret for a secret that stands in the settings.
func StaticSecret(secret string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return secret, nil }
}

// Issuer is the iss of everyone who signs in with this provider, in the provider's own spelling.
func (p *Provider) Issuer(ctx context.Context) (string, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	return m.issuer, nil
}

// AuthorizationURL is where the browser goes to sign in (OpenID Connect Core section 3.1.2.1), with PKCE S256 (RFC 7636)
// of the verifier. prompt goes before Config.Prompt. The error is ErrUnavailable or ErrMisconfigured.
func (p *Provider) AuthorizationURL(ctx context.Context, state, nonce, verifier string, prompt ...string) (string, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("nonce", nonce), oauth2.S256ChallengeOption(verifier)}
	if len(prompt) == 0 && p.cfg.Prompt != "" {
		prompt = []string{p.cfg.Prompt}
	}
	if google(m.issuer) {
		// Google knows no offline_access, and gives the refresh token only along with its consent page.
		options = append(options, oauth2.AccessTypeOffline)
		if len(prompt) == 0 {
			prompt = []string{"consent"}
		}
	}
	if len(prompt) > 0 {
		options = append(options, oauth2.SetAuthURLParam("prompt", strings.Join(prompt, " ")))
	}
	return p.oauth2Config(m, "", oauth2.AuthStyleInParams).AuthCodeURL(state, options...), nil
}

// CheckIssuer compares the iss parameter of a callback, "" when there was none, with this provider's issuer (RFC 9207
// section 2.4), so that the answer of another provider is never taken for this one's (C05).
func (p *Provider) CheckIssuer(ctx context.Context, iss string) error {
	m, err := p.metadata(ctx)
	if err != nil {
		return err
	}
	if iss == "" && m.issParameter {
		return failure(ErrVerification, "the callback has no iss, which this provider always sends")
	}
	if iss != "" && subtle.ConstantTimeCompare([]byte(iss), []byte(m.issuer)) != 1 {
		return failure(ErrVerification, "the callback is of another issuer: %q", clean(iss))
	}
	return nil
}

// Session is what the provider said at a sign-in or a refresh.
type Session struct {
	Identity policy.Identity
	// RefreshToken is empty when the provider gives none. After a Refresh it is the new one, or the old one when the
	// provider does not rotate.
	RefreshToken string
}

// Exchange redeems the code of a callback and verifies the ID token that comes for it, including its nonce. All kinds
// of error are possible. A code is spent by the first attempt that reaches the provider.
func (p *Provider) Exchange(ctx context.Context, code, verifier, nonce string) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return Session{}, err
	}
	token, err := p.token(ctx, m, []string{code, verifier}, func(ctx context.Context, c *oauth2.Config) (*oauth2.Token, error) {
		return c.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	})
	if err != nil {
		return Session{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return Session{}, failure(ErrVerification, "the token endpoint sent no ID token")
	}
	verified, err := p.verify(ctx, m, raw)
	if err != nil {
		return Session{}, err
	}
	// OpenID Connect Core section 3.1.3.7 (11): the nonce that was sent must come back.
	if nonce == "" || subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(nonce)) != 1 {
		return Session{}, failure(ErrVerification, "the ID token has another nonce than this sign-in")
	}
	identity, err := p.identity(ctx, m, verified, token.AccessToken)
	if err != nil {
		return Session{}, err
	}
	return Session{Identity: identity, RefreshToken: token.RefreshToken}, nil
}

// Refresh asks the provider whether the session still stands and who its person now is. previous is the identity that
// the grant holds. ErrRejected means that the session is over, or is now of somebody else; the grant ends. Every
// other error changes nothing for the grant, with one exception: the Session that comes with such an error has a
// RefreshToken when the provider had rotated it before things went wrong, and that one must be kept.
func (p *Provider) Refresh(ctx context.Context, refreshToken string, previous policy.Identity) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return Session{}, err
	}
	if previous.Issuer != m.issuer {
		// The settings name another provider now. It must not see the old one's refresh token (C05).
		return Session{}, failure(ErrRejected, "the session is of the issuer %q, which is no longer this server's", clean(previous.Issuer))
	}
	token, err := p.token(ctx, m, []string{refreshToken}, func(ctx context.Context, c *oauth2.Config) (*oauth2.Token, error) {
		return c.TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
	})
	if err != nil {
		return Session{}, err
	}
	// RFC 6749 section 6: a new refresh token replaces the old one; x/oauth2 keeps the old one when none came.
	session := Session{RefreshToken: token.RefreshToken}
	session.Identity, err = p.refreshed(ctx, m, token, previous)
	if err != nil && session.RefreshToken != refreshToken && !errors.Is(err, ErrRejected) {
		return Session{RefreshToken: session.RefreshToken}, err
	}
	if err != nil {
		return Session{}, err
	}
	return session, nil
}

// refreshed takes the identity from the ID token of a refresh, else from UserInfo, else leaves it as it was.
func (p *Provider) refreshed(ctx context.Context, m *metadata, token *oauth2.Token, previous policy.Identity) (policy.Identity, error) {
	var identity policy.Identity
	if raw, _ := token.Extra("id_token").(string); raw != "" {
		verified, err := p.verify(ctx, m, raw)
		if errors.Is(err, ErrVerification) && bearsOtherIssuer(raw, m.issuer) {
			return policy.Identity{}, failure(ErrRejected, "the refresh answered for another issuer")
		}
		if err != nil {
			return policy.Identity{}, err
		}
		// The nonce is not looked at: OpenID Connect Core section 12.2 advises against one here.
		if identity, err = p.identity(ctx, m, verified, token.AccessToken); err != nil {
			return policy.Identity{}, err
		}
	} else if m.userinfoURL != "" {
		said, err := p.userinfo(ctx, m, token.AccessToken)
		if err != nil {
			return policy.Identity{}, err
		}
		if said == nil { // it refused to say
			return previous, nil
		}
		if identity, err = p.identityOf(m, said); err != nil {
			return policy.Identity{}, err
		}
	} else {
		return previous, nil
	}
	// OpenID Connect Core section 12.2: iss and sub must be those of the sign-in. iss was verified.
	if identity.Subject != previous.Subject {
		return policy.Identity{}, failure(ErrRejected, "the refresh answered for another subject")
	}
	return identity, nil
}

func (p *Provider) oauth2Config(m *metadata, secret string, style oauth2.AuthStyle) *oauth2.Config {
	endpoint := m.endpoint
	endpoint.AuthStyle = style
	return &oauth2.Config{ClientID: p.cfg.ClientID, ClientSecret: secret, Endpoint: endpoint, RedirectURL: p.cfg.RedirectURL, Scopes: m.scopes}
}

func google(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && u.Host == "accounts.google.com"
}
