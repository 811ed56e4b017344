package signin

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/upstream"
	"mcp-access-oauth/shared/web"
)

// Handler is the sign-in. Authorize and Callback are two endpoints of it, on AWS two functions; each says which fields
// it needs.
type Handler struct {
	// Issuer is the authorization server's identifier and own origin. It comes from the settings alone, never from a
	// request's Host (H01).
	Issuer string
	// Resource is what tokens are issued for.
	Resource oauth.Resource
	// NativeSchemes are the private-use redirect schemes without a dot that are allowed.
	NativeSchemes []string
	// Policy names the scopes beside the two that always exist, and the tools they open.
	Policy policy.Policy
	// Tools are the names of the tools, for the consent page. It may be empty.
	Tools []string
	// Operator is who runs this server, in a few words for the consent page, which names the hosts instead if it is empty.
	Operator string
	// ProviderHost is where people will sign in, for the consent page; left out if empty.
	ProviderHost string

	Clients  *clients.Store
	Sealer   *seal.Sealer
	Upstream *upstream.Provider
	// Grants is needed by Callback alone.
	Grants *grants.Store
	// Audit may be nil.
	Audit *audit.Log
	Now   func() time.Time
	// Rand is crypto/rand's if nil.
	Rand io.Reader
}

// Authorize is GET and POST /authorize. It needs every field but Grants, and reads the table only to look a client up.
func (h *Handler) Authorize() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			h.ask(w, r)
		case http.MethodPost:
			h.decide(w, r)
		default:
			web.SetRedirectHeaders(w.Header())
			oauth.MethodNotAllowed(w, "GET, POST")
		}
	})
}

// Callback is GET /callback, where the identity provider sends people back to. It needs every field but Policy, Tools,
// Operator and ProviderHost.
func (h *Handler) Callback() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			web.SetRedirectHeaders(w.Header())
			oauth.MethodNotAllowed(w, "GET")
			return
		}
		h.callback(w, r)
	})
}

func (h *Handler) terms() terms {
	return terms{resource: h.Resource, scopes: oauth.SupportedScopes(h.Policy.Scopes()), nativeSchemes: h.NativeSchemes}
}

// random reads n bytes. A source that fails is fatal, as crypto/rand's is.
func (h *Handler) random(n int) []byte {
	source := h.Rand
	if source == nil {
		source = rand.Reader
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(source, b); err != nil {
		panic(fmt.Sprintf("signin: reading randomness: %v", err))
	}
	return b
}

// redirect sends the browser on. 303 after a form, so that the form is never sent along (RFC 9700 section 4.12).
func redirect(w http.ResponseWriter, r *http.Request, target string) {
	web.SetRedirectHeaders(w.Header())
	w.Header().Set("Location", target)
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusFound)
}

// answerURL adds the parameters of an authorization response to a redirect URI, keeping the URI's own query
// (RFC 6749 section 3.1.2), and names ourselves as the issuer (RFC 9207 section 2).
func (h *Handler) answerURL(redirectURI, state string, values url.Values) string {
	values.Set("iss", h.Issuer)
	if state != "" {
		values.Set("state", state)
	}
	separator := "?"
	if strings.Contains(redirectURI, "?") {
		separator = "&"
		if strings.HasSuffix(redirectURI, "?") || strings.HasSuffix(redirectURI, "&") {
			separator = ""
		}
	}
	return redirectURI + separator + values.Encode()
}

// errorURL is the answer that carries an error (RFC 6749 section 4.1.2.1).
func (h *Handler) errorURL(redirectURI, state string, e *oauth.Error) string {
	values := url.Values{"error": {e.Code}}
	if e.Description != "" {
		values.Set("error_description", e.Description)
	}
	return h.answerURL(redirectURI, state, values)
}

// wantsJSON reports a program that asks: it takes JSON and does not say that it takes HTML. mcp-remote tests in this way
// whether its registration still stands.
func wantsJSON(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}
