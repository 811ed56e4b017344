package safehttp

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// MaxURLBytes bounds a URL that is fetched.
const MaxURLBytes = 512

// ParseURL checks that a URL has the one form that is fetched: https on port 443, a DNS name with a dot, no user
// information, no fragment, no dot segments, and only characters that a URI allows. The error wraps ErrForbidden and
// says what is wrong; no network is asked.
func (c *Client) ParseURL(raw string) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) {
		return nil, fmt.Errorf("%w: the URL %s", ErrForbidden, why)
	}
	if raw == "" || len(raw) > MaxURLBytes {
		return refuse("is empty or longer than 512 bytes")
	}
	for i := range len(raw) {
		// Parsers disagree about these characters, and so about the host.
		if b := raw[i]; b <= 0x20 || b >= 0x7f || strings.IndexByte("\"<>\\^`{|}", b) >= 0 {
			return refuse("holds a character that a URI does not allow")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "":
		return refuse("is malformed")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return refuse("holds user information")
	case strings.Contains(raw, "#"):
		return refuse("has a fragment")
	}
	for segment := range strings.SplitSeq(u.Path, "/") { // Path is decoded, so that %2e counts as a dot
		if segment == "." || segment == ".." {
			return refuse("has dot segments")
		}
	}
	host := u.Hostname()
	if c.AllowLoopback && isLoopbackName(host) {
		if u.Scheme != "http" && u.Scheme != "https" {
			return refuse("is not an http or https URL")
		}
		return u, nil
	}
	if u.Scheme != "https" || !strings.HasPrefix(raw, "https://") {
		return refuse("does not use https")
	}
	if u.Port() != "" && u.Port() != "443" || strings.HasSuffix(u.Host, ":") {
		return refuse("names a port other than 443")
	}
	if !isDNSName(host) {
		return refuse("does not name its host by a public DNS name")
	}
	return u, nil
}

// isDNSName takes lower-case names of at least two labels. An address, in any notation that some resolver reads as one
// (decimal, octal, hexadecimal, abbreviated), has a last label that begins with a digit, which no top-level domain does.
func isDNSName(host string) bool {
	labels := strings.Split(host, ".")
	if len(host) > 253 || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if b := label[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '_' {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	return last[0] < '0' || last[0] > '9'
}

func isLoopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback() && addr.Zone() == ""
}
