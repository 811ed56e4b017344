// Package demo is an OpenID provider for `make run` on a machine that has none: a real one, built on zitadel/oidc, whose
// sign-in page offers its people as buttons and asks for no password. So it serves this machine alone, and New refuses
// any issuer that is not a loopback URL. It owns the sign-in page, the people, and one file with its keys; the protocol
// is the library's.
package demo

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// Config is what the provider needs to know.
type Config struct {
	// Issuer is an http URL of a loopback address with a port and without a path, such as http://127.0.0.1:8790.
	Issuer string
	// DataDir keeps the signing key and the key that seals refresh tokens, so that both survive a restart.
	DataDir string
	// The one client. Its redirect URIs are compared to the letter.
	ClientID, ClientSecret string
	RedirectURIs           []string
	// Now defaults to time.Now. It decides on the expiry of what the provider keeps or seals itself; ID tokens are
	// stamped by the library with the time of the machine.
	Now func() time.Time
}

// person is somebody who can sign in.
type person struct {
	Subject, Email, Name string
	Groups               []string
	// Note says on the sign-in page what to expect.
	Note string
}

// people are the ones that the default ALLOWED_EMAILS of `make run` speaks of, and one whom it leaves out.
var people = []person{
	{"demo-employee1", "employee1@mycompany.com", "Emma Ployee", []string{"employees", "designers"}, "May use every tool"},
	{"demo-teammate1", "teammate1@mycompany.com", "Tim Mate", []string{"employees"}, "May use every tool"},
	{"demo-guest", "guest@mycompany.com", "Grace Guest", []string{"guests"}, "May use the open tools only"},
}

// New returns the provider's handler, which is to be served at the issuer.
func New(cfg Config) (http.Handler, error) {
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil || issuer.Scheme != "http" || !loopback(issuer.Hostname()) || cfg.Issuer != "http://"+issuer.Host {
		return nil, fmt.Errorf("the demo identity provider signs anyone in without a password, so its issuer must be a loopback URL such as http://127.0.0.1:8790, not %q", cfg.Issuer)
	}
	if cfg.ClientID == "" || cfg.ClientSecret == "" || len(cfg.RedirectURIs) == 0 {
		return nil, errors.New("the demo identity provider needs a client id, a client secret and a redirect URI")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	keys, err := loadKeys(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("loading the demo identity provider's keys: %w", err)
	}
	store := newStorage(cfg, keys)
	provider, err := op.NewProvider(&op.Config{
		CodeMethodS256:        true,
		AuthMethodPost:        true,
		GrantTypeRefreshToken: true,
		SupportedScopes:       []string{"openid", "profile", "email", "groups", "offline_access"},
		SupportedClaims:       []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "azp", "at_hash", "c_hash", "name", "email", "email_verified", "groups"},
	}, store, op.StaticIssuer(cfg.Issuer),
		op.WithAllowInsecure(), // http, which New has bound to this machine
		op.WithCrypto(keys.tokens),
		op.WithCORSOptions(nil), // no page's script has business here
	)
	if err != nil {
		return nil, fmt.Errorf("building the demo identity provider: %w", err)
	}
	// Only what the code flow needs is mounted; the library would serve more.
	mux := http.NewServeMux()
	for _, path := range []string{
		"/.well-known/openid-configuration", "/authorize", "/authorize/callback", "/oauth/token", "/userinfo", "/revoke", "/keys",
	} {
		mux.Handle(path, provider)
	}
	page := &signinPage{store: store, provider: provider}
	mux.HandleFunc("GET /login", page.show)
	mux.HandleFunc("POST /login", page.choose)
	mux.HandleFunc("GET /signin.css", stylesheet)
	return onlyHost(issuer.Host, mux), nil
}

// onlyHost refuses requests under another name than the issuer's, as DNS rebinding would make them (RFC 9110 section
// 15.5.20).
func onlyHost(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host {
			http.Error(w, "this identity provider answers only at http://"+host, http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
