package clients

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

// MaxRegistrationBytes bounds the body of a registration.
const MaxRegistrationBytes = 16 << 10

const secretPrefix = "cs_"

// Registrar registers clients (RFC 7591).
type Registrar struct {
	Table table.Table
	Now   func() time.Time
	Rand  io.Reader
	// NativeSchemes are the private-use redirect schemes that are allowed.
	NativeSchemes []string
	// Scopes are the supported scopes; a registration keeps no other.
	Scopes []string
	// Limit bounds new registrations. Nil means no bound.
	Limit *Limiter
	Audit *audit.Log
	// CheckURL checks the form of a jwks_uri; Fetcher.CheckURL is one. Nil refuses clients that have one.
	CheckURL func(rawURL string) error
}

// Registration is the answer to a registration (RFC 7591 section 3.2.1).
type Registration struct {
	ClientID              string     `json:"client_id"`
	ClientIDIssuedAt      int64      `json:"client_id_issued_at"`
	ClientSecret          string     `json:"client_secret,omitempty"`
	ClientSecretExpiresAt *int64     `json:"client_secret_expires_at,omitempty"` // 0: never; only beside a secret
	Name                  string     `json:"client_name,omitempty"`
	URI                   string     `json:"client_uri,omitempty"`
	LogoURI               string     `json:"logo_uri,omitempty"`
	PolicyURI             string     `json:"policy_uri,omitempty"`
	TOSURI                string     `json:"tos_uri,omitempty"`
	RedirectURIs          []string   `json:"redirect_uris,omitempty"`
	GrantTypes            []string   `json:"grant_types"`
	ResponseTypes         []string   `json:"response_types"`
	Scope                 string     `json:"scope,omitempty"`
	AuthMethod            string     `json:"token_endpoint_auth_method"`
	SigningAlg            string     `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS                  rawMessage `json:"jwks,omitempty"`
	JWKSURI               string     `json:"jwks_uri,omitempty"`
	ApplicationType       string     `json:"application_type,omitempty"`
}

// rawMessage is JSON as it was sent.
type rawMessage []byte

// MarshalJSON implements json.Marshaler.
func (m rawMessage) MarshalJSON() ([]byte, error) { return m, nil }

// Register registers the client that body describes. A client without a secret is registered by what it says: the same
// metadata, whatever its loopback ports, is the same client, and saying it again costs one read and no part of any
// limit.
func (r *Registrar) Register(ctx context.Context, body []byte) (Registration, error) {
	c, echo, err := r.parse(body)
	if err != nil {
		return Registration{}, err
	}
	if c.AuthMethod == oauth.AuthNone || c.AuthMethod == oauth.AuthPrivateKeyJWT {
		return r.registerOnce(ctx, c, echo)
	}
	if c.ID, err = random(r.Rand, idPrefix); err != nil {
		return Registration{}, err
	}
	secret, err := random(r.Rand, secretPrefix)
	if err != nil {
		return Registration{}, err
	}
	hash := sha256.Sum256([]byte(secret))
	c.SecretHash = hash[:]
	if c, err = r.create(ctx, c); err != nil {
		return Registration{}, err
	}
	answer := answerFor(c, echo)
	answer.ClientSecret, answer.ClientSecretExpiresAt = secret, new(int64)
	return answer, nil
}

// registerOnce answers with the registration that is there, or makes it.
func (r *Registrar) registerOnce(ctx context.Context, c Client, echo []string) (Registration, error) {
	id, err := hashID(c)
	if err != nil {
		return Registration{}, err
	}
	c.ID = id
	known, err := r.known(ctx, id)
	if err != nil {
		return Registration{}, err
	}
	if known == nil {
		created, err := r.create(ctx, c)
		if errors.Is(err, table.ErrExists) { // another process has just made it
			created, err = c, nil
			created.IssuedAt = r.Now()
		}
		if err != nil {
			return Registration{}, err
		}
		return answerFor(created, echo), nil
	}
	// One that no one has approved yet and that is about to end gets its day again, or the sign-in that now begins could
	// outlive it.
	now := r.Now()
	if err := extend(ctx, r.Table, r.Now, *known, now.Add(NeverUsed/2), now.Add(NeverUsed)); err != nil && !errors.Is(err, ErrUnknown) {
		return Registration{}, err
	}
	return answerFor(*known, echo), nil
}

func (r *Registrar) known(ctx context.Context, id string) (*Client, error) {
	key, _ := Key(id)
	items, err := r.Table.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading client: %w", err)
	}
	if items[0] == nil || !items[0].Live(r.Now()) {
		return nil, nil
	}
	c, err := Decode(*items[0])
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// create stores a new client, if the limit allows one more.
func (r *Registrar) create(ctx context.Context, c Client) (Client, error) {
	if r.Limit != nil {
		if err := r.Limit.Take(ctx); err != nil {
			return Client{}, err
		}
	}
	now := r.Now()
	c.IssuedAt = now.Truncate(time.Second).UTC()
	item, err := encode(c)
	if err != nil {
		return Client{}, err
	}
	item.Expires = now.Add(NeverUsed)
	if _, err := r.Table.Create(ctx, item); err != nil {
		return Client{}, fmt.Errorf("writing client: %w", err)
	}
	r.Audit.Record(ctx, audit.Event{Action: audit.ClientRegistered, Decision: "allow", ClientID: c.ID})
	return c, nil
}

// parse reads the metadata of a registration. echo are the redirect URIs as they were sent: clients throw a registration
// away that lacks their own port.
func (r *Registrar) parse(body []byte) (c Client, echo []string, err error) {
	refuse := func(err error) (Client, []string, error) {
		if _, ok := errors.AsType[redirectError](err); ok {
			return Client{}, nil, oauth.NewError(oauth.InvalidRedirectURI, describe(err))
		}
		return Client{}, nil, oauth.NewError(oauth.InvalidClientMetadata, describe(err))
	}
	o, err := parseObject(body)
	if err != nil {
		return refuse(err)
	}
	if c, err = parseMetadata(o, r.NativeSchemes); err != nil {
		return refuse(err)
	}
	c.Kind = Registered
	// A client that anyone may register never acts without a person.
	c.dropGrantType(oauth.GrantClientCredentials)
	if !c.Allows(oauth.GrantAuthorizationCode) {
		return refuse(errors.New("grant_types must have authorization_code; client_credentials is for clients that the operator registers"))
	}
	scopes, _ := oauth.ParseScope(c.Scope)
	c.Scope = oauth.JoinScope(slices.DeleteFunc(scopes, func(s string) bool { return !slices.Contains(r.Scopes, s) }))
	if err := parseAuthMethod(o, &c, r.CheckURL); err != nil {
		return refuse(err)
	}
	if echo, err = o.list("redirect_uris", maxRedirectURIs, maxURIBytes); err != nil {
		return refuse(err)
	}
	return c, echo, nil
}

// parseAuthMethod reads token_endpoint_auth_method, which is client_secret_basic where it is omitted (RFC 7591 section
// 2), and the keys that go with it.
func parseAuthMethod(o object, c *Client, checkURL func(string) error) error {
	method, err := o.text("token_endpoint_auth_method", maxValueBytes)
	if err != nil {
		return err
	}
	if method == "" {
		method = oauth.AuthSecretBasic
	}
	c.AuthMethod = method
	switch method {
	case oauth.AuthNone, oauth.AuthSecretBasic, oauth.AuthSecretPost:
		c.SigningAlg = "" // it belongs to assertions
		return nil
	case oauth.AuthPrivateKeyJWT:
		if checkURL == nil {
			checkURL = func(string) error { return errors.New("this server fetches none") }
		}
		return parseKeys(o, c, checkURL)
	}
	return errors.New("token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt")
}

// describe is the text of an error without the code that an *oauth.Error puts in front.
func describe(err error) string {
	if oerr, ok := errors.AsType[*oauth.Error](err); ok {
		return oerr.Description
	}
	return err.Error()
}

func answerFor(c Client, redirectURIs []string) Registration {
	return Registration{
		ClientID: c.ID, ClientIDIssuedAt: c.IssuedAt.Unix(),
		Name: c.Name, URI: c.URI, LogoURI: c.LogoURI, PolicyURI: c.PolicyURI, TOSURI: c.TOSURI,
		RedirectURIs: redirectURIs, GrantTypes: c.GrantTypes, ResponseTypes: c.ResponseTypes,
		Scope: c.Scope, AuthMethod: c.AuthMethod, SigningAlg: c.SigningAlg,
		JWKS: rawMessage(c.JWKS), JWKSURI: c.JWKSURI, ApplicationType: c.ApplicationType,
	}
}

// NewRegistrationHandler is POST /register (RFC 7591 section 3), for any origin, without credentials. There is no
// configuration endpoint (RFC 7592): nobody can read or change a registration.
func NewRegistrationHandler(r *Registrar) http.Handler {
	return oauth.AllowAnyOrigin(http.MethodPost, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer, err := r.serve(w, req)
		if err != nil {
			audit.Refused(req.Context(), oauth.AsError(err))
			oauth.WriteError(w, err)
			return
		}
		// RFC 7591 section 3.2.1: 201, also where the client was known.
		oauth.WriteJSON(w, http.StatusCreated, answer)
	}))
}

func (r *Registrar) serve(w http.ResponseWriter, req *http.Request) (Registration, error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", "POST, OPTIONS")
		return Registration{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "clients register with POST", Status: http.StatusMethodNotAllowed}
	}
	types := req.Header.Values("Content-Type")
	mediaType := ""
	if len(types) == 1 {
		mediaType, _, _ = mime.ParseMediaType(types[0])
	}
	encoding := req.Header.Get("Content-Encoding")
	if mediaType != "application/json" || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return Registration{}, oauth.NewError(oauth.InvalidClientMetadata, "Content-Type must be application/json, without Content-Encoding")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, MaxRegistrationBytes))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return Registration{}, &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "the metadata is larger than 16 KB", Status: http.StatusRequestEntityTooLarge}
		}
		return Registration{}, oauth.NewError(oauth.InvalidClientMetadata, "the body could not be read")
	}
	return r.Register(req.Context(), body)
}
