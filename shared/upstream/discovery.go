package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	metadataAge   = time.Hour       // after which metadata are read again
	metadataRetry = 5 * time.Minute // between attempts while they cannot be read and the old ones serve
	staleTimeout  = 2 * time.Second // for reading them again: somebody waits, and the old ones will do
)

// metadata are what we know of the provider.
type metadata struct {
	issuer      string
	endpoint    oauth2.Endpoint
	userinfoURL string
	scopes      []string
	// styles are the ways to authenticate at the token endpoint, the likeliest first.
	styles []oauth2.AuthStyle
	// issParameter says that the provider sends iss to the callback (RFC 9207 section 3).
	issParameter bool
	keys         *keySet
}

// document is the part of a discovery document (OpenID Connect Discovery section 3) that we use.
type document struct {
	oidc.ProviderConfig
	Scopes       []string `json:"scopes_supported"`
	AuthMethods  []string `json:"token_endpoint_auth_methods_supported"`
	IssParameter bool     `json:"authorization_response_iss_parameter_supported"`
}

// metadata returns the provider's metadata, reading them on first use. Concurrent callers share one attempt; a failure
// is not remembered. When metadata that served for an hour cannot be read again, they go on serving.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	known, fresh := p.meta, p.cfg.Now().Before(p.metaUntil)
	p.mu.Unlock()
	if known != nil && (fresh || !p.discover) {
		return known, nil
	}
	patience := requestTimeout
	if known != nil {
		patience = staleTimeout
	}
	// The attempt belongs to everyone who waits for it, so no single caller's going away may end it.
	shared := p.flight.DoChan("discovery", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		found, err := p.readMetadata(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case err == nil:
			if p.meta != nil && p.meta.keys.url == found.keys.url {
				found.keys = p.meta.keys // they have an age of their own
			}
			p.meta, p.metaUntil = found, p.cfg.Now().Add(metadataAge)
		case p.meta != nil:
			p.metaUntil = p.cfg.Now().Add(metadataRetry)
		default:
			return nil, err
		}
		return p.meta, nil
	})
	select {
	case <-ctx.Done():
		return nil, failure(ErrUnavailable, "waiting for discovery: %w", ctx.Err())
	case result := <-shared:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*metadata), nil
	}
}

// readMetadata does discovery, and lets every URL that the settings name win over the discovered one.
func (p *Provider) readMetadata(ctx context.Context) (*metadata, error) {
	var doc document
	err := p.getJSON(ctx, strings.TrimSuffix(p.issuer, "/")+"/.well-known/openid-configuration", "", &doc)
	if status, ok := errors.AsType[*statusError](err); ok && status.code < 500 && status.code != http.StatusTooManyRequests {
		return nil, failure(ErrMisconfigured, "discovery at ACCESS_ISSUER: %w", err)
	}
	if err != nil {
		return nil, failure(ErrUnavailable, "discovery: %w", err)
	}
	// OpenID Connect Discovery section 4.3: the issuer must be exactly the one that was asked for. A slash at the end may
	// be missing in the settings: both spellings have the same discovery document, and ID tokens are held to the
	// provider's own.
	if doc.IssuerURL != p.issuer && strings.TrimSuffix(doc.IssuerURL, "/") != strings.TrimSuffix(p.issuer, "/") {
		return nil, failure(ErrMisconfigured, "the discovery document below ACCESS_ISSUER is of the issuer %q", clean(doc.IssuerURL))
	}
	for _, u := range []struct {
		value      *string
		configured string
	}{{&doc.AuthURL, p.cfg.AuthorizationURL}, {&doc.TokenURL, p.cfg.TokenURL}, {&doc.JWKSURL, p.cfg.JWKSURL}} {
		if u.configured != "" {
			*u.value = u.configured
		}
		if !secureURL(*u.value) {
			return nil, failure(ErrMisconfigured, "the discovery document lacks an https URL of an endpoint, it has %q", clean(*u.value))
		}
	}
	if !secureURL(doc.UserInfoURL) {
		doc.UserInfoURL = ""
	}
	m := p.newMetadata(doc)
	basic, post := slices.Contains(doc.AuthMethods, "client_secret_basic"), slices.Contains(doc.AuthMethods, "client_secret_post")
	switch {
	case post && !basic:
		m.styles = []oauth2.AuthStyle{oauth2.AuthStyleInParams}
	case basic && !post:
		m.styles = []oauth2.AuthStyle{oauth2.AuthStyleInHeader}
	default:
		// OpenID Connect Discovery section 3: without a list the method is client_secret_basic.
		m.styles = []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams}
	}
	return m, nil
}

// staticMetadata are those of a provider whose three URLs are in the settings. Whether it takes the secret in the body,
// as the original demo sent it, or in the header is found by trying.
func (p *Provider) staticMetadata() *metadata {
	m := p.newMetadata(document{ProviderConfig: oidc.ProviderConfig{
		IssuerURL: p.issuer, AuthURL: p.cfg.AuthorizationURL, TokenURL: p.cfg.TokenURL, JWKSURL: p.cfg.JWKSURL,
	}})
	m.styles = []oauth2.AuthStyle{oauth2.AuthStyleInParams, oauth2.AuthStyleInHeader}
	return m
}

func (p *Provider) newMetadata(doc document) *metadata {
	m := &metadata{
		issuer:       doc.IssuerURL,
		endpoint:     oauth2.Endpoint{AuthURL: doc.AuthURL, TokenURL: doc.TokenURL},
		userinfoURL:  doc.UserInfoURL,
		scopes:       p.cfg.Scopes,
		issParameter: doc.IssParameter,
		keys:         newKeySet(doc.JWKSURL, p.client, p.cfg.Now),
	}
	if len(m.scopes) == 0 {
		m.scopes = []string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeProfile}
		if slices.Contains(doc.Scopes, oidc.ScopeOfflineAccess) {
			m.scopes = append(m.scopes, oidc.ScopeOfflineAccess)
		}
	}
	if !slices.Contains(m.scopes, oidc.ScopeOpenID) { // OpenID Connect Core section 3.1.2.1: required
		m.scopes = append([]string{oidc.ScopeOpenID}, m.scopes...)
	}
	return m
}

// statusError is an answer other than 200.
type statusError struct {
	url  string
	code int
}

func (e *statusError) Error() string { return fmt.Sprintf("%s answered %d", clean(e.url), e.code) }

// getJSON reads a JSON document, with a bearer token where one is given.
func (p *Provider) getJSON(ctx context.Context, url, bearer string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return &statusError{url, resp.StatusCode}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading %s: %w", clean(url), err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s is not the JSON document it should be", clean(url)) // the parser's words may quote the body
	}
	return nil
}
