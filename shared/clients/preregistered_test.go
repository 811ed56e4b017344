package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/shared/oauth"
)

func TestLoadFile(t *testing.T) {
	h := newHouse(t)
	hash := sha256.Sum256([]byte("s3cret"))
	path := filepath.Join(t.TempDir(), "clients.json")
	content := fmt.Sprintf(`{"clients":[
		{"client_id":"ci-bot","client_name":"CI","grant_types":["client_credentials"],"client_secret_sha256":"%[1]s","scope":"mcp"},
		{"client_id":"strict","grant_types":["client_credentials"],"client_secret_sha256":"%[1]s","token_endpoint_auth_method":"client_secret_basic"},
		{"client_id":"desktop","token_endpoint_auth_method":"none","redirect_uris":["http://localhost/cb"],"grant_types":["authorization_code","refresh_token"],"scope":"mcp offline_access"},
		{"client_id":"https://example.com/pinned","token_endpoint_auth_method":"none","redirect_uris":["https://example.com/cb"]},
		{"client_id":"robot","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://example.com/keys","grant_types":["client_credentials"]}
	]}`, hex.EncodeToString(hash[:]))
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := LoadFile(path, nativeSchemes, h.site.fetcher.CheckURL)
	if err != nil {
		t.Fatal(err)
	}
	h.store.PreRegistered = list
	lookup := func(id string) Client {
		t.Helper()
		c, err := h.store.Lookup(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	bot := lookup("ci-bot")
	if bot.Kind != PreRegistered || bot.AuthMethod != oauth.AuthSecretBasic || !bot.Allows(oauth.GrantClientCredentials) || bot.Allows(oauth.GrantAuthorizationCode) || len(bot.ResponseTypes) != 0 {
		t.Errorf("ci-bot = %+v", bot)
	}
	if err := h.auth.Authenticate(t.Context(), bot, Credentials{ClientID: "ci-bot", Method: oauth.AuthSecretBasic, secret: "s3cret"}); err != nil {
		t.Errorf("ci-bot: %v", err)
	}
	if err := h.auth.Authenticate(t.Context(), bot, Credentials{ClientID: "ci-bot", Method: oauth.AuthSecretPost, secret: "s3cret"}); err != nil {
		t.Errorf("ci-bot, in the body: %v", err)
	}
	strict := lookup("strict")
	err = h.auth.Authenticate(t.Context(), strict, Credentials{ClientID: "strict", Method: oauth.AuthSecretPost, secret: "s3cret"})
	wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
	desktop := lookup("desktop")
	if desktop.Name != "desktop" || !desktop.MatchRedirect("http://localhost:5/cb") || !slices.Equal(desktop.ScopeCeiling(), []string{"mcp", "offline_access"}) {
		t.Errorf("desktop = %+v", desktop)
	}
	if pinned := lookup("https://example.com/pinned"); pinned.Kind != PreRegistered || !slices.Equal(pinned.ScopeCeiling(), []string{"mcp"}) || h.site.count("/pinned") != 0 {
		t.Errorf("pinned = %+v", pinned)
	}
	if err := h.store.Used(t.Context(), bot, h.Now()); err != nil {
		t.Error(err)
	}
	if reads, writes := h.table.calls(); reads != 0 || writes != 0 {
		t.Errorf("pre-registered clients took %d reads and %d writes", reads, writes)
	}
	if _, err := LoadFile(path+".missing", nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestLoadFileErrors(t *testing.T) {
	h := newHouse(t)
	entry := func(members string) string { return `{"clients":[{"client_id":"bot",` + members + `}]}` }
	for _, test := range []struct{ name, file, want string }{
		{"not JSON", `clients: []`, "malformed"},
		{"a bare list", `[]`, "not an object"},
		{"another member", `{"client":[]}`, `"client"`},
		{"not a list", `{"clients":{}}`, "array"},
		{"no id", `{"clients":[{"client_name":"x"}]}`, "client 1: client_id"},
		{"bad id", `{"clients":[{"client_id":"a b"}]}`, "client_id must be"},
		{"twice", `{"clients":[{"client_id":"a","token_endpoint_auth_method":"none","redirect_uris":["https://a.example/"]},{"client_id":"a","token_endpoint_auth_method":"none","redirect_uris":["https://a.example/"]}]}`, `client 2 ("a"): its client_id stands there twice`},
		{"a secret in the clear", entry(`"client_secret":"x"`), "client_secret_sha256"},
		{"a misspelled member", entry(`"redirect_uri":["https://a.example/"]`), `"redirect_uri"`},
		{"no secret", entry(`"redirect_uris":["https://a.example/"]`), "client_secret_sha256 is missing"},
		{"a bad hash", entry(`"redirect_uris":["https://a.example/"],"client_secret_sha256":"abc"`), "64 hexadecimal"},
		{"a hash of a public client", entry(`"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none","client_secret_sha256":"` + strings.Repeat("0", 64) + `"`), "does not go with none"},
		{"client credentials of a public client", entry(`"token_endpoint_auth_method":"none","grant_types":["client_credentials"]`), "client_credentials"},
		{"refresh without code", entry(`"grant_types":["client_credentials","refresh_token"],"client_secret_sha256":"` + strings.Repeat("0", 64) + `"`), "refresh_token"},
		{"a bad redirect URI", entry(`"redirect_uris":["http://a.example/"]`), "redirect_uri uses http"},
		{"no redirect URI", entry(`"token_endpoint_auth_method":"none"`), "redirect_uris is missing"},
		{"a key set inside", entry(`"grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://10.0.0.1/k"`), "jwks_uri"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseFile([]byte(test.file), nativeSchemes, h.site.fetcher.CheckURL)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestPreRegisteredWinsOverTheTable(t *testing.T) {
	h := newHouse(t)
	id := h.register(t, mcpRemote(1)).ClientID
	h.store.PreRegistered[id] = Client{ID: id, Kind: PreRegistered, AuthMethod: oauth.AuthNone}
	c, err := h.store.Lookup(t.Context(), id)
	if err != nil || c.Kind != PreRegistered {
		t.Errorf("client = %+v, %v", c, err)
	}
	// What is not in the file and not in the table is unknown, whatever it is called.
	_, err = h.store.Lookup(t.Context(), "ci-bot")
	wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
}

func TestFromEnv(t *testing.T) {
	list := `{"clients":[{"client_id":"desktop","token_endpoint_auth_method":"none","redirect_uris":["http://localhost/cb"]}]}`
	path := filepath.Join(t.TempDir(), "clients.json")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	for _, test := range []struct {
		variable, value string
		err             string
	}{
		{variable: "CLIENTS_FILE", value: path},
		{variable: "CLIENTS", value: list},
		{variable: "CLIENTS_FILE", value: path + ".missing", err: "CLIENTS_FILE reading"},
		{variable: "CLIENTS", value: `{"clients":[{"client_id":"desktop"}]}`, err: `CLIENTS client 1 ("desktop")`},
	} {
		env := func(name string) string {
			if name == test.variable {
				return test.value
			}
			return ""
		}
		store, _, err := FromEnv(env, h.table, nativeSchemes, h.Now)
		if test.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("%s: err = %v, want %s", test.variable, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.variable, err)
			continue
		}
		if c, err := store.Lookup(t.Context(), "desktop"); err != nil || c.Kind != PreRegistered {
			t.Errorf("%s: %+v, %v", test.variable, c, err)
		}
	}
}
