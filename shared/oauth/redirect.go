package oauth

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// MaxRedirectURIBytes bounds a redirect URI: it travels in a sealed cookie of at most 2 KB.
const MaxRedirectURIBytes = 512

// RedirectKind says where a redirect URI leads.
type RedirectKind int

// The kinds of redirect URI that may be registered.
const (
	RedirectHTTPS    RedirectKind = iota + 1 // an https URL
	RedirectLoopback                         // RFC 8252 section 7.3: http on 127.0.0.1, [::1] or localhost
	RedirectPrivate                          // RFC 8252 section 7.1: a private-use scheme
)

// ClassifyRedirectURI checks a redirect URI for registration and says what kind it is. nativeSchemes are the
// private-use schemes without a dot that are allowed (NATIVE_SCHEMES); schemes in reverse-domain form always are
// (RFC 8252 section 7.1). The error is invalid_redirect_uri and says why.
func ClassifyRedirectURI(uri string, nativeSchemes []string) (RedirectKind, error) {
	refuse := func(why string) (RedirectKind, error) {
		return 0, NewError(InvalidRedirectURI, "redirect_uri "+why)
	}
	switch {
	case uri == "":
		return refuse("is empty")
	case len(uri) > MaxRedirectURIBytes:
		return refuse("is longer than 512 bytes")
	}
	for i := range len(uri) {
		// RFC 3986 has no such characters; browsers strip or rewrite some of them, so that what we compare and what
		// they follow would differ.
		if c := uri[i]; c <= 0x20 || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return refuse("holds a character that a URI does not allow")
		}
	}
	if strings.Contains(uri, "#") {
		return refuse("has a fragment") // RFC 6749 section 3.1.2
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return refuse("is not an absolute URI")
	}
	// It is compared to the letter, and for loopback without its port: in another case it would be another URI to one
	// comparison and the same to the next.
	if !strings.HasPrefix(uri, u.Scheme) {
		return refuse("does not write its scheme in lower case")
	}
	if u.User != nil {
		return refuse("holds user information")
	}
	switch u.Scheme {
	case "https":
		if !hasPlainHost(u) {
			return refuse("has no valid host")
		}
		if hasDotSegments(u) {
			return refuse("has dot segments in its path")
		}
		return RedirectHTTPS, nil
	case "http":
		if !isLoopbackHost(u.Hostname()) || !hasPlainHost(u) {
			return refuse("uses http for a host that is not 127.0.0.1, [::1] or localhost")
		}
		if hasDotSegments(u) {
			return refuse("has dot segments in its path")
		}
		return RedirectLoopback, nil
	}
	if slices.Contains(scriptSchemes, u.Scheme) {
		return refuse("uses a scheme that is never allowed")
	}
	if isReverseDomain(u.Scheme) || slices.Contains(nativeSchemes, u.Scheme) {
		return RedirectPrivate, nil
	}
	return refuse("uses a scheme that this server does not allow")
}

// scriptSchemes act inside the browser, or on its machine, instead of reaching a client. No NATIVE_SCHEMES setting can
// allow them.
var scriptSchemes = []string{
	"javascript", "data", "vbscript", "file", "blob", "filesystem", "about", "view-source", "ws", "wss", "ftp", "mailto",
	"tel", "sms", "intent", "chrome", "chrome-extension", "moz-extension", "resource", "jar",
}

// ValidNativeScheme reports whether a scheme may be listed in NATIVE_SCHEMES.
func ValidNativeScheme(scheme string) bool {
	if scheme == "" || scheme == "http" || scheme == "https" || slices.Contains(scriptSchemes, scheme) {
		return false
	}
	for i := range len(scheme) {
		c := scheme[i]
		lower, digit := 'a' <= c && c <= 'z', '0' <= c && c <= '9'
		if !lower && (i == 0 || !digit && c != '+' && c != '-' && c != '.') { // RFC 3986 section 3.1
			return false
		}
	}
	return true
}

// MatchRedirectURI reports whether presented is one of the registered URIs: the same string (RFC 9700 section 2.1), or
// for loopback redirects the same but for the port (RFC 8252 section 7.3; also for the name localhost, which most
// native clients use).
func MatchRedirectURI(registered []string, presented string) bool {
	if slices.Contains(registered, presented) {
		return true
	}
	portless, ok := WithoutLoopbackPort(presented)
	if !ok {
		return false
	}
	return slices.ContainsFunc(registered, func(r string) bool {
		p, ok := WithoutLoopbackPort(r)
		return ok && p == portless
	})
}

// WithoutLoopbackPort removes the port of a loopback redirect URI, and reports whether uri is one. Everything else is
// left to the letter, so that two URIs match without their port only if they are otherwise the same string.
func WithoutLoopbackPort(uri string) (string, bool) {
	rest, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:i], authority[i+1:]
		if !validPort(port) {
			return "", false
		}
	}
	if host != "127.0.0.1" && host != "[::1]" && host != "localhost" {
		return "", false
	}
	return "http://" + host + tail, true
}

// RedirectHost is what a person is shown as the place that receives the answer: the host of a web address, or the
// whole URI of a private-use scheme.
func RedirectHost(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return uri
	}
	return u.Host
}

func hasPlainHost(u *url.URL) bool {
	host := u.Hostname()
	if host == "" || u.Opaque != "" || strings.HasSuffix(host, ".") || strings.Contains(host, "%") {
		return false
	}
	// url.Parse decodes %D0%B0 in a host. Shown to a person it would be a letter that looks like another, where the browser
	// goes to a name in Punycode.
	if strings.ContainsFunc(host, func(r rune) bool { return r > 0x7e }) {
		return false
	}
	if strings.HasPrefix(u.Host, "[") && net.ParseIP(host) == nil {
		return false
	}
	if i := strings.LastIndexByte(u.Host, ':'); i >= 0 && !strings.HasSuffix(u.Host, "]") {
		return validPort(u.Host[i+1:])
	}
	return true
}

// validPort takes 1 to 65535 in its plain decimal spelling.
func validPort(port string) bool {
	if port == "" || len(port) > 5 || port[0] == '0' {
		return false
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
		n = n*10 + int(port[i]-'0')
	}
	return n <= 65535
}

func hasDotSegments(u *url.URL) bool {
	for segment := range strings.SplitSeq(u.Path, "/") { // Path is decoded, so that %2e counts as a dot
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func isLoopbackHost(host string) bool {
	return host == "127.0.0.1" || host == "::1" || host == "localhost"
}

// isReverseDomain reports whether a scheme is a reversed domain name such as com.example.app (RFC 8252 section 7.1).
func isReverseDomain(scheme string) bool {
	if !strings.Contains(scheme, ".") {
		return false
	}
	for label := range strings.SplitSeq(scheme, ".") {
		if label == "" || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || strings.Contains(label, "+") {
			return false
		}
	}
	return true
}
