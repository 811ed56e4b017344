package clients

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"mcp-access-oauth/shared/oauth"
)

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

// parseCredentials sends a form to the token endpoint.
func parseCredentials(t testing.TB, form url.Values, authorization ...string) (Credentials, *oauth.Error) {
	t.Helper()
	r := httptest.NewRequest("POST", "/token?client_id=query&client_secret=query", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	params, err := oauth.ParseForm(httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	return ParseCredentials(r, params)
}

func TestParseCredentials(t *testing.T) {
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"c"}`)) + ".c2ln"
	for _, test := range []struct {
		name          string
		form          url.Values
		authorization []string
		want          Credentials
		code          string
		status        int
		challenge     bool
	}{
		{name: "none", form: url.Values{"client_id": {"c"}}, want: Credentials{ClientID: "c", Method: oauth.AuthNone}},
		{name: "empty secret", form: url.Values{"client_id": {"c"}, "client_secret": {""}}, want: Credentials{ClientID: "c", Method: oauth.AuthNone}},
		{name: "post", form: url.Values{"client_id": {"c"}, "client_secret": {"s"}}, want: Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: "s"}},
		{name: "basic", authorization: []string{basic("c", "s")}, want: Credentials{ClientID: "c", Method: oauth.AuthSecretBasic, secret: "s"}},
		{name: "basic, form-encoded", authorization: []string{basic("c:d", "a+b %/:é")}, want: Credentials{ClientID: "c:d", Method: oauth.AuthSecretBasic, secret: "a+b %/:é"}},
		{name: "basic in any case", authorization: []string{"bAsIc" + strings.TrimPrefix(basic("c", "s"), "Basic")}, want: Credentials{ClientID: "c", Method: oauth.AuthSecretBasic, secret: "s"}},
		{name: "basic and the same client_id", form: url.Values{"client_id": {"c"}}, authorization: []string{basic("c", "s")}, want: Credentials{ClientID: "c", Method: oauth.AuthSecretBasic, secret: "s"}},
		{name: "basic, empty secret", authorization: []string{basic("c", "")}, want: Credentials{ClientID: "c", Method: oauth.AuthSecretBasic}},
		{name: "assertion", form: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {jwt}}, want: Credentials{ClientID: "c", Method: oauth.AuthPrivateKeyJWT, assertion: jwt}},
		{name: "assertion and client_id", form: url.Values{"client_id": {"c"}, "client_assertion_type": {assertionType}, "client_assertion": {jwt}}, want: Credentials{ClientID: "c", Method: oauth.AuthPrivateKeyJWT, assertion: jwt}},

		{name: "D06 nothing", code: oauth.InvalidRequest, status: 400},
		{name: "D06 a secret without a client", form: url.Values{"client_secret": {"s"}}, code: oauth.InvalidRequest, status: 400},
		{name: "D06 basic and body", form: url.Values{"client_id": {"c"}, "client_secret": {"s"}}, authorization: []string{basic("c", "s")}, code: oauth.InvalidRequest, status: 400},
		{name: "D06 basic and assertion", form: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {jwt}}, authorization: []string{basic("c", "s")}, code: oauth.InvalidRequest, status: 400},
		{name: "D06 body and assertion", form: url.Values{"client_secret": {"s"}, "client_assertion_type": {assertionType}, "client_assertion": {jwt}}, code: oauth.InvalidRequest, status: 400},
		{name: "D06 two headers", authorization: []string{basic("c", "s"), basic("d", "s")}, code: oauth.InvalidRequest, status: 400},
		{name: "D06 basic and another client_id", form: url.Values{"client_id": {"d"}}, authorization: []string{basic("c", "s")}, code: oauth.InvalidRequest, status: 400},
		{name: "bearer", authorization: []string{"Bearer x"}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic without credentials", authorization: []string{"Basic"}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic, not base64", authorization: []string{"Basic !!"}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic without colon", authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("cs"))}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic, bad escape", authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("c:%zz"))}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic without id", authorization: []string{basic("", "s")}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic with NUL", authorization: []string{basic("c\x00", "s")}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic, not UTF-8", authorization: []string{basic("c\xff", "s")}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "basic, huge", authorization: []string{basic("c", strings.Repeat("s", 10_000))}, code: oauth.InvalidClient, status: 401, challenge: true},
		{name: "huge secret", form: url.Values{"client_id": {"c"}, "client_secret": {strings.Repeat("s", 10_000)}}, code: oauth.InvalidClient, status: 401},
		{name: "assertion without type", form: url.Values{"client_assertion": {jwt}}, code: oauth.InvalidRequest, status: 400},
		{name: "type without assertion", form: url.Values{"client_assertion_type": {assertionType}}, code: oauth.InvalidRequest, status: 400},
		{name: "assertion of SAML", form: url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, "client_assertion": {jwt}}, code: oauth.InvalidClient, status: 401},
		{name: "assertion of another client", form: url.Values{"client_id": {"d"}, "client_assertion_type": {assertionType}, "client_assertion": {jwt}}, code: oauth.InvalidClient, status: 401},
		{name: "assertion of no parts", form: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {"x"}}, code: oauth.InvalidClient, status: 401},
		{name: "assertion without subject", form: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {"e30.e30.e30"}}, code: oauth.InvalidClient, status: 401},
		{name: "assertion, huge", form: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {jwt + strings.Repeat("A", 10_000)}}, code: oauth.InvalidClient, status: 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseCredentials(t, test.form, test.authorization...)
			if test.code != "" {
				if err == nil || err.Code != test.code || err.Status != test.status || (err.Challenge != "") != test.challenge {
					t.Errorf("err = %#v, want %s %d", err, test.code, test.status)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestCredentialsPrintNoSecret(t *testing.T) {
	c := Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: "hidden", assertion: "hidden"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, c); strings.Contains(s, "hidden") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func TestD06_ClientSecrets(t *testing.T) {
	h := newHouse(t)
	hash := sha256.Sum256([]byte("right"))
	client := func(method string) Client { return Client{ID: "c", AuthMethod: method, SecretHash: hash[:]} }
	for _, test := range []struct {
		name   string
		client Client
		cr     Credentials
		ok     bool
	}{
		{"none", Client{ID: "c", AuthMethod: oauth.AuthNone}, Credentials{ClientID: "c", Method: oauth.AuthNone}, true},
		{"basic", client(oauth.AuthSecretBasic), Credentials{ClientID: "c", Method: oauth.AuthSecretBasic, secret: "right"}, true},
		{"post", client(oauth.AuthSecretPost), Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: "right"}, true},
		{"wrong secret", client(oauth.AuthSecretBasic), Credentials{ClientID: "c", Method: oauth.AuthSecretBasic, secret: "wrong"}, false},
		{"empty secret", client(oauth.AuthSecretBasic), Credentials{ClientID: "c", Method: oauth.AuthSecretBasic}, false},
		{"the hash as secret", client(oauth.AuthSecretPost), Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: string(hash[:])}, false},
		{"basic where post is registered", client(oauth.AuthSecretPost), Credentials{ClientID: "c", Method: oauth.AuthSecretBasic, secret: "right"}, false},
		{"post where basic is registered", client(oauth.AuthSecretBasic), Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: "right"}, false},
		{"nothing where basic is registered", client(oauth.AuthSecretBasic), Credentials{ClientID: "c", Method: oauth.AuthNone}, false},
		{"a secret where none is registered", Client{ID: "c", AuthMethod: oauth.AuthNone}, Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: "x"}, false},
		{"a client without secret", Client{ID: "c", AuthMethod: oauth.AuthSecretPost}, Credentials{ClientID: "c", Method: oauth.AuthSecretPost}, false},
		{"another client's credentials", client(oauth.AuthSecretPost), Credentials{ClientID: "d", Method: oauth.AuthSecretPost, secret: "right"}, false},
		{"an assertion where basic is registered", client(oauth.AuthSecretBasic), Credentials{ClientID: "c", Method: oauth.AuthPrivateKeyJWT, assertion: "e30.e30.e30"}, false},
		{"the zero client", Client{}, Credentials{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := h.auth.Authenticate(t.Context(), test.client, test.cr)
			if test.ok {
				if err != nil {
					t.Errorf("err = %v", err)
				}
				return
			}
			e := wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
			if (e.Challenge != "") != (test.cr.Method == oauth.AuthSecretBasic) {
				t.Errorf("challenge %q", e.Challenge)
			}
			// H10: a client that is not there is answered alike.
			if unknown := h.auth.Unknown(test.cr); *unknown != *e {
				t.Errorf("an unknown client is answered %+v, this one %+v", unknown, e)
			}
		})
	}
	t.Run("expired secret", func(t *testing.T) {
		c := client(oauth.AuthSecretPost)
		c.SecretExpiresAt = h.Now()
		err := h.auth.Authenticate(t.Context(), c, Credentials{ClientID: "c", Method: oauth.AuthSecretPost, secret: "right"})
		wantError(t, err, oauth.InvalidClient, http.StatusUnauthorized)
	})
}

func FuzzBasicCredentials(f *testing.F) {
	for _, seed := range []string{basic("c", "s"), "Basic Yzpz", "basic ", "Bearer x", "Basic YzolMDA=", "Basic\tYzpz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		cr, err := basicCredentials(header, oauth.Params{})
		if err != nil {
			if err.Code != oauth.InvalidClient || err.Status != 401 || err.Challenge == "" {
				t.Fatalf("%q: %+v", header, err)
			}
			return
		}
		if cr.ClientID == "" || cr.Method != oauth.AuthSecretBasic || !plain(cr.ClientID) || !plain(cr.secret) {
			t.Fatalf("%q: %#v", header, cr)
		}
		// What was taken is one pair, whichever way it was spelled.
		again, err := basicCredentials(basic(cr.ClientID, cr.secret), oauth.Params{})
		if err != nil || again != cr {
			t.Fatalf("%q: %v and %v, %v", header, cr, again, err)
		}
	})
}
