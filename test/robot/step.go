package robot

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// What follows is for tests that look at every step: each call requests one page and follows nothing.

// Open requests one page, as if its address had been typed.
func (b *Browser) Open(ctx context.Context, address string) (Page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Page{}, fmt.Errorf("reading address: %w", err)
	}
	request.Header.Set("Sec-Fetch-Site", "none")
	return b.Send(request)
}

// Press submits the form of the button with this label or value. added are fields that the page does not have, or not with
// these values: a browser sends whatever its owner wants.
func (b *Browser) Press(ctx context.Context, page Page, button string, added url.Values) (Page, error) {
	request, err := press(ctx, page, []string{button}, added)
	if err != nil {
		return Page{}, err
	}
	if request == nil {
		return Page{}, fmt.Errorf("there is no button %q on the page %s: %s", button, page.URL.Redacted(), text(page.Body))
	}
	return b.Send(request)
}

// Send sends any request with this browser's cookies.
func (b *Browser) Send(request *http.Request) (Page, error) { return b.load(request) }

// Cookies are what this browser would send to address.
func (b *Browser) Cookies(address string) []*http.Cookie {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return b.client.Jar.Cookies(u)
}

// Location is where the page redirects to, nil when it does not.
func (p Page) Location() *url.URL {
	location := p.Header.Get("Location")
	if location == "" {
		return nil
	}
	target, err := p.URL.Parse(location)
	if err != nil {
		return nil
	}
	return target
}
