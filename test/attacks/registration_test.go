package attacks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
)

func register(t testing.TB, d *deployment.Deployment, metadata string) answer {
	t.Helper()
	return send(t, http.MethodPost, d.Issuer+"/register", metadata, "Content-Type", "application/json")
}

// TestF01_TheSameClientAgain registers one client as often as a spammer, or a client that forgets, would.
func TestF01_TheSameClientAgain(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	ids := map[string]bool{}
	for i := range 40 {
		a := register(t, d, fmt.Sprintf(`{"client_name":"Again","redirect_uris":["http://127.0.0.1:%d/callback"],"token_endpoint_auth_method":"none"}`, 20000+i))
		if a.status != http.StatusCreated {
			t.Fatalf("answered %d %s", a.status, a.body)
		}
		ids[a.text("client_id")] = true
	}
	if len(ids) != 1 {
		t.Errorf("one client, at 40 ports, is %d clients", len(ids))
	}
	for id := range ids {
		written := 0
		for line := range strings.Lines(d.Log()) {
			if strings.Contains(line, "client_registered") && strings.Contains(line, id) {
				written++
			}
		}
		if written != 1 {
			t.Errorf("it was written %d times", written)
		}
	}
}

// narrow is a deployment that takes few registrations, and reads documents on this computer.
var narrow = deployment.Shared{Env: []string{"REGISTRATIONS_PER_MINUTE=5", "ALLOW_LOOPBACK_DOCUMENTS=true"}}

// TestF01_Flood registers client after client. The limit is the whole service's, for an attacker has many addresses, and
// those whom it must not hurt share a few.
func TestF01_Flood(t *testing.T) {
	d := narrow.Use(t)
	t.Parallel()
	metadata := func(i int) string {
		return fmt.Sprintf(`{"client_name":"Flood %d","redirect_uris":["https://spam.example/"],"token_endpoint_auth_method":"none"}`, i)
	}
	known := register(t, d, metadata(0)).text("client_id")
	created := 1
	for i := range 60 {
		a := register(t, d, metadata(i+1))
		if a.status == http.StatusCreated {
			created++
			continue
		}
		a.refused(t, http.StatusTooManyRequests, "temporarily_unavailable")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if created > 10 { // a minute may have ended meanwhile
		t.Errorf("%d of 61 clients were registered where 5 a minute are allowed", created)
	}
	if a := register(t, d, metadata(0)); a.status != http.StatusCreated || a.text("client_id") != known {
		t.Errorf("a client that is known is answered %d %s", a.status, a.body)
	}
}

func TestF02_MassAssignment(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	a := register(t, d, `{"client_name":"Ambitious","redirect_uris":["`+web+`"],"token_endpoint_auth_method":"none",
		"client_id":"chosen","client_secret":"chosen","client_secret_expires_at":0,"client_id_issued_at":1,"scope":"mcp admin","trusted":true,
		"kind":2,"issued_at":"2020-01-01","secret_sha256":"AAAA","software_statement":"eyJhbGciOiJub25lIn0.e30.","grant_types":["authorization_code","client_credentials"]}`)
	if a.status == http.StatusCreated {
		if id := a.text("client_id"); id == "chosen" || !strings.HasPrefix(id, "dyn_") || a.text("client_secret") != "" || strings.Contains(a.text("scope"), "admin") || strings.Contains(a.body, "client_credentials") || strings.Contains(a.body, "trusted") {
			t.Errorf("registered as %s", a.body)
		}
	} else {
		a.refused(t, http.StatusBadRequest, "invalid_client_metadata")
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf(`"https://client.example/%d"`, i)
	}
	for name, metadata := range map[string]string{
		"1,000 redirect URIs": `{"redirect_uris":[` + strings.Join(many, ",") + `]}`,
		"no redirect URI":     `{"redirect_uris":[]}`,
		"the same name twice": `{"redirect_uris":["` + web + `"],"redirect_uris":["https://evil.example/"]}`,
		"deep":                `{"redirect_uris":["` + web + `"],"x":` + strings.Repeat("[", 7000) + strings.Repeat("]", 7000) + `}`,
		"no object":           `["` + web + `"]`,
		"two documents":       `{"redirect_uris":["` + web + `"]} {}`,
		"a jwks_uri inside":   `{"redirect_uris":["` + web + `"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://169.254.169.254/keys"}`,
		"an inner Lambda API": `{"redirect_uris":["` + web + `"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://127.0.0.1:9001/2018-06-01/runtime/invocation/next"}`,
	} {
		if a := register(t, d, metadata); a.status < 400 || a.status >= 500 || a.text("error") == "" {
			t.Errorf("%s: %d %.300s", name, a.status, a.body)
		}
	}
	if a := register(t, d, `{"redirect_uris":["`+web+`"],"x":"`+strings.Repeat("x", 1<<20)+`"}`); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("1 MB: %d", a.status)
	}
}

func TestF03_NoManagementOfRegistrations(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	a := register(t, d, `{"client_name":"Managed","redirect_uris":["`+web+`"],"token_endpoint_auth_method":"none"}`)
	if strings.Contains(a.body, "registration_access_token") || strings.Contains(a.body, "registration_client_uri") {
		t.Errorf("the answer offers a management endpoint: %s", a.body)
	}
	for _, path := range []string{"/register/" + a.text("client_id"), "/register?client_id=" + a.text("client_id"), "/clients", "/clients/" + a.text("client_id")} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if got := send(t, method, d.Issuer+path, `{"redirect_uris":["https://evil.example/"]}`, "Content-Type", "application/json"); got.status != http.StatusNotFound && got.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %.200s", method, path, got.status, got.body)
			}
		}
	}
}

// TestF04_F05_DocumentsInside names metadata documents where only the server can reach.
func TestF04_F05_DocumentsInside(t *testing.T) {
	d := server.Use(t)
	t.Parallel()
	address, asked := listen(t)
	get(t, d.Issuer+"/authorize") // a first start is slow on its own account
	_, port, _ := strings.Cut(strings.TrimPrefix(address, "https://"), ":")
	for _, id := range []string{
		address + "/client.json", "http://127.0.0.1:" + port + "/client.json", "https://localhost:" + port + "/c", "https://localhost/client.json",
		"https://169.254.169.254/latest/meta-data/iam/", "http://169.254.170.2/v2/credentials", "https://[::1]/c", "https://[fd00:ec2::254]/c", "https://[::ffff:127.0.0.1]/c",
		"https://[64:ff9b::7f00:1]/c", "https://100.64.0.1/c", "https://0.0.0.0/c", "https://2130706433/c", "https://0x7f.1/c", "https://0177.0.0.1/c", "https://127.1/c", "https://10.0.0.1/c",
		"http://127.0.0.1:9001/2018-06-01/runtime/invocation/next", "https://user@client.example/c", "https://client.example:8443/c", "https://client.example/a/../c",
		"https://client.example/%2e%2e/c", "https://client.example/c#x", "https://metadata/c", "file:///etc/passwd", "ftp://client.example/c", "https://client.example\\@127.0.0.1/c",
	} {
		start := time.Now()
		a := get(t, d.Issuer+"/authorize?"+url.Values{
			"response_type": {"code"}, "client_id": {id}, "redirect_uri": {web}, "code_challenge": {oauth2.S256ChallengeFromVerifier("x")}, "code_challenge_method": {"S256"},
		}.Encode())
		if a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
			t.Errorf("%s: %d, Location %q", id, a.status, a.header.Get("Location"))
		}
		if took := time.Since(start); took > 8*time.Second { // a connection that nobody answers is given up after 10
			t.Errorf("%s took %s: something was asked", id, took)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server connected %d times to this computer", n)
	}
}

// TestF06_HostileDocuments serves documents as attackers would. The deployment may read them on this computer, as one may
// in development.
func TestF06_HostileDocuments(t *testing.T) {
	var mu sync.Mutex
	fetched := map[string]int{}
	var inside atomic.Int64
	var site *httptest.Server
	document := func(path string, changes map[string]any) string {
		members := map[string]any{"client_id": site.URL + path, "client_name": "Document", "redirect_uris": []string{web}, "token_endpoint_auth_method": "none"}
		for name, value := range changes {
			members[name] = value
		}
		encoded, _ := json.Marshal(members)
		return string(encoded)
	}
	site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fetched[r.URL.Path]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=31536000")
		say := func(changes map[string]any) { _, _ = w.Write([]byte(document(r.URL.Path, changes))) }
		switch r.URL.Path {
		case "/good":
			say(nil)
		case "/another":
			say(map[string]any{"client_id": site.URL + "/good"})
		case "/secret":
			say(map[string]any{"client_secret": "x"})
		case "/script":
			say(map[string]any{"redirect_uris": []string{"javascript:alert(1)"}})
		case "/html":
			w.Header().Set("Content-Type", "text/html")
			say(nil)
		case "/huge":
			for range 100 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		case "/elsewhere":
			http.Redirect(w, r, "/inside", http.StatusFound)
		case "/inside":
			inside.Add(1)
			say(nil)
		}
	}))
	t.Cleanup(site.Close)
	d := narrow.Use(t)
	t.Parallel()
	ask := func(path string) answer {
		return get(t, client{d, site.URL + path, web, "x"}.authorize())
	}
	if a := ask("/good"); a.status != http.StatusOK {
		t.Fatalf("a good document: %d %.1000s", a.status, body(a.body))
	}
	for _, path := range []string{"/another", "/secret", "/script", "/html", "/huge", "/elsewhere", "/nowhere"} {
		for range 3 {
			a := ask(path)
			if a.status < 400 || a.header.Get("Location") != "" || strings.Contains(a.body, "Approve") {
				t.Errorf("%s: %d, Location %q", path, a.status, a.header.Get("Location"))
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for path, n := range fetched {
		if n > 1 && !onStack() { // there every process has its own memory of failures
			t.Errorf("%s was fetched %d times within the pause after a failure", path, n)
		}
	}
	if inside.Load() != 0 {
		t.Error("a redirect was followed")
	}
}
