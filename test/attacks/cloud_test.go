package attacks

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// TestH01_SpoofedHost tells the server that it is called otherwise, in every header that some framework believes.
func TestH01_SpoofedHost(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	spoofed := []string{
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "X-Forwarded-Server", "evil.example", "X-Forwarded-Prefix", "/evil.example",
		"X-Original-Host", "evil.example", "X-Original-Url", "/evil.example", "X-Rewrite-Url", "/evil.example", "X-Host", "evil.example",
		"Forwarded", "host=evil.example;proto=https", "X-Forwarded-Port", "444", "X-Amzn-Request-Context", `{"domainName":"evil.example"}`,
	}
	if onStack() { // run refuses another Host outright (G07); on AWS a custom domain may bring any
		spoofed = append(spoofed, "Host", "evil.example")
	}
	for _, address := range []string{
		d.Issuer + "/.well-known/oauth-authorization-server", d.Issuer + "/.well-known/openid-configuration", d.Issuer + "/",
		strings.TrimSuffix(d.MCPURL, "/mcp") + "/.well-known/oauth-protected-resource", strings.TrimSuffix(d.MCPURL, "/mcp") + "/.well-known/oauth-protected-resource/mcp",
		d.MCPURL, c.authorize(), c.authorize("code_challenge", ""), c.authorize("client_id", "x"), d.Issuer + "/callback?state=x",
	} {
		plain, a := get(t, address), get(t, address, spoofed...)
		if a.status != plain.status || a.header.Get("Location") != plain.header.Get("Location") || a.challenge() != plain.challenge() {
			t.Errorf("%s: %d %q %q, without the headers %d %q %q", address, a.status, a.header.Get("Location"), a.challenge(), plain.status, plain.header.Get("Location"), plain.challenge())
		}
		if strings.Contains(a.body+fmt.Sprint(a.header), "evil.example") || strings.Contains(a.body, ":444") {
			t.Errorf("%s repeats what the headers say: %v %.1000s", address, a.header, body(a.body))
		}
	}
}

// TestH02_InjectedIdentity poses as what stands in front of other deployments and vouches for people.
func TestH02_InjectedIdentity(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	vouched := []string{
		"X-Amzn-Oidc-Identity", "person-1", "X-Amzn-Oidc-Data", "e30.e30.e30", "X-Amzn-Oidc-Accesstoken", "x", "Cf-Access-Authenticated-User-Email", deployment.Employee,
		"Cf-Access-Jwt-Assertion", "e30.e30.e30", "X-Forwarded-User", deployment.Employee, "X-Forwarded-Email", deployment.Employee, "X-Remote-User", deployment.Employee,
		"X-Amzn-Lambda-Context", `{"identity":{"cognitoIdentityId":"x"}}`, "X-Amzn-Request-Context", `{"authorizer":{"jwt":{"claims":{"sub":"person-1"}}}}`,
		"X-Amz-Security-Token", "x", "X-Amzn-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=1",
	}
	if a := rpc(t, d.MCPURL, "", "tools/list", nil, vouched...); a.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d %.300s", a.status, a.body)
	}
	// Nor do they make a guest an employee.
	token := newClient(t, d, loopback).signIn(t, deployment.Guest).access
	if a := rpc(t, d.MCPURL, token, "tools/list", nil, vouched...); a.status != http.StatusOK || strings.Contains(a.body, "generateImage") {
		t.Errorf("a guest: %d %.300s", a.status, a.body)
	}
	// What API Gateway would add cannot be sent in the body of an ordinary request either.
	event := `{"version":"2.0","rawPath":"/mcp","headers":{"authorization":"Bearer ` + token + `"},"requestContext":{"authorizer":{"lambda":{"sub":"person-1"}},"http":{"method":"POST"}}}`
	if a := send(t, http.MethodPost, d.MCPURL, event, "Content-Type", "application/json"); a.status != http.StatusUnauthorized {
		t.Errorf("an event as body: %d", a.status)
	}
}

func TestH03_OneSpellingOfEveryPath(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	origins := map[string]string{
		"/token": d.Issuer, "/authorize": d.Issuer, "/register": d.Issuer, "/callback": d.Issuer, "/mcp": strings.TrimSuffix(d.MCPURL, "/mcp"),
	}
	for path, origin := range origins {
		for _, spelling := range []string{
			"/" + path, path + "/", "/." + path, "/x/.." + path, path + ";x", path + ";/x", path + "/.", path + "%2f", path + "%00", path + "%20",
			"/%" + hex.EncodeToString([]byte{path[1]}) + path[2:], strings.ToUpper(path), "/$default" + path, "/prod" + path, "/%2e%2e" + path, path + ".json",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				a := send(t, method, origin+spelling, "grant_type=x", "Content-Type", "application/x-www-form-urlencoded")
				if a.status != http.StatusNotFound && !(a.status == http.StatusBadRequest && strings.Contains(spelling, "%00")) {
					t.Errorf("%s %s: %d %.200s", method, spelling, a.status, a.body)
				}
			}
		}
	}
	// The method is the one on the request line.
	for _, header := range []string{"X-Http-Method-Override", "X-Method-Override", "X-Http-Method"} {
		if a := get(t, d.Issuer+"/token?_method=POST", header, "POST"); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", header, a.status)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch, "TRACE", "PROPFIND"} {
		if a := send(t, method, d.MCPURL, ""); a.status != http.StatusUnauthorized || a.challenge() == "" { // 401 before 405
			t.Errorf("%s without a token: %d, challenge %q", method, a.status, a.challenge())
		}
	}
}

func TestH04_LineBreaks(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	const forged = "\r\nSet-Cookie: forged=1\r\n\r\nlevel=INFO msg=audit action=forged-line"
	for name, a := range map[string]answer{
		"state":       get(t, c.authorize("state", "s"+forged, "code_challenge", "")),
		"scope":       get(t, c.authorize("scope", "mcp"+forged)),
		"client":      get(t, c.authorize("client_id", c.id+forged)),
		"redirect":    get(t, c.authorize("redirect_uri", loopback+forged)),
		"path":        get(t, d.Issuer+"/"+url.PathEscape("x"+forged)),
		"token":       c.redeem(t, "x"+forged),
		"grant type":  c.redeem(t, "x", "grant_type", "x"+forged),
		"a parameter": post(t, d.Issuer+"/token", url.Values{"x" + forged: {"1", "2"}}),
		"token's own": c.redeem(t, "x", "client_id", c.id+forged),
		"callback":    get(t, d.Issuer+"/callback?"+url.Values{"state": {"x" + forged}, "iss": {forged}}.Encode()),
		"tool":        call(t, d, c.signIn(t, deployment.Guest).access, "x"+forged, nil),
		"origin path": get(t, d.MCPURL+"/"+url.PathEscape(forged)),
	} {
		if a.header.Get("Set-Cookie") == "forged=1" || a.status >= 500 || strings.ContainsAny(a.header.Get("Location"), "\r\n") {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
	}
	for line := range strings.Lines(d.Log()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "level=INFO msg=audit action=forged-line") || strings.HasPrefix(line, "Set-Cookie") {
			t.Errorf("a line of the log is the attacker's: %s", line)
		}
	}
}

// TestH05_SecretsStayOutOfLogsAndErrors leads secrets through every endpoint, rightly and wrongly used, and reads what the
// server has printed.
func TestH05_SecretsStayOutOfLogsAndErrors(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New("")
	page := consent(t, b, c.authorize("state", "Canary-state-of-the-client"))
	upstream, err := url.Parse(approve(t, b, page))
	if err != nil {
		t.Fatal(err)
	}
	nonce, state := upstream.Query().Get("nonce"), upstream.Query().Get("state")
	idToken := h.good(t, h.claims(nonce, nil))
	h.promise("Canary-upstream-code", idToken, "Canary-upstream-refresh")
	secrets := map[string]string{
		"state of the client": "Canary-state-of-the-client", "nonce": nonce, "sealed form": sealed(t, page),
		"upstream code": "Canary-upstream-code", "upstream refresh token": "Canary-upstream-refresh", "upstream access token": "Canary-upstream-access-Canary-upstream-code",
		"ID token": idToken, "client secret": upstreamSecret, "verifier": c.verifier, "wrong secret": "Canary-wrong-secret", "password": "Canary-password",
	}
	for _, cookie := range b.Cookies(d.Issuer) {
		secrets["cookie "+cookie.Name] = cookie.Value
	}
	answers := []answer{
		get(t, d.Issuer+"/callback?code=Canary-upstream-code&state=AAAAAAAAAAAAAAAAAAAAAA"),
		result(open(t, b, d.Issuer+"/callback?code=Canary-wrong-secret&iss=https://evil.example&state="+state)),
		result(open(t, b, d.Issuer+"/callback?code=Canary-wrong-secret&state="+state)),
	}
	response := c.response(t, b, d.Issuer+"/callback?code=Canary-upstream-code&state="+state)
	code := response.Get("code")
	secrets["upstream verifier"] = h.request("Canary-upstream-code").Get("code_verifier")
	tokens := c.redeem(t, code).issued(t)
	next := c.refresh(t, tokens.refresh).issued(t)
	works(t, d, next.access)
	for name, secret := range map[string]string{"code": code, "access token": tokens.access, "refresh token": tokens.refresh, "second access token": next.access, "second refresh token": next.refresh} {
		secrets[name] = secret[strings.LastIndexByte(secret, '_')+1:] // kind and grant id are no secret
	}
	answers = append(answers,
		c.redeem(t, code, "code_verifier", "Canary-wrong-secret"), c.redeem(t, code, "redirect_uri", "https://evil.example/?x=Canary-wrong-secret"),
		c.redeem(t, "ac_Canary-wrong-secret"), c.refresh(t, tokens.access), c.refresh(t, next.refresh, "client_secret", "Canary-wrong-secret"),
		post(t, d.Issuer+"/token?access_token="+next.access, url.Values{"grant_type": {next.refresh}, "client_id": {c.id}}),
		post(t, d.Issuer+"/token", url.Values{"grant_type": {"password"}, "client_id": {c.id}, "password": {"Canary-password"}}),
		post(t, d.Issuer+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {next.refresh, next.refresh}, "client_id": {c.id}}),
		post(t, d.Issuer+"/token", url.Values{"client_id": {c.id}}, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.id+":Canary-wrong-secret"))),
		post(t, d.Issuer+"/revoke", url.Values{"token": {next.refresh[:len(next.refresh)-1]}, "client_id": {c.id}}),
		get(t, d.MCPURL+"?access_token="+next.access), rpc(t, d.MCPURL, next.refresh, "tools/list", nil),
		rpc(t, d.MCPURL, next.access, "tools/call", map[string]any{"name": "x", "arguments": map[string]any{"password": "Canary-password"}}, "Cookie", "session=Canary-password"),
		call(t, d, next.access, "generateImage", map[string]any{"steps": "Canary-password"}),
		get(t, c.authorize("state", "Canary-state-of-the-client", "redirect_uri", "https://evil.example/")),
		get(t, d.MCPURL+"/"+next.access), get(t, d.Issuer+"/token/"+next.refresh),
		get(t, d.Issuer+"/nowhere?token="+next.access, "Referer", d.Issuer+"/callback?code="+code, "User-Agent", next.access),
		register(t, d, `{"client_secret":"Canary-wrong-secret","redirect_uris":["javascript:Canary-wrong-secret"]}`),
		c.redeem(t, code), // and the whole family ends
	)
	log := d.Log()
	for name, secret := range secrets {
		if len(secret) < 12 {
			t.Errorf("the %s is %q, which is nothing to look for", name, secret)
			continue
		}
		for form, searched := range map[string]string{
			"as it is": secret, "as base64": base64.StdEncoding.EncodeToString([]byte(secret)), "as hex": hex.EncodeToString([]byte(secret)), "escaped": url.QueryEscape(secret),
		} {
			if i := strings.Index(log, strings.TrimRight(searched, "=")); i >= 0 {
				line := log[strings.LastIndexByte(log[:i], '\n')+1:]
				line, _, _ = strings.Cut(line, "\n")
				t.Errorf("the %s stands %s in the log: %s", name, form, line)
			}
		}
		for _, a := range answers {
			if a.status >= 400 && name != "state of the client" && !strings.HasPrefix(name, "sealed") && strings.Contains(a.body+a.header.Get("Location")+a.challenge(), secret) {
				t.Errorf("an error answer repeats the %s: %d %.1000s", name, a.status, body(a.body))
			}
		}
	}
	if !strings.Contains(log, "code_redeemed") {
		t.Error("the log is not the one of this deployment")
	}
}

// TestH06_TossedCookies is a neighbouring site that sets cookies which reach us, and a browser that sends too much.
func TestH06_TossedCookies(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	b := robot.New(deployment.Guest)
	page := consent(t, b, c.authorize())
	var csrf string
	for _, cookie := range b.Cookies(d.Issuer) {
		if cookie.Name == "__Host-csrf" {
			csrf = cookie.Value
		}
	}
	attacker := robot.New(deployment.Guest)
	foreign := consent(t, attacker, c.authorize())
	var tossed string
	for _, cookie := range attacker.Cookies(d.Issuer) {
		tossed = cookie.Value
	}
	form := func(page robot.Page) url.Values {
		return url.Values{"request": {sealed(t, page)}, "decision": {"approve"}}
	}
	approveWith := func(page robot.Page, cookie string) answer {
		return post(t, d.Issuer+"/authorize", form(page), "Cookie", cookie, "Origin", d.Issuer, "Sec-Fetch-Site", "same-origin")
	}
	for name, cookie := range map[string]string{
		"without its prefix": "csrf=" + csrf, "in another case": "__host-csrf=" + csrf, "under another name": transactionCookie + "x=" + csrf,
		"cut": "__Host-csrf=" + csrf[:len(csrf)-1], "huge": "__Host-csrf=" + strings.Repeat("A", 5000), "empty": "__Host-csrf=", "another browser's": "__Host-csrf=" + tossed,
	} {
		if a := approveWith(page, cookie); a.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	// Garbage beside the real one changes nothing, on whichever side it stands.
	for _, cookie := range []string{"__Host-csrf=x; __Host-csrf=" + csrf, "__Host-csrf=" + csrf + "; __Host-csrf=x", "__Host-csrf=\"; x=y; __Host-csrf=" + csrf} {
		if a := approveWith(page, cookie); a.status != http.StatusSeeOther {
			t.Errorf("%.40s...: %d", cookie, a.status)
		}
	}
	// A form of the attacker's does not pass because the attacker's cookie stands second.
	if a := approveWith(foreign, "__Host-csrf="+csrf+"; __Host-csrf="+tossed); a.status != http.StatusForbidden {
		t.Errorf("a tossed cookie let the attacker's form pass: %d", a.status)
	}
	for name, cookie := range map[string]string{
		"many": strings.Repeat("__Host-tx-x=y; ", 300), "names": "=; ;;=x; \"=y; a b=c; __Host-tx-=z", "long": "x=" + strings.Repeat("y", 7000),
	} {
		if a := get(t, c.authorize(), "Cookie", cookie); a.status >= 500 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

// TestH07_SwappedCiphertexts puts what was sealed for one place into another.
func TestH07_SwappedCiphertexts(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, web)
	b := robot.New(deployment.Employee)
	c.response(t, b, provider(t, d, b, approve(t, b, consent(t, b, c.authorize())), deployment.Employee))
	page := consent(t, b, c.authorize("prompt", "consent"))
	upstream := approve(t, b, page)
	values := map[string]string{"form": sealed(t, page)}
	for _, cookie := range b.Cookies(d.Issuer) {
		name := cookie.Name
		if strings.HasPrefix(name, transactionCookie) {
			name = "transaction"
		}
		values[name] = cookie.Value
	}
	if len(values) != 4 {
		t.Fatalf("want form, CSRF cookie, approvals and transaction, have %d", len(values))
	}
	state := stateOf(t, upstream)
	other := robot.New(deployment.Guest)
	another := stateOf(t, approve(t, other, consent(t, other, c.authorize())))
	for from, value := range values {
		if from != "transaction" {
			a := get(t, d.Issuer+"/callback?code=x&state="+state, "Cookie", transactionCookie+state+"="+value)
			a.localPage(t, http.StatusForbidden, "cannot go on")
		}
		// The transaction of one state under the name of another.
		get(t, d.Issuer+"/callback?code=x&state="+another, "Cookie", transactionCookie+another+"="+value).localPage(t, http.StatusForbidden, "cannot go on")
		if from != approvalsCookie {
			if a := get(t, c.authorize(), "Cookie", approvalsCookie+"="+value); a.status != http.StatusOK || !strings.Contains(a.body, "Approve") {
				t.Errorf("%s as approvals: %d", from, a.status)
			}
		}
		if from != "__Host-csrf" {
			a := post(t, d.Issuer+"/authorize", url.Values{"request": {values["form"]}, "decision": {"approve"}}, "Cookie", "__Host-csrf="+value, "Origin", d.Issuer)
			a.localPage(t, http.StatusForbidden)
		}
		if from != "form" {
			a := post(t, d.Issuer+"/authorize", url.Values{"request": {value}, "decision": {"approve"}}, "Cookie", "__Host-csrf="+values["__Host-csrf"], "Origin", d.Issuer)
			a.localPage(t, http.StatusForbidden)
		}
	}
	if a := post(t, d.Issuer+"/authorize", url.Values{"request": {values["form"]}, "decision": {"approve"}}, "Cookie", "__Host-csrf="+values["__Host-csrf"], "Origin", d.Issuer); a.status != http.StatusSeeOther {
		t.Errorf("each in its place: %d", a.status)
	}
}

// TestH10_UnknownAndWrongAreAnsweredAlike compares what a stranger can compare, but for the time.
func TestH10_UnknownAndWrongAreAnsweredAlike(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	code := c.code(t, deployment.Guest)
	tokens := newClient(t, d, web).signIn(t, deployment.Guest)
	unknown := func(token string) string { // of a grant that is not there
		return token[:3] + strings.Repeat("A", 22) + token[25:]
	}
	wrong := func(token string) string { return token[:len(token)-8] + "AAAAAAAA" }
	confidential := register(t, d, `{"redirect_uris":["`+web+`"],"client_name":"Confidential, too","token_endpoint_auth_method":"client_secret_post"}`).text("client_id")
	for name, pair := range map[string][2]answer{
		"code":          {c.redeem(t, unknown(code)), c.redeem(t, wrong(code))},
		"refresh token": {c.refresh(t, unknown(tokens.refresh)), c.refresh(t, wrong(tokens.refresh))},
		"access token":  {rpc(t, d.MCPURL, unknown(tokens.access), "ping", nil), rpc(t, d.MCPURL, wrong(tokens.access), "ping", nil)},
		"client secret": {c.redeem(t, code, "client_id", confidential[:len(confidential)-8]+"AAAAAAAA", "client_secret", "x"), c.redeem(t, code, "client_id", confidential, "client_secret", "x")},
		"revocation": {
			post(t, d.Issuer+"/revoke", url.Values{"client_id": {c.id}, "token": {unknown(tokens.access)}}), post(t, d.Issuer+"/revoke", url.Values{"client_id": {c.id}, "token": {tokens.access}}),
		},
	} {
		if pair[0].status != pair[1].status || pair[0].body != pair[1].body || pair[0].challenge() != pair[1].challenge() {
			t.Errorf("%s: unknown %d %s, wrong %d %s", name, pair[0].status, pair[0].body, pair[1].status, pair[1].body)
		}
	}
}
