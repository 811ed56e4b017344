package attacks

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
)

// TestD01_Replay: a code is redeemed a second time, first by someone who only has the code, then by someone who has
// everything.
func TestD01_Replay(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c, other := newClient(t, d, loopback), newClient(t, d, web)
	code := c.code(t, deployment.Guest)
	tokens := c.redeem(t, code).issued(t)
	for name, a := range map[string]answer{
		"another client":       other.redeem(t, code),
		"another redirect URI": c.redeem(t, code, "redirect_uri", web),
		"another verifier":     c.redeem(t, code, "code_verifier", oauth2.GenerateVerifier()),
		"another secret":       c.redeem(t, code[:len(code)-6]+"AAAAAA"),
	} {
		a.refused(t, http.StatusBadRequest, "invalid_grant")
		if !works(t, d, tokens.access) {
			t.Fatalf("%s: a wrong replay signs the owner out", name)
		}
	}
	c.redeem(t, code).refused(t, http.StatusBadRequest, "invalid_grant")
	if works(t, d, tokens.access) {
		t.Error("the access token outlives a replay")
	}
	c.refresh(t, tokens.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
}

func TestD02_WrongRedemptionsConsumeNothing(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c, other := newClient(t, d, loopback), newClient(t, d, web)
	code := c.code(t, deployment.Guest)
	for _, a := range []answer{
		other.redeem(t, code), other.redeem(t, code, "code_verifier", c.verifier, "redirect_uri", c.redirect),
		c.redeem(t, code, "redirect_uri", "http://127.0.0.1:50123/callback"), c.redeem(t, code, "redirect_uri", web),
		c.redeem(t, code, "code_verifier", ""), c.redeem(t, code, "code_verifier", strings.Repeat("a", 43)),
		c.redeem(t, code, "code_verifier", oauth2.S256ChallengeFromVerifier(c.verifier)), // plain
	} {
		a.refused(t, http.StatusBadRequest, "invalid_grant")
	}
	c.redeem(t, code, "resource", "https://evil.example/mcp").refused(t, http.StatusBadRequest, "invalid_target")
	c.redeem(t, code).issued(t)
}

// TestD04_RacingRedemptions: whoever can see a code tries to redeem it beside its owner, many times at once. Where
// reading and deleting the code are two steps, several of the racers get tokens.
func TestD04_RacingRedemptions(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	code := c.code(t, deployment.Employee)
	answers := together(20, func() answer { return c.redeem(t, code) })()
	var won []issued
	for _, a := range answers {
		if a.status == http.StatusOK {
			won = append(won, a.issued(t))
			continue
		}
		a.refused(t, http.StatusBadRequest, "invalid_grant")
	}
	if len(won) != 1 {
		t.Fatalf("%d of %d redemptions got tokens, want 1", len(won), len(answers))
	}
	// A request that came when the code was already redeemed is a replay, which revokes (D01). One that lost the race
	// does not: so the tokens work, or the audit trail says that somebody came later.
	grant := strings.Split(code, "_")[1]
	if !works(t, d, won[0].access) && !audited(d, "code_replayed", grant) {
		t.Error("the winner's token does not work, though nobody has replayed the code")
	}
}

func TestD06_ClientAuthentication(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	registration := send(t, http.MethodPost, d.Issuer+"/register", `{"redirect_uris":["`+web+`"],"client_name":"Confidential","token_endpoint_auth_method":"client_secret_basic","grant_types":["authorization_code","refresh_token"]}`, "Content-Type", "application/json")
	id, secret := registration.text("client_id"), registration.text("client_secret")
	if id == "" || secret == "" {
		t.Fatalf("no secret: %d %s", registration.status, registration.body)
	}
	c := client{d, id, web, oauth2.GenerateVerifier()}
	code := c.code(t, deployment.Guest)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {web}, "code_verifier": {c.verifier}}
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	}
	request := func(query, authorization string, more ...string) answer {
		changed := maps.Clone(form)
		change(changed, more)
		if authorization == "" {
			return post(t, d.Issuer+"/token"+query, changed)
		}
		return post(t, d.Issuer+"/token"+query, changed, "Authorization", authorization)
	}
	for name, a := range map[string]answer{
		"a wrong secret":            request("", basic(id, "cs_wrong")),
		"an empty secret":           request("", basic(id, "")),
		"a client that is not here": request("", basic(id+"x", secret)),
		"not base64":                request("", "Basic !"),
		"a bearer token":            request("", "Bearer "+secret),
	} {
		a.refused(t, http.StatusUnauthorized, "invalid_client")
		if !strings.HasPrefix(a.challenge(), "Basic ") {
			t.Errorf("%s: the challenge is %q", name, a.challenge())
		}
	}
	request("", "", "client_id", id, "client_secret", secret).refused(t, http.StatusUnauthorized, "invalid_client") // another method
	request("", "", "client_id", id).refused(t, http.StatusUnauthorized, "invalid_client")
	request("?client_secret="+url.QueryEscape(secret), "", "client_id", id).refused(t, http.StatusUnauthorized, "invalid_client")
	request("", basic(id, secret), "client_secret", secret).refused(t, http.StatusBadRequest, "invalid_request")
	request("", basic(id, secret), "client_id", "another").refused(t, http.StatusBadRequest, "invalid_request")
	request("", basic(id, secret)).issued(t)
}

func TestD07_HostileBodies(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	const form = "application/x-www-form-urlencoded"
	good := "grant_type=authorization_code&code=x&client_id=" + c.id
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, _ = zip.Write(make([]byte, 8<<20))
	_ = zip.Close()
	for name, test := range map[string]struct {
		body    string
		status  int
		headers []string
	}{
		"JSON":             {`{"grant_type":"authorization_code"}`, 400, []string{"Content-Type", "application/json"}},
		"two types":        {good, 400, []string{"Content-Type", "application/json, " + form}},
		"two type headers": {good, 400, []string{"Content-Type", form, "Content-Type", "application/json"}},
		"multipart":        {good, 400, []string{"Content-Type", "multipart/form-data; boundary=x"}},
		"no type":          {good, 400, nil},
		"a gzip bomb":      {bomb.String(), 400, []string{"Content-Type", form, "Content-Encoding", "gzip"}},
		"1 MB":             {good + "&x=" + strings.Repeat("x", 1<<20), 413, []string{"Content-Type", form}},
		"twice the code":   {good + "&code=y", 400, []string{"Content-Type", form}},
		"twice the client": {good + "&client_id=" + c.id, 400, []string{"Content-Type", form}},
		"a broken escape":  {good + "&x=%zz", 400, []string{"Content-Type", form}},
		"a NUL":            {good + "&x=%00", 400, []string{"Content-Type", form}},
		"a semicolon":      {good + ";x=y", 400, []string{"Content-Type", form}},
		"nothing":          {"", 400, []string{"Content-Type", form}},
	} {
		for _, path := range []string{"/token", "/revoke", "/introspect"} {
			send(t, http.MethodPost, d.Issuer+path, test.body, test.headers...).refusedOrHungUp(t, name, test.status)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, "TRACE"} {
		if a := send(t, method, d.Issuer+"/token?"+good, ""); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, a.status)
		}
	}
}

// refusedOrHungUp is refused for invalid_request; a server that hung up on a large body has said 413.
func (a answer) refusedOrHungUp(t testing.TB, name string, status int) {
	t.Helper()
	if a.status != status || a.body != "" && a.text("error") != "invalid_request" {
		t.Errorf("%s: %d %.300s, want %d invalid_request", name, a.status, a.body, status)
	}
}

func TestD08_GrantTypeConfusion(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	code := c.code(t, deployment.Guest)
	tokens := c.redeem(t, code).issued(t)
	c.redeem(t, tokens.refresh).refused(t, http.StatusBadRequest, "invalid_grant")
	c.redeem(t, tokens.access).refused(t, http.StatusBadRequest, "invalid_grant")
	c.refresh(t, tokens.access).refused(t, http.StatusBadRequest, "invalid_grant")
	c.refresh(t, code).refused(t, http.StatusBadRequest, "invalid_grant")
	c.refresh(t, "ac"+tokens.refresh[2:]).refused(t, http.StatusBadRequest, "invalid_grant")
	c.refresh(t, "rt"+tokens.access[2:]).refused(t, http.StatusBadRequest, "invalid_grant")
	c.redeem(t, "", "grant_type", "client_credentials").refused(t, http.StatusBadRequest, "unauthorized_client")
	if !works(t, d, tokens.access) {
		t.Error("the confusion has cost the grant")
	}
}

// TestD09_PrivateKeyJWT is what a thief of one assertion, and one without the key, would present.
func TestD09_PrivateKeyJWT(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	registration := send(t, http.MethodPost, d.Issuer+"/register", `{"redirect_uris":["`+web+`"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+string(keys)+`}`, "Content-Type", "application/json")
	c := client{d, registration.text("client_id"), web, oauth2.GenerateVerifier()}
	if c.id == "" {
		t.Fatalf("not registered: %d %s", registration.status, registration.body)
	}
	code := c.code(t, deployment.Guest)
	assertion := func(changes map[string]any) string {
		now := time.Now().Unix()
		claims := map[string]any{"iss": c.id, "sub": c.id, "aud": d.Issuer, "exp": now + 60, "iat": now, "jti": rand.Text()}
		maps.Copy(claims, changes)
		maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
		return sign(t, jose.ES256, key, nil, claims)
	}
	redeem := func(assertion string) answer {
		return c.redeem(t, code, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion)
	}
	now := time.Now().Unix()
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": c.id, "sub": c.id, "aud": d.Issuer, "exp": now + 60, "iat": now, "jti": "x"}
	for name, forged := range map[string]string{
		"another audience":   assertion(map[string]any{"aud": "https://evil.example"}),
		"two audiences":      assertion(map[string]any{"aud": []string{d.Issuer, "https://evil.example"}}),
		"another issuer":     assertion(map[string]any{"iss": "another"}),
		"expired":            assertion(map[string]any{"exp": now - 600, "iat": now - 700}),
		"a year":             assertion(map[string]any{"exp": now + 365*86400}),
		"no jti":             assertion(map[string]any{"jti": nil}),
		"no expiry":          assertion(map[string]any{"exp": nil}),
		"another key":        sign(t, jose.ES256, stranger, map[string]any{"kid": "1"}, claims),
		"its own key inside": sign(t, jose.ES256, stranger, map[string]any{"jwk": jose.JSONWebKey{Key: stranger.Public()}}, claims),
		"alg none":           unsigned(t, `{"alg":"none","kid":"1"}`, claims),
		"HS256":              sign(t, jose.HS256, keys, map[string]any{"kid": "1"}, claims),
	} {
		t.Run(name, func(t *testing.T) { redeem(forged).refused(t, http.StatusUnauthorized, "invalid_client") })
	}
	c.redeem(t, code).refused(t, http.StatusUnauthorized, "invalid_client")
	once := assertion(nil)
	redeem(once).issued(t)
	redeem(once).refused(t, http.StatusUnauthorized, "invalid_client")
}

// TestD10_ExchangesAreNotOffered holds the grant types that this server does not have to their absence.
func TestD10_ExchangesAreNotOffered(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	token := c.signIn(t, deployment.Guest).access
	for _, grantType := range []string{
		"urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer",
		"urn:ietf:params:oauth:grant-type:saml2-bearer", "urn:ietf:params:oauth:grant-type:device_code", "password", "implicit", "Authorization_Code",
	} {
		post(t, d.Issuer+"/token", url.Values{
			"grant_type": {grantType}, "client_id": {c.id}, "subject_token": {token}, "assertion": {token}, "username": {"x"}, "password": {"x"},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "scope": {"mcp admin"},
		}).refused(t, http.StatusBadRequest, "unsupported_grant_type")
	}
	for _, member := range []string{"token-exchange", "jwt-bearer"} {
		if metadata := get(t, d.Issuer+"/.well-known/oauth-authorization-server"); strings.Contains(metadata.body, "grant-type:"+member) {
			t.Errorf("the metadata offer %s", member)
		}
	}
}

// audited reports whether the audit trail has this action on this grant.
func audited(d *deployment.Deployment, action, grant string) bool {
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, action) && strings.Contains(line, grant) {
			return true
		}
	}
	return false
}
