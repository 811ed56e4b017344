// Package robot is a person with a browser, for tests: it follows redirects with cookies, approves what a consent page asks
// and signs in at the demo identity provider. It reads pages as HTML and presses their buttons, so it knows nothing of a
// page but the words on it. What only a real browser can show, such as content security policies, is tested in
// test/browser.
package robot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// Browser is one person's browser; its cookies last as long as it does.
type Browser struct {
	presses []string
	client  *http.Client
	visited []*url.URL
}

// New returns a browser whose person approves, and signs in as email.
func New(email string) *Browser { return Pressing("Approve", email) }

// Pressing returns a browser that presses the buttons with these labels or values, wherever it meets one.
func Pressing(buttons ...string) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // cookiejar.New documents that it never fails
	}
	return &Browser{presses: buttons, client: &http.Client{Jar: trustingJar{jar}, Timeout: 30 * time.Second}}
}

// Page is where a visit ended.
type Page struct {
	URL    *url.URL
	Status int // 0 when the visit ended before a redirect to a client
	Header http.Header
	Body   string
}

// Count tells how often a page with this path was requested, on any site.
func (b *Browser) Count(path string) int {
	count := 0
	for _, u := range b.visited {
		if u.Path == path {
			count++
		}
	}
	return count
}

// Authorize goes from a client's authorization URL to its redirect URI, and returns what the authorization response says
// there, without requesting it: the test is the client.
func (b *Browser) Authorize(ctx context.Context, authorizationURL string) (url.Values, error) {
	parsed, err := url.Parse(authorizationURL)
	if err != nil {
		return nil, fmt.Errorf("reading authorization URL: %w", err)
	}
	redirectURI := parsed.Query().Get("redirect_uri")
	page, err := b.visit(ctx, authorizationURL, redirectURI)
	if err != nil {
		return nil, err
	}
	if page.Status != 0 {
		return nil, fmt.Errorf("the way ended at %s with status %d: %s", page.URL.Redacted(), page.Status, text(page.Body))
	}
	return page.URL.Query(), nil
}

// Visit goes to address, presses every button it knows, and returns the page where there is none left.
func (b *Browser) Visit(ctx context.Context, address string) (Page, error) {
	return b.visit(ctx, address, "")
}

func (b *Browser) visit(ctx context.Context, address, redirectURI string) (Page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Page{}, fmt.Errorf("reading address: %w", err)
	}
	request.Header.Set("Sec-Fetch-Site", "none")
	for range 30 { // a sign-in has fewer steps; a loop has more
		page, err := b.load(request)
		if err != nil {
			return Page{}, err
		}
		var next *http.Request
		if location := page.Header.Get("Location"); location != "" {
			target, err := page.URL.Parse(location)
			if err != nil {
				return Page{}, fmt.Errorf("reading Location: %w", err)
			}
			if redirectURI != "" && strings.HasPrefix(target.String(), redirectURI) {
				return Page{URL: target}, nil
			}
			if next, err = http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil); err != nil {
				return Page{}, fmt.Errorf("following Location: %w", err)
			}
			next.Header.Set("Sec-Fetch-Site", "cross-site")
		} else if next, err = press(ctx, page, b.presses, nil); err != nil {
			return Page{}, err
		}
		if next == nil {
			return page, nil
		}
		request = next
	}
	return Page{}, errors.New("the browser was sent in circles")
}

func (b *Browser) load(request *http.Request) (Page, error) {
	request.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	request.Header.Set("User-Agent", "Mozilla/5.0 (robot of the tests)")
	b.visited = append(b.visited, request.URL)
	client := *b.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		return Page{}, fmt.Errorf("loading page: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return Page{}, fmt.Errorf("loading page: %w", err)
	}
	return Page{URL: request.URL, Status: response.StatusCode, Header: response.Header, Body: string(body)}, nil
}

// press submits the form of the first button that has one of these labels or values; nil when there is none. added are
// fields that the page does not have, or not with these values.
func press(ctx context.Context, page Page, buttons []string, added url.Values) (*http.Request, error) {
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		return nil, nil
	}
	document, err := html.Parse(strings.NewReader(page.Body))
	if err != nil {
		return nil, fmt.Errorf("reading page: %w", err)
	}
	for form := range document.Descendants() {
		if form.Type != html.ElementNode || form.Data != "form" {
			continue
		}
		fields := url.Values{}
		var pressed *html.Node
		for node := range form.Descendants() {
			switch {
			case submits(node):
				if pressed == nil && named(node, buttons) {
					pressed = node
				}
			case node.Type == html.ElementNode && node.Data == "input" && attribute(node, "name") != "":
				kind := attribute(node, "type")
				if _, checked := find(node, "checked"); (kind == "checkbox" || kind == "radio") && !checked {
					continue
				}
				fields.Add(attribute(node, "name"), attribute(node, "value"))
			}
		}
		if pressed == nil {
			continue
		}
		if name := attribute(pressed, "name"); name != "" {
			fields.Add(name, attribute(pressed, "value"))
		}
		maps.Copy(fields, added)
		return submit(ctx, page, form, fields)
	}
	return nil, nil
}

func submit(ctx context.Context, page Page, form *html.Node, fields url.Values) (*http.Request, error) {
	target, err := page.URL.Parse(attribute(form, "action"))
	if err != nil {
		return nil, fmt.Errorf("reading form action: %w", err)
	}
	if !strings.EqualFold(attribute(form, "method"), http.MethodPost) {
		target.RawQuery = fields.Encode()
		return http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, fmt.Errorf("submitting form: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", page.URL.Scheme+"://"+page.URL.Host)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	if target.Host != page.URL.Host {
		request.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	return request, nil
}

func submits(node *html.Node) bool {
	if node.Type != html.ElementNode {
		return false
	}
	kind := strings.ToLower(attribute(node, "type"))
	return node.Data == "button" && (kind == "" || kind == "submit") || node.Data == "input" && kind == "submit"
}

func named(button *html.Node, names []string) bool {
	var label strings.Builder
	for node := range button.Descendants() {
		if node.Type == html.TextNode {
			label.WriteString(node.Data)
		}
	}
	return slices.ContainsFunc(names, func(wanted string) bool {
		return strings.EqualFold(strings.TrimSpace(label.String()), wanted) || attribute(button, "value") == wanted
	})
}

func attribute(node *html.Node, name string) string {
	value, _ := find(node, name)
	return value
}

func find(node *html.Node, name string) (string, bool) {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// text is a page's words, for messages about a page that should not have come.
func text(page string) string {
	document, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return page
	}
	var words []string
	for node := range document.Descendants() {
		if node.Type == html.TextNode && node.Parent.Data != "style" {
			words = append(words, strings.Fields(node.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// trustingJar treats loopback as a secure place, as browsers do, so that Secure cookies work over http there.
type trustingJar struct{ http.CookieJar }

func (j trustingJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(secure(u), cookies)
}

func (j trustingJar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(secure(u)) }

func secure(u *url.URL) *url.URL {
	if host := u.Hostname(); host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return u
	}
	trusted := *u
	trusted.Scheme = "https"
	return &trusted
}
