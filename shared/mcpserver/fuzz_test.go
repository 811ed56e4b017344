package mcpserver

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Whatever a header holds: what is taken for a token is one word of the token's alphabet that ends the header, and
// presenting it by itself gives it again.
func FuzzBearer(f *testing.F) {
	for _, seed := range []string{
		"", "Bearer", "Bearer ", "Bearer at_x_y", "bearer  a-._~+/1==", "BEARER\ta", "Bearer a b", "Bearer a,b", "Bearer ==", "Bearer a=b",
		"Basic YTpi", "BearerX a", " Bearer a", "Bearer a ", "Bearer \x00", "Bearer é", "Bearer at_x, Bearer at_y", "Bearer\u00a0a",
	} {
		f.Add(seed, "")
		f.Add(seed, "access_token=a")
	}
	word := regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
	f.Fuzz(func(t *testing.T, header, query string) {
		present := func(header string) (string, presented) {
			return bearer(&http.Request{Header: http.Header{"Authorization": {header}}, URL: &url.URL{RawQuery: query}})
		}
		token, what := present(header)
		if what != oneToken {
			if token != "" && what == noToken {
				t.Errorf("%q: no token, and yet %q", header, token)
			}
			return
		}
		if !word.MatchString(token) || len(token) > maxToken {
			t.Errorf("%q: took %q for a token", header, token)
		}
		if !strings.EqualFold(header[:7], "Bearer ") || strings.TrimRight(strings.TrimLeft(header[7:], " "), " ") != token {
			t.Errorf("%q: the token %q is not what stands there", header, token)
		}
		if again, what := present("Bearer " + token); what != oneToken || again != token {
			t.Errorf("%q: presented by itself it is %q, %d", token, again, what)
		}
	})
}

// Whatever an Origin is: one that is allowed is ours, is named to the letter, or is spelt as a page of this machine is.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		testOrigin, "https://app.example.com", "null", "", "http://localhost", "https://localhost:1", "http://127.0.0.1:6274", "http://[::1]:6274",
		"http://localhost.evil.example", "http://localhost@evil.example", "http://evil.example#localhost", "http://localhost/", "http://127.0.0.1.nip.io",
		"http://[::ffff:127.0.0.1]", "http://[::1%25lo]", "HTTP://localhost", "http://localhost\t", "http://2130706433", "http://localhost\\@evil.example",
	} {
		f.Add(seed)
	}
	s := newFixture(f, nil).Server
	loopback := regexp.MustCompile(`^https?://(localhost|127(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:\d*)?$`)
	f.Fuzz(func(t *testing.T, origin string) {
		if s.originAllowed(origin, s.fixed) && origin != testOrigin && origin != "https://app.example.com" && !loopback.MatchString(origin) {
			t.Errorf("%q is allowed", origin)
		}
	})
}
