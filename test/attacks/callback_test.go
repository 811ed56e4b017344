package attacks

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

func TestC01_State(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	upstream := approve(t, b, consent(t, b, c.authorize()))
	callback := provider(t, d, b, upstream, deployment.Guest)
	state := stateOf(t, upstream)
	for name, changed := range map[string]string{
		"missing":    "",
		"made up":    "AAAAAAAAAAAAAAAAAAAAAA",
		"altered":    state[:len(state)-1] + "-",
		"other case": strings.ToUpper(state),
		"too long":   state + "A",
		"a path":     "../" + state,
		"the client": "state-of-the-client",
	} {
		t.Run(name, func(t *testing.T) {
			page := open(t, b, d.Issuer+"/callback?code=x&state="+url.QueryEscape(changed))
			result(page).localPage(t, http.StatusForbidden)
		})
	}
	t.Run("twice in the URL", func(t *testing.T) {
		result(open(t, b, callback+"&state="+state)).localPage(t, http.StatusBadRequest)
	})
	t.Run("in another browser", func(t *testing.T) {
		result(open(t, robot.New(""), callback)).localPage(t, http.StatusForbidden)
	})
	c.response(t, b, callback)
	t.Run("used", func(t *testing.T) {
		result(open(t, b, callback)).localPage(t, http.StatusForbidden)
	})
	t.Run("method", func(t *testing.T) {
		if a := post(t, d.Issuer+"/callback", url.Values{"code": {"x"}, "state": {state}}); a.status != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", a.status)
		}
	})
}

// TestC01_RacingCallbacks sends one callback many times at once, with a provider that takes its code as often as it comes.
// One of them makes the grant, and there is one code.
func TestC01_RacingCallbacks(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New("")
	upstream, err := url.Parse(approve(t, b, consent(t, b, c.authorize())))
	if err != nil {
		t.Fatal(err)
	}
	h.promise("C01 race", h.good(t, h.claims(upstream.Query().Get("nonce"), nil)), "")
	var cookies []string
	for _, cookie := range b.Cookies(d.Issuer) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	callback := d.Issuer + "/callback?" + url.Values{"code": {"C01 race"}, "state": {upstream.Query().Get("state")}}.Encode()
	answers := together(10, func() answer { return get(t, callback, "Cookie", strings.Join(cookies, "; ")) })()
	var codes []string
	for _, a := range answers {
		if target, err := url.Parse(a.header.Get("Location")); err == nil && target.Query().Has("code") {
			codes = append(codes, target.Query().Get("code"))
			continue
		}
		a.localPage(t, http.StatusForbidden, "already finished")
	}
	if len(codes) != 1 {
		t.Fatalf("one sign-in gave %d codes", len(codes))
	}
	c.redeem(t, codes[0]).issued(t)
}

// TestC02_LoginCSRF has a victim's browser finish what the attacker began, so that the victim would work in the attacker's
// name without noticing.
func TestC02_LoginCSRF(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	attacker, victim := robot.New(deployment.Guest), robot.New(deployment.Employee)
	foreign, err := url.Parse(provider(t, d, attacker, approve(t, attacker, consent(t, attacker, c.authorize())), deployment.Guest))
	if err != nil {
		t.Fatal(err)
	}
	own := stateOf(t, approve(t, victim, consent(t, victim, c.authorize())))
	result(open(t, victim, foreign.String())).localPage(t, http.StatusForbidden)
	// The attacker's code under the victim's own state: it was asked for with another verifier.
	page := open(t, victim, d.Issuer+"/callback?"+url.Values{"code": {foreign.Query().Get("code")}, "state": {own}}.Encode())
	result(page).localPage(t, http.StatusForbidden, "not signed in")
}

func TestC03_UpstreamErrors(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	b := robot.New(deployment.Guest)
	state := stateOf(t, approve(t, b, consent(t, b, c.authorize())))
	answered := func(state, code string) robot.Page {
		return open(t, b, d.Issuer+"/callback?"+url.Values{
			"error": {code}, "error_description": {"<script>alert(1)</script>\r\nSet-Cookie: x=y"}, "error_uri": {"https://evil.example/"}, "state": {state},
		}.Encode())
	}
	for _, code := range []string{"access_denied", "server_error", "<script>", "https://evil.example/"} {
		result(answered("AAAAAAAAAAAAAAAAAAAAAA", code)).localPage(t, http.StatusForbidden) // the state comes first
	}
	for _, code := range []string{"server_error", "login_required", "<script>alert(1)</script>"} {
		page := answered(state, code)
		if page.Location() != nil || page.Status < 400 || strings.Contains(page.Body, "<script") || strings.Contains(page.Body, "evil.example") || page.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d, Location %v: %.1500s", code, page.Status, page.Location(), body(page.Body))
		}
	}
	page := answered(state, "access_denied")
	target := page.Location()
	if target == nil || !strings.HasPrefix(target.String(), web+"?") || target.Query().Get("error") != "access_denied" || strings.Contains(target.String(), "alert") || target.Query().Has("error_uri") {
		t.Errorf("access_denied leads to %v", target)
	}
}

// signedInBy finishes a sign-in with an ID token of the hostile provider's, and returns the last page.
func signedInBy(t testing.TB, d *deployment.Deployment, h *hostile, c client, code string, idToken func(nonce string) string, extra ...string) robot.Page {
	t.Helper()
	b := robot.New("")
	upstream, err := url.Parse(approve(t, b, consent(t, b, c.authorize())))
	if err != nil {
		t.Fatal(err)
	}
	h.promise(code, idToken(upstream.Query().Get("nonce")), "")
	q := url.Values{"code": {code}, "state": {upstream.Query().Get("state")}}
	change(q, extra)
	return open(t, b, d.Issuer+"/callback?"+q.Encode())
}

// TestC04_ForgedIDTokens is the identity provider itself, or whoever stands in its place on the way, and sends every token
// that some relying party has taken. The demo decoded the token and looked at nothing.
func TestC04_ForgedIDTokens(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	address, asked := listen(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(h.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	now := time.Now().Unix()
	kid := map[string]any{"kid": "key-1"}
	changed := func(changes map[string]any) func(string) string {
		return func(nonce string) string { return h.good(t, h.claims(nonce, changes)) }
	}
	forged := func(algorithm jose.SignatureAlgorithm, key any, header map[string]any) func(string) string {
		return func(nonce string) string { return sign(t, algorithm, key, header, h.claims(nonce, nil)) }
	}
	for name, idToken := range map[string]func(nonce string) string{
		"alg none":                    func(nonce string) string { return unsigned(t, `{"alg":"none","kid":"key-1"}`, h.claims(nonce, nil)) },
		"alg nOnE":                    func(nonce string) string { return unsigned(t, `{"alg":"nOnE"}`, h.claims(nonce, nil)) },
		"no alg":                      func(nonce string) string { return unsigned(t, `{}`, h.claims(nonce, nil)) },
		"HS256 with the public key":   forged(jose.HS256, public, kid),
		"HS256 with its DER":          forged(jose.HS256, der, kid),
		"HS256 with client secret":    forged(jose.HS256, []byte(strings.Repeat(upstreamSecret, 2)), nil),
		"another key":                 forged(jose.RS256, stranger, kid),
		"unknown kid":                 forged(jose.RS256, stranger, map[string]any{"kid": "key-2"}),
		"jwk in the header":           forged(jose.RS256, stranger, map[string]any{"jwk": jose.JSONWebKey{Key: stranger.Public()}}),
		"jku in the header":           forged(jose.RS256, stranger, map[string]any{"kid": "key-2", "jku": address + "/keys"}),
		"x5u in the header":           forged(jose.RS256, stranger, map[string]any{"kid": "key-2", "x5u": address + "/chain"}),
		"another issuer":              changed(map[string]any{"iss": "https://evil.example"}),
		"the issuer and a slash":      changed(map[string]any{"iss": h.URL + "/"}),
		"no issuer":                   changed(map[string]any{"iss": nil}),
		"another audience":            changed(map[string]any{"aud": "another-client"}),
		"no audience":                 changed(map[string]any{"aud": nil}),
		"two audiences without azp":   changed(map[string]any{"aud": []string{upstreamClient, "another-client"}}),
		"another azp":                 changed(map[string]any{"azp": "another-client"}),
		"another nonce":               changed(map[string]any{"nonce": "nonce-of-another-sign-in"}),
		"no nonce":                    changed(map[string]any{"nonce": nil}),
		"expired":                     changed(map[string]any{"exp": now - 60, "iat": now - 600}),
		"no expiry":                   changed(map[string]any{"exp": nil}),
		"not yet valid":               changed(map[string]any{"nbf": now + 3600}),
		"issued in the future":        changed(map[string]any{"iat": now + 3600, "exp": now + 7200}),
		"no subject":                  changed(map[string]any{"sub": nil}),
		"a subject that is no string": changed(map[string]any{"sub": []string{"person-1"}}),
		"no ID token":                 func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			page := signedInBy(t, d, h, c, "C04 "+name, idToken)
			result(page).localPage(t, http.StatusForbidden, "not signed in")
			for cookie := range cookiesSet(page) {
				if cookie == approvalsCookie {
					t.Error("an approval is remembered")
				}
			}
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server connected %d times to the address in a token's header", n)
	}
	t.Run("a good one", func(t *testing.T) {
		page := signedInBy(t, d, h, c, "C04 good", changed(nil))
		if page.Location() == nil || page.Location().Query().Get("code") == "" {
			t.Errorf("a good ID token is refused: %d %.1500s", page.Status, body(page.Body))
		}
	})
}

func TestC05_AnotherProvidersCallback(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	good := func(nonce string) string { return h.good(t, h.claims(nonce, nil)) }
	for _, iss := range []string{"https://other.example", h.URL + "/", strings.Replace(h.URL, "http:", "https:", 1)} {
		code := "C05 " + iss
		result(signedInBy(t, d, h, c, code, good, "iss", iss)).localPage(t, http.StatusForbidden, "not signed in")
		if h.request(code) != nil {
			t.Errorf("the code was sent to the provider although the callback says that it comes from %s", iss)
		}
	}
	if page := signedInBy(t, d, h, c, "C05 good", good, "iss", h.URL); page.Location() == nil {
		t.Errorf("our provider's own iss is refused: %d", page.Status)
	}
}

// TestC06_KeyIDFlood: each unknown key id is a reason to fetch the provider's keys again.
func TestC06_KeyIDFlood(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	before := h.keyReads.Load()
	for i := range 30 {
		page := signedInBy(t, d, h, c, fmt.Sprint("C06 ", i), func(nonce string) string {
			return sign(t, jose.RS256, h.key, map[string]any{"kid": rand.Text()}, h.claims(nonce, nil))
		})
		result(page).localPage(t, http.StatusForbidden)
	}
	// Every process of the callback reads them once, and once more a minute later at the soonest.
	if n := h.keyReads.Load() - before; n > 10 {
		t.Errorf("30 unknown key ids made the server fetch the keys %d times", n)
	}
}

func TestC07_C08_ClaimsThatMatchNoRule(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	images := func(t *testing.T, name string, claims map[string]any) bool {
		t.Helper()
		page := signedInBy(t, d, h, c, name, func(nonce string) string { return h.good(t, h.claims(nonce, claims)) })
		if page.Location() == nil || page.Location().Query().Get("code") == "" {
			t.Fatalf("the person is not signed in: %d %.1500s", page.Status, body(page.Body))
		}
		token := c.redeem(t, page.Location().Query().Get("code")).issued(t).access
		listed := strings.Contains(rpc(t, d.MCPURL, token, "tools/list", nil).body, "generateImage")
		called := strings.Contains(call(t, d, token, "generateImage", map[string]any{"prompt": "x"}).body, `"image"`)
		if listed != called {
			t.Errorf("listed %t, called %t", listed, called)
		}
		return called
	}
	for name, claims := range map[string]map[string]any{
		"C07 not verified":            {"email_verified": false},
		"C07 not verified, as text":   {"email_verified": "false"},
		"C07 two at signs":            {"email": deployment.Employee + "@evil.example"},
		"C07 two addresses":           {"email": deployment.Employee + ",x@evil.example"},
		"C07 a list":                  {"email": []string{deployment.Employee}},
		"C07 a display name":          {"email": "x <" + deployment.Employee + ">"},
		"C07 full-width letters":      {"email": "\uff45mployee1@mycompany.com"},
		"C07 a letter that folds":     {"email": "employee1@mycompany.\u212aom"},
		"C07 a longer domain":         {"email": deployment.Employee + ".evil.example"},
		"C08 no groups":               {"email": nil},
		"C08 groups left out (Entra)": {"email": nil, "_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://evil.example"}}},
		"C08 groups null":             {"email": nil, "groups": nil},
		"C08 groups of another case":  {"email": nil, "groups": []string{"Designers"}},
		"C08 groups as an object":     {"email": nil, "groups": map[string]any{"designers": true}},
	} {
		t.Run(name, func(t *testing.T) {
			if images(t, name, claims) {
				t.Errorf("%v may call generateImage", claims)
			}
		})
	}
	for name, claims := range map[string]map[string]any{
		"by e-mail": {"email": strings.ToUpper(deployment.Employee)}, "by group": {"email": nil, "groups": []string{"designers"}},
	} {
		t.Run(name, func(t *testing.T) {
			if !images(t, name, claims) {
				t.Errorf("%v may not call generateImage", claims)
			}
		})
	}
}
