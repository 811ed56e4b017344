package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func consentOf(c Consent) *http.Response {
	w := httptest.NewRecorder()
	WriteConsent(w, c)
	return w.Result()
}

func problemOf(p Problem) *http.Response {
	w := httptest.NewRecorder()
	WriteProblem(w, p)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestB07_NoPageCanBeFramed(t *testing.T) {
	for name, resp := range map[string]*http.Response{"consent": consentOf(Consent{}), "problem": problemOf(Problem{Status: 400})} {
		csp := resp.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || resp.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: CSP %q, X-Frame-Options %q", name, csp, resp.Header.Get("X-Frame-Options"))
		}
	}
}

func TestB13_HeadersOfPages(t *testing.T) {
	for _, c := range []struct {
		name, referrer string
		resp           *http.Response
	}{
		{"a page with a form names its origin to us alone", "same-origin", consentOf(Consent{})},
		{"a page without one names nothing", "no-referrer", problemOf(Problem{Status: 400})},
	} {
		t.Run(c.name, func(t *testing.T) {
			for header, want := range map[string]string{
				"Referrer-Policy": c.referrer, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
				"Content-Type": "text/html; charset=utf-8",
			} {
				if got := c.resp.Header.Get(header); got != want {
					t.Errorf("%s = %q, want %q", header, got, want)
				}
			}
		})
	}
	h := http.Header{}
	SetRedirectHeaders(h)
	if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("redirect headers: %v", h)
	}
}

func TestContentSecurityPolicy(t *testing.T) {
	resp := consentOf(Consent{})
	csp, page := resp.Header.Get("Content-Security-Policy"), body(t, resp)
	if !strings.HasPrefix(csp, "default-src 'none'; ") || !strings.Contains(csp, "base-uri 'none'") {
		t.Errorf("CSP %q", csp)
	}
	if strings.Contains(csp, "form-action") {
		t.Error("form-action would break the redirects behind the form in Chromium")
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(page)
	if style == nil || !strings.Contains(csp, "style-src '"+hashSource(style[1])+"'") {
		t.Error("the policy does not admit the style that the page has")
	}
	if strings.Contains(page, " style=") || strings.Contains(page, "<script") || regexp.MustCompile(`\son[a-z]+=`).MatchString(page) {
		t.Error("the page has a style attribute, a script or a handler, which the policy forbids")
	}
}

func TestB08_B09_HostileTextStaysText(t *testing.T) {
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	page := body(t, consentOf(Consent{
		Action: "/authorize", Sealed: evil, Server: evil, ServerHost: evil, Operator: evil, IssuerHost: evil, Provider: evil,
		Client: Client{Name: evil, ID: evil, Domain: evil, Website: "javascript:alert(1)", WebsiteHost: evil,
			Policy: "javascript:alert(1)", Terms: "data:text/html,x"},
		Redirect: Redirect{URI: evil, Host: evil, Scheme: evil, App: true},
		Asks:     []Ask{{Scope: evil, Tools: []string{evil}}},
	})) + body(t, problemOf(Problem{Status: 400, Title: evil, What: evil, Advice: []string{evil}, Code: evil, Detail: evil, RequestID: evil}))
	for _, bad := range []string{"<script", "<img", `href="javascript:`, `href="data:`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
}

func TestNoPageLoadsAnything(t *testing.T) {
	page := body(t, consentOf(Consent{Client: Client{Website: "https://client.example/", WebsiteHost: "client.example"}}))
	if m := regexp.MustCompile(`(?i)\ssrc=|<link|@import|url\(`).FindString(page); m != "" {
		t.Errorf("the page holds %q", m)
	}
	for _, link := range regexp.MustCompile(`<a [^>]*>`).FindAllString(page, -1) {
		if !strings.Contains(link, `rel="noopener noreferrer nofollow"`) {
			t.Errorf("%s tells the other site of us", link)
		}
	}
}

func TestB10_WhoAsksAndWhereAccessGoes(t *testing.T) {
	for _, c := range []struct {
		name     string
		consent  Consent
		has, not []string
	}{
		{"registered itself", Consent{Client: Client{Name: "Claude"}, Redirect: Redirect{Host: "evil.example"}},
			[]string{"Unverified", "Nobody has checked this client", "<strong>evil.example</strong>"}, []string{"Known client"}},
		{"on this computer", Consent{Client: Client{Name: "Claude"}, Redirect: Redirect{Host: "localhost:1", Loopback: true}},
			[]string{"Unverified", "a program on this computer", "localhost:1"}, nil},
		{"an app", Consent{Client: Client{Name: "Cursor"}, Redirect: Redirect{URI: "cursor://a.b/c?d=e", App: true, Scheme: "cursor"}},
			[]string{"an app on this device", "cursor://a.b/c?d=e", "<code>cursor:</code>"}, nil},
		{"a document", Consent{Client: Client{Name: "Claude", Domain: "claude.ai"}, Redirect: Redirect{Host: "claude.ai"}},
			[]string{"From claude.ai"}, []string{"Unverified", "Nobody has checked", "another site"}},
		{"a document that leads elsewhere", Consent{Client: Client{Name: "Claude", Domain: "claude.ai"}, Redirect: Redirect{Host: "evil.example", Foreign: true}},
			[]string{"another site", "evil.example"}, nil},
		{"a listed client", Consent{Client: Client{Name: "Ours", Listed: true}, Redirect: Redirect{Host: "ours.example"}},
			[]string{"Known client"}, []string{"Unverified", "Nobody has checked"}},
		{"look-alike letters", Consent{Client: Client{Name: "Сlaude", Lookalike: true}}, []string{"mixes alphabets"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := body(t, consentOf(c.consent))
			for _, want := range c.has {
				if !strings.Contains(page, want) {
					t.Errorf("the page lacks %q", want)
				}
			}
			for _, bad := range c.not {
				if strings.Contains(page, bad) {
					t.Errorf("the page has %q", bad)
				}
			}
		})
	}
}

func TestConsentWords(t *testing.T) {
	page := body(t, consentOf(Consent{
		ServerHost: "abc123.lambda-url.eu-central-1.on.aws", Server: "https://abc123.lambda-url.eu-central-1.on.aws/mcp",
		Asks: []Ask{{ToolUse: true}, {ToolUse: true, Tools: []string{"add"}}, {ToolUse: true, Tools: []string{"add", "generateImage"}}},
	}))
	for _, want := range []string{
		// A long name breaks where its parts end, and reads the same.
		`>abc123.<wbr>lambda-url.<wbr>eu-central-1.<wbr>on.<wbr>aws<wbr><`,
		`>https:/<wbr>/<wbr>abc123.<wbr>`,
		"<span>Only the tools that you may use yourself, and nothing else of yours.</span>",
		"<span><code>add</code>, as far as you may use it yourself, and nothing else of yours.</span>",
		"<span><code>add</code>, <code>generateImage</code>, as far as you may use them yourself, and nothing else of yours.</span>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// Where the operator has a name, people read that, and not only the hosts that AWS named.
func TestConsentNamesTheOperator(t *testing.T) {
	c := Consent{ServerHost: "abc123.on.aws", IssuerHost: "a1b2.amazonaws.com"}
	unnamed := strings.ReplaceAll(body(t, consentOf(c)), "<wbr>", "")
	c.Operator = "My Company"
	named := strings.ReplaceAll(body(t, consentOf(c)), "<wbr>", "")
	for page, want := range map[string][]string{
		unnamed: {`<span class="host">abc123.on.aws</span>`, `<dd>a1b2.amazonaws.com</dd>`},
		named:   {`<span class="host"><bdi>My Company</bdi></span>`, `<dd><bdi>My Company</bdi>, a1b2.amazonaws.com</dd>`},
	} {
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("the page lacks %s", w)
			}
		}
	}
}

func TestWriteProblem(t *testing.T) {
	resp := problemOf(Problem{Status: 503, Title: "Later", LinkURL: "cursor://a/b?error=x&state=y", LinkText: "Return", RetryAfter: 1500 * time.Millisecond, RequestID: "id-1"})
	page := body(t, resp)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	for _, want := range []string{`href="cursor://a/b?error=x&amp;state=y"`, "id-1", `<html lang="en">`, "<title>Later</title>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestDisplayText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Claude Code", "Claude Code"},
		{"one line", "  a\r\n\tb  c ", "a b c"},
		{"direction overrides", "abc\u202egnp.exe\u202c\u2066x\u2069", "abcgnp.exex"},
		{"no width", "Cl\u200ba\u200du\ufeffde\u2060", "Claude"},
		{"control characters", "a\x00b\x1b[31mc", "ab[31mc"},
		{"invisible letters", "a\u3164b\u115f\u2800", "ab"},
		{"stacked marks", "a\u0301\u0302\u0303\u0304\u0305b", "a\u0301\u0302b"},
		{"marks upon nothing", "\u0301\u0301a", "a"},
		{"broken text", "a\xffb", "ab"},
		{"other scripts stay", "微信 مرحبا", "微信 مرحبا"},
		{"too long", strings.Repeat("é", 30), strings.Repeat("é", 20) + "…"},
		{"just long enough", strings.Repeat("x", 20), strings.Repeat("x", 20)},
		{"nothing", " \u200b ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := DisplayText(c.in, 20); got != c.want {
				t.Errorf("DisplayText(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestMixesAlphabets(t *testing.T) {
	for name, want := range map[string]bool{
		"Claude": false, "Сlaude": true, "Клод": false, "Clauδe": true, "微信 WeChat": false, "Clаude": true, "": false, "VS Code 2": false,
	} {
		if got := MixesAlphabets(name); got != want {
			t.Errorf("MixesAlphabets(%q) = %v", name, got)
		}
	}
}

func FuzzDisplayText(f *testing.F) {
	for _, seed := range []string{"Claude", "a\u202eb", "a\u0301\u0301\u0301", " x ", "\xff"} {
		f.Add(seed, 10)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = limit&0xff + 1
		got := DisplayText(s, limit)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\u202e\u200b") {
			t.Errorf("DisplayText(%q) = %q", s, got)
		}
		if n := utf8.RuneCountInString(got); n > 3*limit+limit+2 {
			t.Errorf("%d characters of at most %d", n, limit)
		}
		if again := DisplayText(got, limit+1); again != got {
			t.Errorf("%q is shown as %q", got, again)
		}
	})
}
