package demo

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	signInLife      = 10 * time.Minute // of a sign-in that has begun, and of its code
	accessTokenLife = 5 * time.Minute
	refreshLife     = 30 * 24 * time.Hour
	maxSignIns      = 1000 // that have begun; more are refused until some expire
)

// storage is what the library keeps its state in. Sign-ins that have begun are in memory and end with the process.
// Tokens are sealed values that carry what they mean; only the ids of used and revoked ones are in memory, so that a
// restart forgets them, which a demo may.
type storage struct {
	cfg  Config
	keys *keys

	mu      sync.Mutex
	signIns map[string]*signIn
	codes   map[string]string // to the id of the sign-in
	spent   map[string]time.Time
}

var (
	_ op.Storage                   = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest = (*storage)(nil)
)

func newStorage(cfg Config, keys *keys) *storage {
	return &storage{cfg: cfg, keys: keys, signIns: map[string]*signIn{}, codes: map[string]string{}, spent: map[string]time.Time{}}
}

// signIn is one authorization request on its way. It is replaced, never changed, once it is stored.
type signIn struct {
	oidc.AuthRequest
	id      string
	subject string
	at      time.Time // when the person chose
	expires time.Time
}

func (s *signIn) GetID() string                      { return s.id }
func (s *signIn) GetACR() string                     { return "" }
func (s *signIn) GetAMR() []string                   { return nil }
func (s *signIn) GetAudience() []string              { return []string{s.ClientID} }
func (s *signIn) GetAuthTime() time.Time             { return s.at }
func (s *signIn) GetClientID() string                { return s.ClientID }
func (s *signIn) GetNonce() string                   { return s.Nonce }
func (s *signIn) GetRedirectURI() string             { return s.RedirectURI }
func (s *signIn) GetResponseType() oidc.ResponseType { return s.ResponseType }
func (s *signIn) GetResponseMode() oidc.ResponseMode { return s.ResponseMode }
func (s *signIn) GetScopes() []string                { return s.Scopes }
func (s *signIn) GetState() string                   { return s.State }
func (s *signIn) GetSubject() string                 { return s.subject }
func (s *signIn) Done() bool                         { return s.subject != "" }
func (s *signIn) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: s.CodeChallenge, Method: s.CodeChallengeMethod}
}

// refresh is what a refresh token carries.
type refresh struct {
	ID       string    `json:"id"`
	Subject  string    `json:"sub"`
	ClientID string    `json:"client_id"`
	Scopes   []string  `json:"scopes"`
	AuthTime time.Time `json:"auth_time"`
	Expires  time.Time `json:"exp"`
}

func (r *refresh) GetAMR() []string                 { return nil }
func (r *refresh) GetAudience() []string            { return []string{r.ClientID} }
func (r *refresh) GetAuthTime() time.Time           { return r.AuthTime }
func (r *refresh) GetClientID() string              { return r.ClientID }
func (r *refresh) GetScopes() []string              { return r.Scopes }
func (r *refresh) GetSubject() string               { return r.Subject }
func (r *refresh) SetCurrentScopes(scopes []string) { r.Scopes = scopes }

func (s *storage) CreateAuthRequest(_ context.Context, req *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if req.CodeChallenge == "" || req.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("a code_challenge with code_challenge_method S256 is required")
	}
	if slices.Contains(req.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired() // nobody stays signed in here
	}
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.signIns, func(_ string, begun *signIn) bool { return !now.Before(begun.expires) })
	maps.DeleteFunc(s.codes, func(_ string, id string) bool { return s.signIns[id] == nil })
	if len(s.signIns) >= maxSignIns {
		return nil, oidc.ErrServerError().WithDescription("too many sign-ins have begun; try again in a few minutes")
	}
	begun := &signIn{AuthRequest: *req, id: rand.Text(), expires: now.Add(signInLife)}
	s.signIns[begun.id] = begun
	return begun, nil
}

// signIn returns the sign-in with that id unless it has expired.
func (s *storage) signIn(id string) (*signIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun := s.signIns[id]
	if begun == nil || !s.cfg.Now().Before(begun.expires) {
		return nil, errors.New("this sign-in is unknown or has expired")
	}
	return begun, nil
}

// choose records who signed in.
func (s *storage) choose(id string, who person) error {
	begun, err := s.signIn(id)
	if err != nil {
		return err
	}
	chosen := *begun
	chosen.subject, chosen.at = who.Subject, s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signIns[id] = &chosen
	return nil
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	return s.signIn(id)
}

func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	id := s.codes[code]
	s.mu.Unlock()
	return s.signIn(id)
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = id
	return nil
}

// DeleteAuthRequest spends the code.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.signIns, id)
	maps.DeleteFunc(s.codes, func(_ string, of string) bool { return of == id })
	return nil
}

// CreateAccessToken gives the token an id that says what it opens; the library seals it.
func (s *storage) CreateAccessToken(_ context.Context, req op.TokenRequest) (string, time.Time, error) {
	expires := s.cfg.Now().Add(accessTokenLife)
	id := fmt.Sprintf("%d %s %s", expires.Unix(), rand.Text(), strings.Join(req.GetScopes(), " "))
	return id, expires, nil
}

// CreateAccessAndRefreshTokens rotates: the current refresh token, when there is one, is spent.
func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, req op.TokenRequest, current string) (string, string, time.Time, error) {
	next := refresh{ID: rand.Text(), Subject: req.GetSubject(), ClientID: s.cfg.ClientID, Scopes: req.GetScopes(), Expires: s.cfg.Now().Add(refreshLife)}
	if by, ok := req.(interface{ GetAuthTime() time.Time }); ok {
		next.AuthTime = by.GetAuthTime()
	}
	if current != "" {
		old, err := s.openRefresh(current)
		if err != nil || !s.spend(old.ID, old.Expires) {
			return "", "", time.Time{}, oidc.ErrInvalidGrant()
		}
	}
	content, err := json.Marshal(next)
	if err != nil {
		return "", "", time.Time{}, fmt.Errorf("encoding a refresh token: %w", err)
	}
	sealed, err := s.keys.refresh.Encrypt(string(content))
	if err != nil {
		return "", "", time.Time{}, fmt.Errorf("sealing a refresh token: %w", err)
	}
	id, expires, err := s.CreateAccessToken(ctx, req)
	return id, sealed, expires, err
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	return s.openRefresh(token)
}

func (s *storage) openRefresh(token string) (*refresh, error) {
	content, err := s.keys.refresh.Decrypt(token)
	if err != nil {
		return nil, op.ErrInvalidRefreshToken
	}
	var r refresh
	if err := json.Unmarshal([]byte(content), &r); err != nil {
		return nil, op.ErrInvalidRefreshToken
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, spent := s.spent[r.ID]; spent || !s.cfg.Now().Before(r.Expires) || r.ClientID != s.cfg.ClientID {
		return nil, op.ErrInvalidRefreshToken
	}
	return &r, nil
}

// spend marks a token as used or revoked and reports whether it was not before.
func (s *storage) spend(id string, expires time.Time) bool {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.spent, func(_ string, until time.Time) bool { return !now.Before(until) })
	_, already := s.spent[id]
	s.spent[id] = expires
	return !already
}

func (s *storage) GetRefreshTokenInfo(_ context.Context, _, token string) (string, string, error) {
	r, err := s.openRefresh(token)
	if err != nil {
		return "", "", err
	}
	return r.Subject, r.ID, nil
}

// RevokeToken gets the id of an access or a refresh token (RFC 7009); both are spent alike.
func (s *storage) RevokeToken(_ context.Context, id, _, _ string) *oidc.Error {
	s.spend(id, s.cfg.Now().Add(refreshLife))
	return nil
}

func (s *storage) TerminateSession(context.Context, string, string) error { return nil }

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return signingKey{s.keys}, nil }

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{s.keys}}, nil
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != s.cfg.ClientID {
		return nil, errors.New("unknown client")
	}
	return client{s.cfg}, nil
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != s.cfg.ClientID || subtle.ConstantTimeCompare([]byte(secret), []byte(s.cfg.ClientSecret)) != 1 {
		return errors.New("unknown client or wrong secret")
	}
	return nil
}

// SetUserinfoFromScopes is deprecated by the library in favour of SetUserinfoFromRequest.
func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, req op.IDTokenRequest, scopes []string) error {
	return describe(info, req.GetSubject(), scopes)
}

func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, tokenID, subject, _ string) error {
	fields := strings.Fields(tokenID)
	if len(fields) < 2 {
		return oidc.ErrAccessDenied()
	}
	expires, err := strconv.ParseInt(fields[0], 10, 64)
	s.mu.Lock()
	_, revoked := s.spent[tokenID]
	s.mu.Unlock()
	if err != nil || revoked || s.cfg.Now().Unix() >= expires {
		return oidc.ErrAccessDenied()
	}
	return describe(info, subject, fields[2:])
}

// describe says of a person what the scopes ask for.
func describe(info *oidc.UserInfo, subject string, scopes []string) error {
	i := slices.IndexFunc(people, func(p person) bool { return p.Subject == subject })
	if i < 0 {
		return errors.New("unknown person")
	}
	who := people[i]
	info.Subject = who.Subject
	if slices.Contains(scopes, oidc.ScopeEmail) {
		info.Email, info.EmailVerified = who.Email, true
	}
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.Name = who.Name
	}
	if slices.Contains(scopes, oidc.ScopeProfile) || slices.Contains(scopes, "groups") {
		info.AppendClaims("groups", who.Groups)
	}
	return nil
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errors.New("introspection is not offered")
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil // access tokens are not JWTs
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errors.New("the client has no key")
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, oidc.ErrUnsupportedGrantType()
}

func (s *storage) Health(context.Context) error { return nil }
