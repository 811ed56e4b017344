// Package tokens is the back channel of the authorization server: the token endpoint with one file per grant type, and
// token revocation and introspection. It joins clients, which knows who asks, with grants, which knows what was granted,
// and asks the identity provider where a refresh must. It decides nothing about either; what it owns is the wire: which
// parameters are read in which order, so that a refused request consumes nothing, and how the answer is written.
package tokens

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/upstream"
)

// Handler answers /token, /revoke and /introspect.
type Handler struct {
	// Grants and Clients stand on one table: client and grant are read in one call of it.
	Grants        *grants.Store
	Clients       *clients.Store
	Authenticator *clients.Authenticator
	// Upstream asks the identity provider whether a person's session stands; (*upstream.Provider).Refresh is one.
	Upstream func(ctx context.Context, refreshToken string, previous policy.Identity) (upstream.Session, error)
	// Issuer is this server's identifier and Resource the one audience of its tokens.
	Issuer   string
	Resource oauth.Resource
	// ToolScopes are the configured per-tool scopes.
	ToolScopes []string
	// Limiter bounds the requests of this process; NewLimiter is one. Nil means no bound.
	Limiter *rate.Limiter
	Now     func() time.Time
	// Arrived is when a request reached the service, by the platform's word and never the client's; awshttp.Arrived is one.
	// Nil means that requests come straight here.
	Arrived func(*http.Request) time.Time
}

// NewLimiter admits far more than clients that behave will ever ask for, 2,000 requests a second after a burst of
// 4,000: it keeps one client in a loop from starving all others of the table. The bound stands here and not at the
// gateway so that its refusal is OAuth JSON, which client SDKs take for the passing fault that it is.
func NewLimiter() *rate.Limiter { return rate.NewLimiter(2000, 4000) }

// Mount puts the three endpoints on mux.
func (h *Handler) Mount(mux *http.ServeMux) {
	mux.Handle(oauth.PathToken, h.endpoint(h.token))
	mux.Handle(oauth.PathRevoke, h.endpoint(h.revoke))
	mux.Handle(oauth.PathIntrospect, h.endpoint(h.introspect))
}

// request is what the three endpoints have in common: parameters, and a client that is named but not yet proven.
type request struct {
	form        oauth.Params
	credentials clients.Credentials
	arrived     time.Time
}

// endpoint reads a request and writes what serve returns. Browser clients of any origin may call it: what it gives
// depends on secrets in the body alone, never on a cookie.
func (h *Handler) endpoint(serve func(context.Context, http.ResponseWriter, request) error) http.Handler {
	return oauth.AllowAnyOrigin(http.MethodPost, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.serve(w, r, serve); err != nil {
			audit.Refused(r.Context(), oauth.AsError(err))
			oauth.WriteError(w, err)
		}
	}))
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, serve func(context.Context, http.ResponseWriter, request) error) error {
	if r.Method != http.MethodPost { // RFC 6749 section 3.2, RFC 7009 section 2.1, RFC 7662 section 2.1
		oauth.MethodNotAllowed(w, "POST, OPTIONS")
		return nil
	}
	arrived := h.Now()
	if h.Arrived != nil {
		arrived = h.Arrived(r)
	}
	if h.Limiter != nil && !h.Limiter.AllowN(h.Now(), 1) {
		return oauth.Unavailable(errors.New("the process's request limit is reached"))
	}
	form, err := oauth.ParseForm(w, r)
	if err != nil {
		return err
	}
	credentials, refusal := clients.ParseCredentials(r, form)
	if refusal != nil {
		return refusal
	}
	audit.Add(r.Context(), slog.String("client_id", credentials.ClientID)) // not yet proven
	return serve(r.Context(), w, request{form, credentials, arrived})
}

// authenticate reads the client and, in the same call of the table, the grant that a secret names; it then checks that
// the request comes from this client. The item is nil where there is no such grant, or where grantID is empty.
func (h *Handler) authenticate(ctx context.Context, r request, grantID string) (clients.Client, *table.Item, error) {
	id := r.credentials.ClientID
	clientKey, possible := clients.Key(id)
	if !possible {
		return clients.Client{}, nil, h.Authenticator.Unknown(r.credentials)
	}
	keys := []table.Key{clientKey}
	if grantID != "" {
		keys = append(keys, grants.Key(grantID))
	}
	items, err := h.Grants.Table.Get(ctx, keys...)
	if err != nil {
		return clients.Client{}, nil, fmt.Errorf("reading client and grant: %w", err)
	}
	client, err := h.Clients.Resolve(ctx, id, items[0])
	if errors.Is(err, clients.ErrUnknown) {
		return clients.Client{}, nil, h.Authenticator.Unknown(r.credentials)
	} else if err != nil {
		return clients.Client{}, nil, err
	}
	if err := h.Authenticator.Authenticate(ctx, client, r.credentials); err != nil {
		return clients.Client{}, nil, err
	}
	if grantID == "" {
		return client, nil, nil
	}
	return client, items[1], nil
}
