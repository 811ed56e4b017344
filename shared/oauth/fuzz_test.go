package oauth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzParseForm: whatever the body, it is refused with a 4xx, or read as net/url reads it with every parameter but resource
// once, and it means the same when it is written anew.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{
		"", "a=1&b=2", "a=1&a=2", "resource=x&resource=y", "a=%00", "a=%zz", "a=1;b=2", "=x", "&&&", "%61=1&a=2", "a", "a=%E2%80%AE", "a+b=c+d", "a=1&A=2", "a[]=1&a[]=2",
	} {
		f.Add(seed, "application/x-www-form-urlencoded")
	}
	f.Add("a=1", "application/json, application/x-www-form-urlencoded")
	f.Add("a=1", "Application/X-WWW-Form-Urlencoded; charset=x")
	f.Add("a=1", "multipart/form-data; boundary=x")
	f.Fuzz(func(t *testing.T, body, contentType string) {
		r := httptest.NewRequest(http.MethodPost, "/token?a=in-the-query&client_secret=in-the-query", strings.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		p, err := ParseForm(httptest.NewRecorder(), r)
		if err != nil {
			if e := AsError(err); e.Code != InvalidRequest || e.HTTPStatus() < 400 || e.HTTPStatus() > 499 {
				t.Errorf("%q as %q: %v with %d", body, contentType, e, e.HTTPStatus())
			}
			return
		}
		if mediaType, _, _ := strings.Cut(contentType, ";"); !strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded") {
			t.Errorf("took the type %q", contentType)
		}
		if strings.Contains(p.Get("a")+p.Get("client_secret"), "in-the-query") && !strings.Contains(body, "in-the-query") {
			t.Errorf("%q: a parameter was read from the query", body)
		}
		for name, values := range p.values {
			if len(values) != 1 && name != "resource" || strings.ContainsRune(strings.Join(values, ""), 0) {
				t.Errorf("%q: %q is %q", body, name, values)
			}
		}
		again, err := ParseQuery(p.values.Encode())
		if err != nil || again.values.Encode() != p.values.Encode() {
			t.Errorf("%q: written anew it is %v, %v", body, again, err)
		}
	})
}

// FuzzClassifyRedirectURI: whatever is accepted leads where it seems to lead, for us and for the standard library, and can
// carry an answer.
func FuzzClassifyRedirectURI(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/cb", "https://example.com:8443/cb?x=1", "http://localhost:3334/cb", "http://127.0.0.1/cb", "http://[::1]:80/cb", "cursor://x/y", "com.example.app:/oauth",
		"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "https://example.com\\@evil.com/", "https://user@example.com/",
		"https://example.com/a/../b", "https://example.com/%2e%2e/b", "https://example.com/#", "http://localhost@evil.com/", "http://localhost.evil.com/", "https://example.com./", "https:example.com",
		"https://exa%6dple.com/", "http://0x7f.1/", "https://[::1%25eth0]/", "https://example.com:0443/", "vscode:x", "x.y:", "htTp://127.0.0.1", "https://%80/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		kind, err := ClassifyRedirectURI(uri, nativeSchemes)
		if err != nil {
			if AsError(err).Code != InvalidRedirectURI {
				t.Errorf("%q: %v", uri, err)
			}
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.User != nil || u.Fragment != "" || strings.ContainsAny(uri, "#\\ \t\r\n\x00") || len(uri) > 512 {
			t.Fatalf("%q was accepted: %v, %v", uri, u, err)
		}
		if slices.Contains(scriptSchemes, strings.ToLower(u.Scheme)) {
			t.Fatalf("%q was accepted", uri)
		}
		switch kind {
		case RedirectHTTPS:
			if !strings.HasPrefix(uri, "https://"+u.Host) || u.Host == "" {
				t.Errorf("%q as https leads to %q", uri, u.Host)
			}
		case RedirectLoopback:
			if host := u.Hostname(); !strings.HasPrefix(uri, "http://"+u.Host) || host != "127.0.0.1" && host != "::1" && host != "localhost" {
				t.Errorf("%q as loopback leads to %q", uri, u.Host)
			}
			if _, loopback := WithoutLoopbackPort(uri); !loopback {
				t.Errorf("%q is loopback, and would be compared with its port", uri)
			}
		case RedirectPrivate:
			if u.Scheme == "http" || u.Scheme == "https" || !slices.Contains(nativeSchemes, u.Scheme) && !strings.Contains(u.Scheme, ".") {
				t.Errorf("%q was accepted as private-use", uri)
			}
		default:
			t.Errorf("%q: kind %v", uri, kind)
		}
		if !MatchRedirectURI([]string{uri}, uri) {
			t.Errorf("%q does not match itself", uri)
		}
	})
}
