package clients

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
)

// isDocumentID reports whether a client id names a metadata document. http is for loopback documents alone; safehttp
// refuses it where they are not allowed.
func isDocumentID(id string) bool {
	return strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://")
}

// Documents fetches the metadata documents of clients whose id is a URL
// (draft-ietf-oauth-client-id-metadata-document), and remembers them.
type Documents struct {
	fetcher       *Fetcher
	nativeSchemes []string
	now           func() time.Time

	mu     sync.Mutex
	cached map[string]Client
	wrong  map[string]failure
}

// NewDocuments returns Documents over fetcher. nativeSchemes are the private-use redirect schemes that are allowed.
func NewDocuments(fetcher *Fetcher, nativeSchemes []string, now func() time.Time) *Documents {
	return &Documents{
		fetcher: fetcher, nativeSchemes: nativeSchemes, now: now,
		cached: make(map[string]Client), wrong: make(map[string]failure),
	}
}

// fresh is the remembered client, while its document may be kept.
func (d *Documents) fresh(id string, now time.Time) (Client, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.cached[id]
	return c, ok && now.Before(c.FreshUntil)
}

// kept notes that the table holds the copy of a remembered document.
func (d *Documents) kept(c Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if remembered, ok := d.cached[c.ID]; ok && remembered.Fetched.Equal(c.Fetched) {
		d.cached[c.ID] = c
	}
}

// fetch reads the document anew. A wrong document is an *oauth.Error, invalid_client, that says what is wrong; it is
// read again after backOff.
func (d *Documents) fetch(ctx context.Context, id string) (Client, error) {
	now := d.now()
	if err := d.checkID(id); err != nil {
		return Client{}, err
	}
	d.mu.Lock()
	wrong, ok := d.wrong[id]
	d.mu.Unlock()
	if ok && now.Before(wrong.until) {
		return Client{}, wrong.err
	}
	document, err := d.fetcher.get(ctx, id, "the client's metadata document", maxDocumentBytes, d.now)
	if err != nil {
		return Client{}, err
	}
	c, err := d.parse(id, document.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		err = &oauth.Error{
			Code:        oauth.InvalidClient,
			Description: "the client's metadata document is refused: " + err.Error(),
			Status:      http.StatusUnauthorized,
		}
		delete(d.cached, id)
		rememberFailure(d.wrong, id, err, d.now())
		return Client{}, err
	}
	c.Fetched = now
	c.FreshUntil = now.Add(lifetime(document))
	remember(d.cached, id, c, func(old Client) bool { return !now.Before(old.FreshUntil) })
	return c, nil
}

// checkID refuses ids that cannot name a document. No network is asked, and the client is simply not known.
func (d *Documents) checkID(id string) error {
	u, err := d.fetcher.client.ParseURL(id)
	if err != nil {
		return &oauth.Error{
			Code:        oauth.InvalidClient,
			Description: "client_id is a URL that cannot name a metadata document: " + strings.TrimPrefix(err.Error(), safehttp.ErrForbidden.Error()+": "),
			Status:      http.StatusUnauthorized,
			Cause:       err,
		}
	}
	// draft-ietf-oauth-client-id-metadata-document section 3: a path. MCP takes "/" for none.
	if u.Path == "" || u.Path == "/" {
		return &oauth.Error{
			Code:        oauth.InvalidClient,
			Description: "client_id is a URL without a path, and cannot name a metadata document",
			Status:      http.StatusUnauthorized,
		}
	}
	return nil
}

// parse checks a document (draft-ietf-oauth-client-id-metadata-document section 4).
func (d *Documents) parse(id string, body []byte) (Client, error) {
	o, err := parseObject(body)
	if err != nil {
		return Client{}, err
	}
	named, err := o.text("client_id", safehttp.MaxURLBytes)
	if err != nil {
		return Client{}, err
	}
	if named != id {
		return Client{}, errors.New("its client_id is not exactly its own URL")
	}
	// Section 4.1: no shared secrets. A document that holds one has published it.
	for _, secret := range []string{"client_secret", "client_secret_expires_at"} {
		if _, ok := o[secret]; ok {
			return Client{}, fmt.Errorf("it holds %s", secret)
		}
	}
	c, err := parseMetadata(o, d.nativeSchemes)
	if err != nil {
		return Client{}, err
	}
	c.ID, c.Kind = id, Document
	if c.Name == "" {
		return Client{}, errors.New("client_name is missing")
	}
	// Nobody vouches for a document, so it never acts without a person.
	c.dropGrantType(oauth.GrantClientCredentials)
	if !c.Allows(oauth.GrantAuthorizationCode) {
		return Client{}, errors.New("grant_types lacks authorization_code")
	}
	if err := d.negotiate(o, &c); err != nil {
		return Client{}, err
	}
	return c, nil
}

// negotiate finds the authentication methods that the document offers and this server has. A document may offer several
// (token_endpoint_auth_methods_supported, OpenID RP Metadata Choices section 2; ChatGPT's prefers private_key_jwt and
// also offers none); the client then uses whichever of them it likes. Where it names none at all, it is public: the
// default of RFC 7591, client_secret_basic, needs a secret that no document can hold.
func (d *Documents) negotiate(o object, c *Client) error {
	preferred, err := o.text("token_endpoint_auth_method", maxValueBytes)
	if err != nil {
		return err
	}
	offered, err := o.list("token_endpoint_auth_methods_supported", maxListValues, maxValueBytes)
	if err != nil {
		return err
	}
	if strings.HasPrefix(preferred, "client_secret_") {
		return errors.New("token_endpoint_auth_method needs a shared secret, which a document cannot have")
	}
	if preferred == "" && len(offered) == 0 {
		preferred = oauth.AuthNone
	}
	if preferred != "" {
		offered = append([]string{preferred}, offered...)
	}
	var methods []string
	for _, method := range offered {
		if (method == oauth.AuthNone || method == oauth.AuthPrivateKeyJWT) && !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
	}
	// Key material is checked even where it is not used: private keys must not stand in a document. Keys of kinds that we
	// lack may.
	if o.has("jwks") {
		if _, err := parseKeySet(o["jwks"]); err != nil && !errors.Is(err, errNoKey) {
			return fmt.Errorf("jwks %w", err)
		}
	}
	if slices.Contains(methods, oauth.AuthPrivateKeyJWT) {
		if err := parseKeys(o, c, d.fetcher.CheckURL); err != nil {
			if !slices.Contains(methods, oauth.AuthNone) {
				return err
			}
			methods = []string{oauth.AuthNone}
			c.JWKS, c.JWKSURI = nil, ""
		}
	}
	if len(methods) == 0 {
		return errors.New("it offers neither none nor private_key_jwt as token_endpoint_auth_method")
	}
	c.AuthMethod = methods[0]
	if len(methods) > 1 {
		c.AuthMethods = methods
	}
	if !slices.Contains(methods, oauth.AuthPrivateKeyJWT) {
		c.SigningAlg = ""
	}
	return nil
}

// CheckURL checks the form of a URL that will be fetched later, and says what is wrong with it. No network is asked.
func (f *Fetcher) CheckURL(rawURL string) error {
	_, err := f.client.ParseURL(rawURL)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), safehttp.ErrForbidden.Error()+": "))
	}
	return nil
}
