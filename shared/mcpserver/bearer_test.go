package mcpserver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/grants"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
)

func authorization(values ...string) http.Header { return http.Header{"Authorization": values} }

// challenge is the refusal that a client must be able to read from the header and, where AWS renames it, from the body.
type challenge struct {
	Error            string
	Description      string `json:"error_description"`
	ResourceMetadata string `json:"resource_metadata"`
	Scope            string
}

func (q request) challenged(t *testing.T, h http.Handler, want challenge) {
	t.Helper()
	response := q.run(t, h)
	var got challenge
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatalf("%s %s: the body is not a challenge: %v", q.method, q.path, err)
	}
	header := `Bearer `
	if want.Error != "unauthorized" {
		header += `error="` + want.Error + `", error_description="` + got.Description + `", `
	}
	header += `resource_metadata="` + want.ResourceMetadata + `", scope="` + want.Scope + `"`
	if told := response.Header.Get("WWW-Authenticate"); told != header {
		t.Errorf("%s %s: challenge\n got %s\nwant %s", q.method, q.path, told, header)
	}
	if want.Description = got.Description; got != want || got.Description == "" {
		t.Errorf("%s %s: body %+v, want %+v", q.method, q.path, got, want)
	}
}

const metadataURL = testOrigin + "/.well-known/oauth-protected-resource"

// Without a token every request is told where to get one, whatever else is wrong with it.
func TestH03_ChallengeBeforeAllElse(t *testing.T) {
	f := newFixture(t, nil)
	for path, metadata := range map[string]string{"/mcp": metadataURL + "/mcp", "/sse": metadataURL + "/sse", "/messages": metadataURL + "/sse"} {
		want := challenge{Error: "unauthorized", ResourceMetadata: metadata, Scope: "mcp"}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "NONSENSE"} {
			for _, body := range []string{"", "{", rpc("no/such", "{}")} {
				request{method: method, path: path, body: body, status: 401}.challenged(t, f, want)
			}
		}
		request{path: path + "?sessionId=0", body: "x", header: http.Header{"Content-Type": {"text/plain"}}, status: 401}.challenged(t, f, want)
		for _, method := range []string{"PUT", "PATCH", "TRACE"} {
			request{method: method, path: path, token: employee, status: 405, headers: map[string]string{"Allow": "POST, OPTIONS"}}.run(t, f)
		}
	}
	request{method: "GET", path: "/messages", token: employee, status: 405, headers: map[string]string{"Allow": "POST, OPTIONS"}}.run(t, f)
	request{method: "PUT", path: "/sse", token: employee, status: 405, headers: map[string]string{"Allow": "GET, POST, OPTIONS"}}.run(t, f)
}

func TestG02_OneTokenInOneHeader(t *testing.T) {
	var asked atomic.Int64
	f := newFixture(t, nil)
	known := f.config.Authenticate
	f.config.Authenticate = func(ctx context.Context, token string) (grants.Access, error) {
		asked.Add(1)
		return known(ctx, token)
	}
	cookie := http.Header{"Cookie": {"access_token=" + employee + "; Authorization=Bearer " + employee}}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for name, c := range map[string]struct {
		header  http.Header
		query   string
		body    string
		status  int
		code    string
		reaches bool // the store is asked for a token
	}{
		"one":                     {header: authorization("Bearer " + employee), status: 200, reaches: true},
		"scheme in lower case":    {header: authorization("bearer " + employee), status: 200, reaches: true},
		"scheme in upper case":    {header: authorization("BEARER " + employee), status: 200, reaches: true},
		"several spaces":          {header: authorization("Bearer   " + employee), status: 200, reaches: true},
		"another query parameter": {header: authorization("Bearer " + employee), query: "?x=access_token", status: 200, reaches: true},
		"unknown":                 {header: authorization("Bearer at_unknown"), status: 401, code: "invalid_token", reaches: true},
		"longest":                 {header: authorization("Bearer " + strings.Repeat("a", maxToken)), status: 401, code: "invalid_token", reaches: true},
		"too long":                {header: authorization("Bearer " + strings.Repeat("a", maxToken+1)), status: 401, code: "invalid_token"},
		"none":                    {status: 401, code: "unauthorized"},
		"scheme alone":            {header: authorization("Bearer"), status: 401, code: "unauthorized"},
		"scheme and space":        {header: authorization("Bearer "), status: 401, code: "unauthorized"},
		"empty header":            {header: authorization(""), status: 401, code: "unauthorized"},
		"another scheme":          {header: authorization("Basic " + employee), status: 401, code: "unauthorized"},
		"token alone":             {header: authorization(employee), status: 401, code: "unauthorized"},
		"another scheme's prefix": {header: authorization("BearerX " + employee), status: 401, code: "unauthorized"},
		"tab":                     {header: authorization("Bearer\t" + employee), status: 401, code: "invalid_token"},
		"space and tab":           {header: authorization("Bearer \t" + employee), status: 401, code: "invalid_token"},
		"two words":               {header: authorization("Bearer " + employee + " x"), status: 401, code: "invalid_token"},
		"two in one header":       {header: authorization("Bearer " + employee + ", Bearer " + guest), status: 401, code: "invalid_token"},
		"quoted":                  {header: authorization(`Bearer "` + employee + `"`), status: 401, code: "invalid_token"},
		"padding within":          {header: authorization("Bearer a=b"), status: 401, code: "invalid_token"},
		"padding alone":           {header: authorization("Bearer =="), status: 401, code: "invalid_token"},
		"not ASCII":               {header: authorization("Bearer at_employée"), status: 401, code: "invalid_token"},
		"two headers":             {header: authorization("Bearer "+employee, "Bearer "+employee), status: 400, code: "invalid_request"},
		"two schemes":             {header: authorization("Bearer "+employee, "Basic eA=="), status: 400, code: "invalid_request"},
		"header and query":        {header: authorization("Bearer " + employee), query: "?access_token=" + employee, status: 400, code: "invalid_request"},
		"query":                   {query: "?access_token=" + employee, status: 401, code: "unauthorized"},
		"body":                    {header: form, body: "access_token=" + employee, status: 401, code: "unauthorized"},
		"cookie":                  {header: cookie, status: 401, code: "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			q := request{path: "/mcp" + c.query, header: c.header, body: c.body, status: c.status}
			if q.body == "" {
				q.body = rpc("ping", "{}")
			}
			if c.status == 200 {
				q.run(t, f)
			} else {
				q.challenged(t, f, challenge{c.code, "", metadataURL + "/mcp", "mcp"})
			}
			if reached := asked.Load() == 1; reached != c.reaches {
				t.Errorf("the store was asked %d times", asked.Load())
			}
		})
	}
}

// withGrants is a server that knows the tokens of a real store of grants, and one sign-in through it.
func withGrants(t *testing.T, clock func() time.Time) (f *fixture, store *grants.Store, code string, issued grants.Issued) {
	t.Helper()
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	f = newFixture(t, func(c *Config) {
		c.Now = clock
		store = &grants.Store{Table: c.State.Table, Now: clock, Audit: c.Audit}
		c.Authenticate = store.Authenticate
	})
	grant := grants.NewGrant{
		ID: grants.NewID(nil), ClientID: "c1", ClientName: "Client", RedirectURI: "http://127.0.0.1:1/callback",
		CodeChallenge: oauth.S256Challenge(verifier), Scopes: []string{"mcp"}, Resource: testOrigin + "/mcp",
		Identity: policy.Identity{Issuer: testIdentity, Subject: "ada", Email: "employee@example.com"},
	}
	code, err := store.Create(t.Context(), grant)
	if err != nil {
		t.Fatal(err)
	}
	items, err := store.Table.Get(t.Context(), grants.Key(grant.ID))
	if err != nil {
		t.Fatal(err)
	}
	issued, err = store.Redeem(t.Context(), items[0], grants.Redemption{
		Code: code, ClientID: grant.ClientID, RedirectURI: grant.RedirectURI, Verifier: verifier, Refreshable: true})
	if err != nil {
		t.Fatal(err)
	}
	return f, store, code, issued
}

func TestG01_OnlyAnAccessTokenForThisResource(t *testing.T) {
	f, _, code, issued := withGrants(t, time.Now)
	request{token: issued.AccessToken, body: callAdd("1", "2"), want: []string{`"text":"3"`}}.run(t, f)
	want := challenge{"invalid_token", "", metadataURL + "/mcp", "mcp"}
	for name, token := range map[string]string{
		"code":                code,
		"refresh token":       issued.RefreshToken,
		"refresh as access":   "at" + strings.TrimPrefix(issued.RefreshToken, "rt"),
		"other secret":        issued.AccessToken[:len(issued.AccessToken)-1] + "!",
		"ID token":            "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL21jcC5leGFtcGxlLmNvbS9tY3AifQ.c2lnbmF0dXJl",
		"upstream's own":      "ya29.a0AfH6SMBx",
		"unsigned ID token":   "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
		"grant id alone":      strings.Join(strings.Split(issued.AccessToken, "_")[:2], "_"),
		"access token, twice": issued.AccessToken + issued.AccessToken,
	} {
		t.Run(name, func(t *testing.T) {
			request{token: token, body: callAdd("1", "2"), status: 401}.challenged(t, f, want)
		})
	}
	// A token that is good, for another audience.
	request{token: foreign, body: callAdd("1", "2"), status: 401}.challenged(t, newFixture(t, nil), want)
}

func TestG08_RevokedOrExpiredBetweenCalls(t *testing.T) {
	now := time.Now()
	f, store, _, issued := withGrants(t, func() time.Time { return now })
	call := request{token: issued.AccessToken, body: callAdd("1", "2"), want: []string{`"text":"3"`}}
	refused := request{token: issued.AccessToken, body: callAdd("1", "2"), status: 401}
	want := challenge{"invalid_token", "", metadataURL + "/mcp", "mcp"}
	call.run(t, f)
	signedIn := now
	now = issued.Expires.Add(-time.Second)
	call.run(t, f)
	now = now.Add(time.Second)
	refused.challenged(t, f, want)
	now = signedIn
	call.run(t, f)
	if err := store.Revoke(t.Context(), issued.GrantID, "by its person"); err != nil {
		t.Fatal(err)
	}
	refused.challenged(t, f, want)
}

// Whatever the store says, a token that has expired or lacks the default scope opens nothing.
func TestAuthenticateIsChecked(t *testing.T) {
	now := time.Now()
	f := newFixture(t, func(c *Config) { c.Now = func() time.Time { return now } })
	now = f.tokens[employee].Expires
	request{token: employee, body: callAdd("1", "2"), status: 401}.challenged(t, f, challenge{"invalid_token", "", metadataURL + "/mcp", "mcp"})
	now = now.Add(-time.Second)
	request{token: employee, body: callAdd("1", "2")}.run(t, f)
	// What the token has is asked for again, offline_access excepted: it is no scope of a resource.
	request{token: narrow, body: callAdd("1", "2"), status: 403}.challenged(t, f, challenge{"insufficient_scope", "", metadataURL + "/mcp", "images mcp"})
	request{method: "GET", path: "/sse", token: narrow, status: 403}.challenged(t, f, challenge{"insufficient_scope", "", metadataURL + "/sse", "images mcp"})
}

func TestTableDown(t *testing.T) {
	f := newFixture(t, nil)
	for _, path := range []string{"/mcp", "/sse", "/messages"} {
		request{path: path, token: tableIsDown, body: callAdd("1", "2"), status: 503, header: http.Header{"Origin": {testOrigin}},
			want: []string{`"error":"temporarily_unavailable"`}, wantNot: []string{"reading grant"},
			headers: map[string]string{"Retry-After": "2", "WWW-Authenticate": "-", "Access-Control-Allow-Origin": testOrigin}}.run(t, f.logged())
	}
	if log := f.log.String(); strings.Count(log, `"fault":"reading grant: table: unavailable"`) != 3 {
		t.Errorf("the log does not name the fault:\n%s", log)
	}
}

// H05: no token stands in any log, whatever became of it.
func TestH05_NoTokenInTheLog(t *testing.T) {
	f, _, code, issued := withGrants(t, time.Now)
	h := f.logged()
	for _, token := range []string{issued.AccessToken, issued.RefreshToken, code, "at_unknown_token", tableIsDown} {
		for _, q := range []request{
			{path: "/mcp", body: callAdd("1", "2")},
			{path: "/mcp?access_token=" + token, body: callAdd("1", "2")},
			{path: "/sse", body: callAdd(`"x"`, "2"), header: http.Header{"Cookie": {"t=" + token}}},
			{path: "/messages?sessionId=" + token, body: callAdd("1", "2")},
			{path: "/mcp", body: rpc("tools/call", `{"name":"subtract"}`)},
		} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", testOrigin+q.path, strings.NewReader(q.body))
			r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}, "Cookie": q.header["Cookie"]}
			h.ServeHTTP(w, r)
			if strings.Contains(w.Body.String(), token) {
				t.Errorf("%s is told: %s", token, w.Body)
			}
		}
		if strings.Contains(f.log.String(), token) {
			t.Errorf("%s stands in the log:\n%s", token, f.log.String())
		}
	}
	if !strings.Contains(f.log.String(), `"grant_id"`) {
		t.Error("nothing was logged")
	}
}
