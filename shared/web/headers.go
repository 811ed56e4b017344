package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
)

//go:embed pages/style.css
var styleSheet string

// contentSecurityPolicy lets a page do nothing but show our own style. It names no form-action on purpose: Chromium
// applies that directive along the whole chain of redirects that a form's answer begins, which leads to the identity
// provider and back to the client (docs/decisions/0012-csp-without-form-action.md). default-src does not cover
// form-action, and with base-uri and no script the form cannot be pointed elsewhere.
var contentSecurityPolicy = "default-src 'none'; style-src '" + hashSource(styleSheet) + "'; base-uri 'none'; frame-ancestors 'none'"

func hashSource(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// SetRedirectHeaders makes an answer of the sign-in that is no page, a redirect above all, leave no trace: no cache
// keeps its address and no later page learns it (RFC 9700 section 4.2.4).
func SetRedirectHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// setPageHeaders is SetRedirectHeaders for a page.
func setPageHeaders(h http.Header, hasForm bool) {
	SetRedirectHeaders(h)
	if hasForm {
		// With no-referrer Chromium would send Origin: null along with the form.
		h.Set("Referrer-Policy", "same-origin")
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// No Cross-Origin-Opener-Policy: web clients open this page in a window of theirs and wait for it to come back to
	// their own origin, and that policy would cut the two apart for good.
}
