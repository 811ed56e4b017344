package oauth

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestDiscovery(t *testing.T) {
	resource, _ := NewResource("https://mcp.example.com/mcp")
	d := NewDiscovery("https://login.example.com", resource, nil)
	for _, c := range []struct {
		method, path string
		status       int
		member, want string
	}{
		{"GET", PathServerMetadata, 200, "issuer", "https://login.example.com"},
		{"GET", PathOpenIDMetadata, 200, "jwks_uri", "https://login.example.com/jwks.json"},
		{"HEAD", PathOpenIDMetadata, 200, "", ""},
		{"GET", PathJWKS, 200, "", ""},
		{"POST", PathJWKS, 405, "error", InvalidRequest},
		{"OPTIONS", PathServerMetadata, 204, "", ""},
		{"OPTIONS", "/nowhere", 204, "", ""},
		{"GET", "/nowhere", 404, "error", "not_found"},
		// H03: no second spelling of a path
		{"GET", "//jwks.json", 404, "error", "not_found"},
		{"GET", "/jwks.json/", 404, "error", "not_found"},
		{"GET", "/JWKS.json", 404, "error", "not_found"},
		{"GET", "/jwks.json;x", 404, "error", "not_found"},
	} {
		r := httptest.NewRequest(c.method, "https://evil.example"+c.path, nil)
		r.Header.Set("Origin", "https://browser.example")
		r.Header.Set("X-Forwarded-Host", "evil.example") // H01: never heard
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != c.status || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s: %d %v, want %d with CORS", c.method, c.path, w.Code, w.Header(), c.status)
		}
		if c.member == "" {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body[c.member] != c.want {
			t.Errorf("%s %s: %s is %v (%v), want %q", c.method, c.path, c.member, body[c.member], err, c.want)
		}
	}
}

// RFC 8414 section 2: where an endpoint's methods list private_key_jwt, its algorithms must be listed too, for none are
// implied.
func TestDiscovery_AssertionAlgorithms(t *testing.T) {
	resource, _ := NewResource("https://mcp.example.com/mcp")
	w := httptest.NewRecorder()
	NewDiscovery("https://login.example.com", resource, nil).ServeHTTP(w, httptest.NewRequest("GET", PathServerMetadata, nil))
	var document map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{"token", "revocation", "introspection"} {
		methods, _ := document[endpoint+"_endpoint_auth_methods_supported"].([]any)
		algorithms, _ := document[endpoint+"_endpoint_auth_signing_alg_values_supported"].([]any)
		if !slices.Contains(methods, any(AuthPrivateKeyJWT)) || len(algorithms) != len(AssertionAlgorithms) || slices.Contains(algorithms, any("none")) {
			t.Errorf("%s endpoint: methods %v, algorithms %v", endpoint, methods, algorithms)
		}
	}
}
