package upstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// secretPause is the least time between two readings of the client secret after the provider refused it.
const secretPause = time.Minute

// secret is the client secret, read on first use and remembered.
type secret struct {
	source func(context.Context) (string, error)
	now    func() time.Time

	mu    sync.Mutex
	known bool
	value string
	read  time.Time
}

func (s *secret) get(ctx context.Context) (string, error) {
	if s.source == nil {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		return s.value, nil
	}
	return s.load(ctx)
}

// rotated reads the secret again because the provider refused the given one, and reports whether there is another now.
func (s *secret) rotated(ctx context.Context, refused string) (string, bool) {
	if s.source == nil {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.value == refused && s.now().Sub(s.read) >= secretPause {
		if _, err := s.load(ctx); err != nil {
			return "", false // the refusal is the better thing to report
		}
	}
	return s.value, s.value != refused
}

func (s *secret) load(ctx context.Context) (string, error) {
	s.read = s.now()
	value, err := s.source(ctx)
	if err != nil {
		return "", failure(ErrUnavailable, "reading the client secret: %w", err)
	}
	s.known, s.value = true, value
	return value, nil
}

// token makes one token request. Only a refused client authentication is tried again, for that consumes nothing: with
// the secret read anew, and in the other style where the metadata leave the style open. hide are the request's secrets.
func (p *Provider) token(ctx context.Context, m *metadata, hide []string, request func(context.Context, *oauth2.Config) (*oauth2.Token, error)) (*oauth2.Token, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client)
	secret, err := p.secret.get(ctx)
	if err != nil {
		return nil, err
	}
	attempt := func(style oauth2.AuthStyle, secret string) (*oauth2.Token, error) {
		token, err := request(ctx, p.oauth2Config(m, secret, style))
		if err == nil {
			p.remember(style)
		}
		return token, err
	}
	styles := p.styles(m, secret)
	token, err := attempt(styles[0], secret)
	if refusedClient(err) {
		if other, ok := p.secret.rotated(ctx, secret); ok {
			secret = other
			token, err = attempt(styles[0], secret)
		}
	}
	for _, style := range styles[1:] {
		if refusedClient(err) {
			token, err = attempt(style, secret)
		}
	}
	if err != nil {
		return nil, tokenError(err, append(hide, secret)...)
	}
	return token, nil
}

// styles are the ways of client authentication to try: first the one that worked before, then as the metadata say.
func (p *Provider) styles(m *metadata, secret string) []oauth2.AuthStyle {
	if secret == "" { // a public client names itself in the body (RFC 6749 section 3.2.1)
		return []oauth2.AuthStyle{oauth2.AuthStyleInParams}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	styles := slices.Clone(m.styles)
	if i := slices.Index(styles, p.style); i > 0 {
		styles[0], styles[i] = styles[i], styles[0]
	}
	return styles
}

func (p *Provider) remember(style oauth2.AuthStyle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.style = style
}

func refusedClient(err error) bool {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	return ok && answer.ErrorCode == "invalid_client"
}
