package attacks

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"mcp-access-oauth/test/deployment"
)

func TestG01_OtherTokensAreNoBearer(t *testing.T) {
	d, h := useHostile(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	page := signedInBy(t, d, h, c, "G01", func(nonce string) string { return h.good(t, h.claims(nonce, nil)) })
	if page.Location() == nil {
		t.Fatalf("not signed in: %d", page.Status)
	}
	code := page.Location().Query().Get("code")
	for name, token := range map[string]string{
		"a code":                          code,
		"the provider's access token":     "Canary-upstream-access-G01",
		"the provider's ID token":         h.good(t, h.claims("x", nil)),
		"an ID token for this resource":   h.good(t, h.claims("x", map[string]any{"aud": d.MCPURL})),
		"an unsigned token":               unsigned(t, `{"alg":"none"}`, map[string]any{"aud": d.MCPURL, "sub": "person-1"}),
		"a token signed with our own key": sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), nil, map[string]any{"aud": d.MCPURL}),
		"the client's id":                 c.id,
	} {
		a := rpc(t, d.MCPURL, token, "tools/list", nil)
		a.refused(t, http.StatusUnauthorized, "invalid_token")
		if !strings.Contains(a.challenge(), `error="invalid_token"`) || !strings.Contains(a.challenge(), "resource_metadata=") {
			t.Errorf("%s: the challenge is %q", name, a.challenge())
		}
		if strings.Contains(a.body+a.challenge(), token) {
			t.Errorf("%s: the answer repeats the token", name)
		}
	}
	tokens := c.redeem(t, code).issued(t) // looking at the code has not used it up
	rpc(t, d.MCPURL, tokens.refresh, "tools/list", nil).refused(t, http.StatusUnauthorized, "invalid_token")
	rpc(t, d.MCPURL, "at"+tokens.refresh[2:], "tools/list", nil).refused(t, http.StatusUnauthorized, "invalid_token")
	rpc(t, d.MCPURL, tokens.access[:len(tokens.access)-1], "tools/list", nil).refused(t, http.StatusUnauthorized, "invalid_token")
	// RFC 8707: a token is for one resource, and a request for another never yields one.
	c.refresh(t, tokens.refresh, "resource", "https://other.example/mcp").refused(t, http.StatusBadRequest, "invalid_target")
	if !works(t, d, tokens.access) {
		t.Error("the access token itself does not work")
	}
}

func TestG02_OnePlaceForTheToken(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	token := newClient(t, d, loopback).signIn(t, deployment.Guest).access
	const message = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	ask := func(address, contentType, body string, headers ...string) answer {
		return send(t, http.MethodPost, address, body, append([]string{"Content-Type", contentType, "Accept", "application/json, text/event-stream"}, headers...)...)
	}
	for name, a := range map[string]answer{
		"in the query":              ask(d.MCPURL+"?access_token="+token, "application/json", message),
		"in a form":                 ask(d.MCPURL, "application/x-www-form-urlencoded", "access_token="+token),
		"in a cookie":               ask(d.MCPURL, "application/json", message, "Cookie", "access_token="+token+"; Authorization=Bearer "+token),
		"in another header":         ask(d.MCPURL, "application/json", message, "X-Authorization", "Bearer "+token, "Proxy-Authorization", "Bearer "+token),
		"in the query and header":   ask(d.MCPURL+"?access_token="+token, "application/json", message, "Authorization", "Bearer "+token),
		"twice":                     ask(d.MCPURL, "application/json", message, "Authorization", "Bearer "+token, "Authorization", "Bearer "+token),
		"twice, the second made up": ask(d.MCPURL, "application/json", message, "Authorization", "Bearer "+token, "Authorization", "Bearer x"),
		"after a tab":               ask(d.MCPURL, "application/json", message, "Authorization", "Bearer\t"+token),
		"with a comma":              ask(d.MCPURL, "application/json", message, "Authorization", "Bearer "+token+", Bearer "+token),
		"as Basic":                  ask(d.MCPURL, "application/json", message, "Authorization", "Basic "+token),
		"without a scheme":          ask(d.MCPURL, "application/json", message, "Authorization", token),
		"quoted":                    ask(d.MCPURL, "application/json", message, "Authorization", `Bearer "`+token+`"`),
	} {
		if a.status != http.StatusUnauthorized && a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %.300s", name, a.status, a.body)
		}
		if !strings.Contains(a.challenge(), "resource_metadata=") {
			t.Errorf("%s: the challenge is %q", name, a.challenge())
		}
	}
	// RFC 9110 section 11.1: the scheme's case does not matter.
	if a := ask(d.MCPURL, "application/json", message, "Authorization", "bEARER "+token); a.status != http.StatusOK {
		t.Errorf("bEARER: %d %.300s", a.status, a.body)
	}
}

func TestG03_DeniedLooksLikeUnknown(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	guest, employee := c.signIn(t, deployment.Guest).access, c.signIn(t, deployment.Employee).access
	if list := rpc(t, d.MCPURL, guest, "tools/list", nil); list.status != http.StatusOK || strings.Contains(list.body, "generateImage") || !strings.Contains(list.body, `"add"`) {
		t.Errorf("a guest sees %d %.500s", list.status, list.body)
	}
	denied := call(t, d, guest, "generateImage", map[string]any{"prompt": "x", "steps": 4})
	unknown := call(t, d, guest, "generateSound", map[string]any{"prompt": "x", "steps": 4})
	if denied.status != unknown.status || strings.ReplaceAll(denied.body, "generateImage", "generateSound") != unknown.body {
		t.Errorf("a denied tool answers %d %s, an unknown one %d %s", denied.status, denied.body, unknown.status, unknown.body)
	}
	// Arguments that do not fit must not tell the two apart either.
	denied = call(t, d, guest, "generateImage", map[string]any{"steps": "many"})
	unknown = call(t, d, guest, "generateSound", map[string]any{"steps": "many"})
	if denied.status != unknown.status || strings.ReplaceAll(denied.body, "generateImage", "generateSound") != unknown.body {
		t.Errorf("with wrong arguments a denied tool answers %d %s, an unknown one %d %s", denied.status, denied.body, unknown.status, unknown.body)
	}
	if a := call(t, d, employee, "generateImage", map[string]any{"prompt": "x", "steps": 4}); !strings.Contains(a.body, `"image"`) {
		t.Errorf("an employee is answered %d %.300s", a.status, a.body)
	}
}

// modern sends a request of MCP 2026-07-28.
func modern(t testing.TB, d *deployment.Deployment, token, method, extra string, headers ...string) answer {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + extra + `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientInfo":{"name":"attacker","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	return send(t, http.MethodPost, d.MCPURL, body, append([]string{
		"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Authorization", "Bearer " + token, "MCP-Protocol-Version", "2026-07-28",
	}, headers...)...)
}

func TestG04_NothingIsCachedAcrossPeople(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	token := newClient(t, d, loopback).signIn(t, deployment.Guest).access
	for _, method := range []string{"tools/list", "server/discover", "resources/list"} {
		a := modern(t, d, token, method, "", "Mcp-Method", method)
		if a.status != http.StatusOK || !strings.Contains(a.body, `"cacheScope":"private"`) {
			t.Errorf("%s: %d %.500s", method, a.status, a.body)
		}
	}
	for name, a := range map[string]answer{"list": rpc(t, d.MCPURL, token, "tools/list", nil), "refusal": rpc(t, d.MCPURL, "", "tools/list", nil)} {
		if cache, vary := a.header.Get("Cache-Control"), a.header.Get("Vary"); !strings.Contains(cache, "private") || !strings.Contains(cache, "no-store") || !strings.Contains(vary, "Authorization") {
			t.Errorf("%s: Cache-Control %q, Vary %q", name, cache, vary)
		}
	}
}

// TestG05_SessionHijack: a session id is in logs and addresses, and where it is the key to a session, whoever has it sends
// and reads in another's name. The attacker here has every id of the victim's, and a valid token of their own.
func TestG05_SessionHijack(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	const secret = "a-prompt-that-is-the-victims"
	c := newClient(t, d, loopback)
	victim, attacker := c.signIn(t, deployment.Employee), c.signIn(t, deployment.Guest)
	call(t, d, victim.access, "generateImage", map[string]any{"prompt": secret, "steps": 4})

	t.Run("state", func(t *testing.T) {
		read := map[string]any{"uri": "history://images"}
		if a := rpc(t, d.MCPURL, victim.access, "resources/read", read); !strings.Contains(a.body, secret) {
			t.Fatalf("the victim's own history: %d %.500s", a.status, a.body)
		}
		for _, id := range []string{strings.Split(victim.access, "_")[1], strings.Split(victim.access, "_")[2], "../" + deployment.Employee} {
			if a := rpc(t, d.MCPURL, attacker.access, "resources/read", read, "Mcp-Session-Id", id); strings.Contains(a.body, secret) {
				t.Errorf("with session id %.8s... the attacker reads the victim's history", id)
			}
		}
	})
	t.Run("stream", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		sse := strings.TrimSuffix(d.MCPURL, "/mcp") + "/sse"
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, sse, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+victim.access)
		request.Header.Set("Accept", "text/event-stream")
		stream, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Body.Close()
		lines := bufio.NewScanner(stream.Body)
		event := func() string {
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					return data
				}
			}
			t.Fatalf("the stream has ended: %v", lines.Err())
			return ""
		}
		endpoint := strings.TrimSuffix(d.MCPURL, "/mcp") + event()
		post := func(token, id string) answer {
			return send(t, http.MethodPost, endpoint, `{"jsonrpc":"2.0","id":"`+id+`","method":"tools/list"}`, "Content-Type", "application/json", "Authorization", "Bearer "+token)
		}
		if a := post(attacker.access, "of-the-attacker"); a.status != http.StatusNotFound {
			t.Errorf("the attacker's message is answered %d %.300s", a.status, a.body)
		}
		// Nor may another client of the same person speak in this one's stream.
		if a := post(newClient(t, d, web).signIn(t, deployment.Employee).access, "of-another-client"); a.status != http.StatusNotFound {
			t.Errorf("another client's message is answered %d %.300s", a.status, a.body)
		}
		if a := send(t, http.MethodPost, endpoint, "{}", "Content-Type", "application/json"); a.status != http.StatusUnauthorized {
			t.Errorf("without a token: %d", a.status)
		}
		if a := post(victim.access, "of-the-victim"); a.status != http.StatusAccepted {
			t.Fatalf("the victim's message is answered %d %.300s", a.status, a.body)
		}
		if message := event(); !strings.Contains(message, "of-the-victim") || !strings.Contains(message, "generateImage") {
			t.Errorf("on the victim's stream came %.300s", message)
		}
	})
}

// TestG06_OneReadingOfTheBody says one thing in the headers, or first, and another in the body, or last.
func TestG06_OneReadingOfTheBody(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	token := newClient(t, d, loopback).signIn(t, deployment.Guest).access
	const arguments = `"name":"generateImage","arguments":{"prompt":"x","steps":4},`
	for name, a := range map[string]answer{
		"another method in the header": modern(t, d, token, "tools/call", arguments, "Mcp-Method", "tools/list", "Mcp-Name", "generateImage"),
		"another name in the header":   modern(t, d, token, "tools/call", arguments, "Mcp-Method", "tools/call", "Mcp-Name", "add"),
		"no method in the header":      modern(t, d, token, "tools/call", arguments),
	} {
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, "-32020") {
			t.Errorf("%s: %d %.500s", name, a.status, a.body)
		}
	}
	raw := func(body string) answer {
		return send(t, http.MethodPost, d.MCPURL, body, "Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Authorization", "Bearer "+token)
	}
	for name, body := range map[string]string{
		"batch":                `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"generateImage","arguments":{"prompt":"x","steps":4}}}]`,
		"deep":                 `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":` + strings.Repeat(`{"x":`, 20000) + "1" + strings.Repeat("}", 20000) + `}`,
		"two messages":         `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"tools/call"}`,
		"method twice":         `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"generateImage","arguments":{"prompt":"x"}}}`,
		"name twice":           `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","name":"generateImage","arguments":{"prompt":"x"}}}`,
		"name twice, reversed": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"generateImage","name":"add","arguments":{"prompt":"x"}}}`,
		"name in another case": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","Name":"generateImage","arguments":{"prompt":"x"}}}`,
		"params twice":         `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"},"Params":{"name":"generateImage","arguments":{"prompt":"x"}}}`,
		"escaped":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n\u0061me":"generate\u0049mage","arguments":{"prompt":"x"}}}`,
		"null":                 `null`,
		"no JSON":              `{"jsonrpc":`,
	} {
		if a := raw(body); a.status >= 500 || strings.Contains(a.body, `"image"`) {
			t.Errorf("%s: %d %.500s", name, a.status, a.body)
		}
	}
	if a := raw(strings.Repeat(" ", 5<<20) + `{"jsonrpc":"2.0","id":1,"method":"ping"}`); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("5 MB: %d", a.status)
	}
}

func TestG07_ForeignPages(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	token := newClient(t, d, loopback).signIn(t, deployment.Employee).access
	mcp, err := url.Parse(d.MCPURL)
	if err != nil {
		t.Fatal(err)
	}
	own := mcp.Scheme + "://" + mcp.Host
	for _, origin := range []string{"https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "https://" + mcp.Host + ".evil.example", "file://", "http://localhost:1@evil.example", own + "/x", "chrome-extension://abc"} {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodOptions} {
			a := send(t, method, d.MCPURL, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "Content-Type", "application/json", "Accept", "application/json, text/event-stream",
				"Authorization", "Bearer "+token, "Origin", origin, "Access-Control-Request-Method", "POST")
			if a.status != http.StatusForbidden || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s from %s: %d, Access-Control-Allow-Origin %q", method, origin, a.status, a.header.Get("Access-Control-Allow-Origin"))
			}
		}
	}
	for _, origin := range []string{own, "http://localhost:6274"} {
		a := rpc(t, d.MCPURL, token, "tools/list", nil, "Origin", origin)
		if a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(a.header.Get("Vary"), "Origin") {
			t.Errorf("from %s: %d %v", origin, a.status, a.header)
		}
	}
	// No endpoint lets a page use what the browser holds.
	for _, address := range []string{d.MCPURL, d.Issuer + "/token", d.Issuer + "/register", d.Issuer + "/authorize", d.Issuer + "/.well-known/oauth-authorization-server"} {
		a := send(t, http.MethodOptions, address, "", "Origin", "http://localhost:6274", "Access-Control-Request-Method", "POST")
		if a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s allows credentials", address)
		}
	}
	// A name of the attacker's that resolves to this computer (DNS rebinding). On AWS the name is AWS's.
	if !onStack() {
		for _, address := range []string{d.MCPURL, d.Issuer + "/authorize", d.Issuer + "/token"} {
			if a := get(t, address, "Host", "evil.example:"+mcp.Port()); a.status != http.StatusMisdirectedRequest {
				t.Errorf("%s under another name: %d", address, a.status)
			}
		}
	}
}

func TestG08_RevokedTokens(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	c := newClient(t, d, loopback)
	tokens := c.signIn(t, deployment.Guest)
	for range 12 { // so that every process has seen it
		if !works(t, d, tokens.access) {
			t.Fatal("the token does not work")
		}
	}
	post(t, d.Issuer+"/revoke", url.Values{"client_id": {c.id}, "token": {tokens.refresh}})
	for range 12 {
		if works(t, d, tokens.access) {
			t.Error("a process still takes a token that was revoked")
		}
	}
}
