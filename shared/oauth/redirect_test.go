package oauth

import (
	"strings"
	"testing"
)

var nativeSchemes = []string{"cursor", "vscode"}

func TestClassifyRedirectURI(t *testing.T) {
	for uri, want := range map[string]RedirectKind{
		"https://claude.ai/api/mcp/auth_callback":     RedirectHTTPS,
		"https://example.com:8443/cb?x=1":             RedirectHTTPS,
		"http://localhost:3334/oauth/callback":        RedirectLoopback,
		"http://127.0.0.1/cb":                         RedirectLoopback,
		"http://[::1]:80/cb":                          RedirectLoopback,
		"cursor://anysphere.cursor-retrieval/oauth/x": RedirectPrivate,
		"com.example.app:/oauth":                      RedirectPrivate,
		"com.example.app://oauth":                     RedirectPrivate,
	} {
		if got, err := ClassifyRedirectURI(uri, nativeSchemes); err != nil || got != want {
			t.Errorf("%q: kind %v, error %v; want kind %v", uri, got, err, want)
		}
	}
}

func TestA02_A03_A04_RefusedRedirectURIs(t *testing.T) {
	for _, uri := range []string{
		"", "/callback", "//example.com/cb", "example.com/cb",
		// A02: hosts that only look like loopback, and loopback by other schemes and spellings
		"http://127.0.0.1.evil.com/cb", "http://localhost.evil.com/cb", "http://localhost@evil.com/cb",
		"http://example.com/cb", "http://127.1/cb", "http://2130706433/cb", "http://0.0.0.0/cb", "http://[::]/cb",
		"HTTP://localhost/cb", "http://LOCALHOST/cb", "http://localhost./cb", "http://127.0.0.2/cb", "http://localhost:0/cb", "http://localhost:99999/cb",
		"http://localhost:/cb", "http://localhost:08/cb",
		// B10: a host that is shown in letters which are not those that the browser goes to
		"https://%D0%B0pple.example/cb", "https://ex%C3%A4mple.com/cb", "https://%80/", "http://localhost%D0%B0/cb",
		// A03: schemes that act in the browser, in every disguise
		"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "javascript\x00:alert(1)",
		"data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://x/y", "view-source:https://x", "intent://x",
		"windsurf://x", "x-unknown://cb", "a..b:/x", ".a:/x", "com.example.-app:/x",
		// A04: fragment, user information, dot segments
		"https://example.com/cb#f", "https://example.com/cb#", "https://user@example.com/cb", "https://u:p@example.com/",
		"https://example.com/a/../cb", "https://example.com/%2e%2e/cb", "https://example.com./cb", "https:///cb", "https:example.com",
		"https://exa mple.com/", "https://example.com/\r\nX: y", "https://example.com/é", `https://example.com\@evil.com/`,
		"https://example.com/" + strings.Repeat("a", 512),
	} {
		if kind, err := ClassifyRedirectURI(uri, nativeSchemes); err == nil {
			t.Errorf("%q was accepted as kind %v", uri, kind)
		} else if AsError(err).Code != InvalidRedirectURI {
			t.Errorf("%q: error %v, want %s", uri, err, InvalidRedirectURI)
		}
	}
}

func TestA01_MatchRedirectURI(t *testing.T) {
	registered := []string{"https://example.com/cb", "http://127.0.0.1:1234/cb", "http://localhost/cb", "http://[::1]:9/cb?x=1"}
	for presented, want := range map[string]bool{
		"https://example.com/cb":       true,
		"https://example.com/cb/":      false,
		"https://example.com/cb/../cb": false,
		"https://example.com/cb%2f":    false,
		"https://example.com/CB":       false,
		"https://Example.com/cb":       false,
		"https://example.com./cb":      false,
		"https://example.com:443/cb":   false,
		"https://example.com/cb?a=b":   false,
		"http://127.0.0.1:5678/cb":     true, // RFC 8252 section 7.3
		"http://127.0.0.1/cb":          true,
		"http://127.0.0.1:5678/other":  false,
		"https://127.0.0.1:1234/cb":    false,
		"http://localhost:42/cb":       true,
		"http://localhost:42/cb?x":     false,
		"http://[::1]:10/cb?x=1":       true,
		"http://[::1]:10/cb":           false,
		"http://localhost@evil.com/cb": false,
		"http://localhost.evil.com/cb": false,
		"http://localhost:42:43/cb":    false,
		"http://localhost:4 2/cb":      false,
		"":                             false,
	} {
		if got := MatchRedirectURI(registered, presented); got != want {
			t.Errorf("match of %q is %v, want %v", presented, got, want)
		}
	}
}

// Whatever matches a registered URI that was accepted is itself acceptable and leads to the same host and path.
func FuzzMatchRedirectURI(f *testing.F) {
	for _, s := range []string{"http://localhost:1/cb", "http://127.0.0.1.evil.com/cb", "http://[::1]:99/cb", "https://example.com/cb", "http://localhost:1@x/cb"} {
		f.Add(s)
	}
	registered := []string{"https://example.com/cb", "http://127.0.0.1/cb", "http://localhost:7/cb", "http://[::1]/cb"}
	f.Fuzz(func(t *testing.T, presented string) {
		if !MatchRedirectURI(registered, presented) {
			return
		}
		if _, err := ClassifyRedirectURI(presented, nil); err != nil {
			t.Fatalf("%q matches but is not acceptable: %v", presented, err)
		}
		host := RedirectHost(presented)
		for _, prefix := range []string{"example.com", "127.0.0.1", "localhost", "[::1]"} {
			if host == prefix || strings.HasPrefix(host, prefix+":") {
				return
			}
		}
		t.Fatalf("%q matches and leads to %q", presented, host)
	})
}
