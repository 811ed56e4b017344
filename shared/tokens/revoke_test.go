package tokens

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestE06_RevokeOverHTTP(t *testing.T) {
	w := newWorld(t)
	a := w.signedIn("")
	at, rt := a.text("access_token"), a.text("refresh_token")
	for name, f := range map[string][]string{
		"another client's access token":  {"token", at, "client_id", w.public2},
		"another client's refresh token": {"token", rt, "client_id", w.public2},
		"unknown":                        {"token", "at_unknown", "client_id", w.public},
		"unknown of our form":            {"token", at[:len(at)-1] + "_", "client_id", w.public},
		"a foreign token":                {"token", "eyJhbGciOiJub25lIn0.e30.", "client_id", w.public, "token_type_hint", "urn:x"},
	} {
		if got := w.post("/revoke", form(f...)); got.status != 200 || got.raw != "" {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
	if !w.works(at) {
		t.Fatal("a revocation without effect had one")
	}
	w.refused(w.post("/revoke", form("token", rt, "client_id", "dyn_unknown")), 401, "invalid_client")
	w.refused(w.post("/revoke", form("client_id", w.public)), 400, "invalid_request")
	w.refused(w.post("/revoke", form("token", rt)), 400, "invalid_request")
	w.must(w.post("/revoke", form("token", rt, "client_id", w.public, "token_type_hint", "access_token")))
	if w.works(at) {
		t.Error("the access token survived")
	}
	w.refused(w.post("/token", refreshForm(w.public, rt)), 400, "invalid_grant")
}

func TestIntrospectOverHTTP(t *testing.T) {
	w := newWorld(t)
	own := w.must(w.post("/token", with(redeemForm(w.confidential, w.code(w.confidential, "")), "client_secret", w.secret)))
	other := w.signedIn("")
	ask := func(token string) answer {
		return w.must(w.post("/introspect", form("token", token, "client_id", w.confidential, "client_secret", w.secret)))
	}
	a := ask(own.text("access_token"))
	if a.body["active"] != true || a.text("sub") != "ada" || a.text("client_id") != w.confidential || a.text("token_type") != "Bearer" ||
		a.text("aud") != issuer+"/mcp" || a.text("iss") != issuer || a.text("scope") != "mcp offline_access" || a.body["exp"] != float64(w.Now().Unix()+900) {
		t.Errorf("answer %s", a.raw)
	}
	if a := ask(own.text("refresh_token")); a.body["active"] != true || a.text("token_type") != "" {
		t.Errorf("refresh token: %s", a.raw)
	}
	for name, token := range map[string]string{
		"another client's": other.text("access_token"), "unknown": "x", "code": w.code(w.confidential, ""),
	} {
		if a := ask(token); strings.TrimSpace(a.raw) != `{"active":false}` {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	w.refused(w.post("/introspect", form("token", other.text("access_token"), "client_id", w.public)), 401, "invalid_client")
	w.refused(w.post("/introspect", form("token", "x", "client_id", w.confidential, "client_secret", "no")), 401, "invalid_client")
	w.refused(w.post("/introspect", form("client_id", w.confidential, "client_secret", w.secret)), 400, "invalid_request")
	if !w.works(own.text("access_token")) {
		t.Error("introspection changed the grant")
	}
}

// BenchmarkRefreshOverHTTP is the refresh chain as a client drives it, without a network: compare with the durable
// update that package grants measures.
func BenchmarkRefreshOverHTTP(b *testing.B) {
	w := newWorld(b)
	w.Limiter = nil
	token := w.signedIn("").text("refresh_token")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(refreshForm(w.public, token).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		token = w.send(r).text("refresh_token")
	}
	if token == "" {
		b.Fatal("the chain broke")
	}
}
