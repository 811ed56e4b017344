package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/upstream"
	"mcp-access-oauth/test/budget"
	"mcp-access-oauth/test/robot"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	c := budget.New(t)
	c.Start()
	c.Refuses([][2]string{
		{"ISSUER", ""}, {"MCP_URL", ""}, {"ALLOWED_EMAILS", "everyone"}, {"TOOL_POLICY", "{"}, {"NATIVE_SCHEMES", "javascript"},
		{"ACCESS_ISSUER", "http://idp.example.com"}, {"ACCESS_CLIENT_ID", ""}, {"ACCESS_CLIENT_SECRET_ARN", ""}, {"ACCESS_CLIENT_SECRET", "beside the ARN"},
		{"TABLE_NAME", ""}, {"AWS_REGION", ""}, {"CLIENTS_FILE", "missing.json"}, {"CLIENTS", "{"},
		{"ALLOW_LOOPBACK_DOCUMENTS", "maybe"}, {"OPERATOR_NAME", strings.Repeat("x", 61)},
	})
}

const (
	redirectURI = "http://127.0.0.1:4711/callback"
	day         = 24 * time.Hour
)

var verifier = strings.Repeat("v", 43)

// world is the token function among records that are as old as a test needs them.
type world struct {
	*budget.Cloud
	t       *testing.T
	handler http.Handler
	session upstream.Session // of the one person
}

func newWorld(t *testing.T) *world {
	c := budget.New(t)
	c.WithProvider()
	w := &world{Cloud: c, t: t, handler: c.Build(build)}
	w.signIn()
	return w
}

// signIn signs the person in at the provider, so that there is a session to ask about.
func (w *world) signIn() {
	w.t.Helper()
	ctx := w.t.Context()
	provider, err := upstream.New(upstream.Config{
		Issuer: w.Env("ACCESS_ISSUER"), ClientID: w.Env("ACCESS_CLIENT_ID"), RedirectURL: w.Issuer + oauth.PathCallback,
		Secret: upstream.StaticSecret(budget.ClientSecret),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	address, err := provider.AuthorizationURL(ctx, "state", "nonce", verifier)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := robot.New("employee1@mycompany.com").Authorize(ctx, address)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.session, err = provider.Exchange(ctx, response.Get("code"), verifier, "nonce"); err != nil || w.session.RefreshToken == "" {
		w.t.Fatalf("signing in at the provider: %+v, %v", w.session, err)
	}
}

// client registers a public client, and has it used the given time ago; never when that is zero.
func (w *world) client(name string, used time.Duration) string {
	w.t.Helper()
	metadata := `{"client_name":"` + name + `","redirect_uris":["` + redirectURI + `"],"token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","refresh_token"]}`
	then := budget.Clock(used)
	registered, err := (&clients.Registrar{Table: w.Table(used), Now: then, Rand: rand.Reader}).Register(w.t.Context(), []byte(metadata))
	if err != nil {
		w.t.Fatal(err)
	}
	if used > 0 {
		store := clients.Store{Table: w.Table(used), Now: then}
		c, err := store.Lookup(w.t.Context(), registered.ClientID)
		if err == nil {
			err = store.Approved(w.t.Context(), c)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return registered.ClientID
}

// grant creates a grant the given time ago, and returns its code and id.
func (w *world) grant(clientID string, ago time.Duration, session upstream.Session) (code, id string) {
	w.t.Helper()
	challenge := sha256.Sum256([]byte(verifier))
	id = grants.NewID(nil)
	code, err := (&grants.Store{Table: w.Table(ago), Now: budget.Clock(ago)}).Create(w.t.Context(), grants.NewGrant{
		ID: id, ClientID: clientID, RedirectURI: redirectURI, CodeChallenge: base64.RawURLEncoding.EncodeToString(challenge[:]),
		Scopes: []string{"mcp"}, Resource: w.Env("MCP_URL"), Identity: session.Identity, UpstreamRefreshToken: session.RefreshToken,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return code, id
}

// redeemed is the refresh token of a grant that was created and redeemed the given time ago.
func (w *world) redeemed(clientID string, ago time.Duration, session upstream.Session) string {
	w.t.Helper()
	code, id := w.grant(clientID, ago, session)
	store := &grants.Store{Table: w.Table(ago), Now: budget.Clock(ago)}
	items, err := store.Table.Get(context.Background(), grants.Key(id))
	if err != nil {
		w.t.Fatal(err)
	}
	issued, err := store.Redeem(w.t.Context(), items[0], grants.Redemption{
		Code: code, ClientID: clientID, RedirectURI: redirectURI, Verifier: verifier, Refreshable: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return issued.RefreshToken
}

func (w *world) redeem(clientID, code string) string {
	w.t.Helper()
	answer := budget.Post(w.t, w.handler, oauth.PathToken, "grant_type", "authorization_code", "client_id", clientID,
		"code", code, "redirect_uri", redirectURI, "code_verifier", verifier)
	token, _ := answer["refresh_token"].(string)
	return token
}

func (w *world) refresh(clientID, token string) string {
	w.t.Helper()
	answer := budget.Post(w.t, w.handler, oauth.PathToken, "grant_type", "refresh_token", "client_id", clientID, "refresh_token", token)
	next, _ := answer["refresh_token"].(string)
	return next
}

// silent is the session of a provider that gives no refresh token, and so is not asked again.
func (w *world) silent() upstream.Session {
	return upstream.Session{Identity: policy.Identity{Issuer: w.session.Identity.Issuer, Subject: "silent"}}
}

func TestBudget(t *testing.T) {
	w := newWorld(t)
	client := w.client("used a moment ago", time.Minute)
	code, _ := w.grant(client, 0, w.silent())
	var first, second string
	w.Spend("a code", budget.Calls{Reads: 1, Writes: 1}, func() { first = w.redeem(client, code) })
	w.Spend("a refresh", budget.Calls{Reads: 1, Writes: 1}, func() { second = w.refresh(client, first) })
	w.Spend("the same once more", budget.Calls{Reads: 1}, func() { w.refresh(client, first) })
	form := func(fields ...string) func() {
		return func() { budget.PostForm(t, w.handler, oauth.PathToken, http.StatusBadRequest, fields...) }
	}
	w.Spend("a made-up token", budget.Calls{Reads: 1}, form("grant_type", "refresh_token", "client_id", client,
		"refresh_token", "rt_"+grants.NewID(nil)+"_"+second[strings.LastIndexByte(second, '_')+1:]))
	w.Spend("an unknown grant type", budget.Calls{}, form("grant_type", "password", "client_id", client))
	w.Spend("another resource", budget.Calls{}, form("grant_type", "refresh_token", "client_id", client, "refresh_token", second, "resource", "https://other.example.com"))
	w.Spend("revocation", budget.Calls{Reads: 1, Writes: 1}, func() {
		budget.PostForm(t, w.handler, oauth.PathRevoke, http.StatusOK, "token", second, "client_id", client)
	})
}

// Once in an access token's life a refresh asks the identity provider, under a lease that is written first.
func TestBudgetAtTheProvider(t *testing.T) {
	w := newWorld(t)
	client := w.client("used a moment ago", time.Minute)
	token := w.redeemed(client, 20*time.Minute, w.session)
	w.Spend("a refresh that asks the provider", budget.Calls{Reads: 1, Writes: 2, Secrets: 1}, func() { token = w.refresh(client, token) })
	w.Spend("the next refresh", budget.Calls{Reads: 1, Writes: 1}, func() { w.refresh(client, token) })
	w.signIn()
	token = w.redeemed(client, 20*time.Minute, w.session)
	w.Spend("a refresh that asks the provider again", budget.Calls{Reads: 1, Writes: 2}, func() { w.refresh(client, token) })
}

// A client outlives its grants: its first use of a day costs one write that moves its expiry.
func TestBudgetOfTheDay(t *testing.T) {
	w := newWorld(t)
	for name, used := range map[string]time.Duration{"never used": 0, "used yesterday": day + time.Minute} {
		t.Run(name, func(t *testing.T) {
			client := w.client(name, used)
			code, _ := w.grant(client, 0, w.silent())
			other := w.redeemed(client, 5*time.Minute, w.silent())
			var token string
			w.Spend("its first use today", budget.Calls{Reads: 1, Writes: 2}, func() { token = w.redeem(client, code) })
			w.Spend("its next", budget.Calls{Reads: 1, Writes: 1}, func() { token = w.refresh(client, token) })
			w.Spend("its next, on another grant", budget.Calls{Reads: 1, Writes: 1}, func() { w.refresh(client, other) })
		})
	}
}
