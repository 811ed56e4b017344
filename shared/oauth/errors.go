package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error codes, each with the section that defines it.
const (
	InvalidRequest          = "invalid_request"           // RFC 6749 sections 4.1.2.1 and 5.2
	InvalidClient           = "invalid_client"            // RFC 6749 section 5.2
	InvalidGrant            = "invalid_grant"             // RFC 6749 section 5.2
	UnauthorizedClient      = "unauthorized_client"       // RFC 6749 sections 4.1.2.1 and 5.2
	UnsupportedGrantType    = "unsupported_grant_type"    // RFC 6749 section 5.2
	UnsupportedResponseType = "unsupported_response_type" // RFC 6749 section 4.1.2.1
	AccessDenied            = "access_denied"             // RFC 6749 section 4.1.2.1
	InvalidScope            = "invalid_scope"             // RFC 6749 sections 4.1.2.1 and 5.2
	ServerError             = "server_error"              // RFC 6749 section 4.1.2.1
	TemporarilyUnavailable  = "temporarily_unavailable"   // RFC 6749 section 4.1.2.1
	InvalidTarget           = "invalid_target"            // RFC 8707 section 2
	UnsupportedTokenType    = "unsupported_token_type"    // RFC 7009 section 2.2.1
	InvalidRedirectURI      = "invalid_redirect_uri"      // RFC 7591 section 3.2.2
	InvalidClientMetadata   = "invalid_client_metadata"   // RFC 7591 section 3.2.2
	InvalidToken            = "invalid_token"             // RFC 6750 section 3.1
	InsufficientScope       = "insufficient_scope"        // RFC 6750 section 3.1
	RequestNotSupported     = "request_not_supported"     // OpenID Connect Core section 3.1.2.6
	RequestURINotSupported  = "request_uri_not_supported" // OpenID Connect Core section 3.1.2.6
)

// Error is a failure that is told to the client: the code and description of RFC 6749 section 5.2 and the HTTP status.
// It holds no secret. An internal cause goes to the log, never into the description.
type Error struct {
	Code        string
	Description string
	// Status is the HTTP status of a direct answer; 0 means 400.
	Status int
	// RetryAfter is sent in whole seconds when positive (RFC 9110 section 10.2.3).
	RetryAfter time.Duration
	// Challenge is the value of WWW-Authenticate, for 401 and 403 answers.
	Challenge string
	// Cause is the internal reason, for the log alone.
	Cause error
}

// NewError returns a 400 with the given code and description.
func NewError(code, description string) *Error {
	return &Error{Code: code, Description: description, Status: http.StatusBadRequest}
}

// Unavailable is a passing fault. 503 and this code make client SDKs keep their tokens and try again, where server_error
// or a body that is not OAuth JSON makes them open a browser.
func Unavailable(cause error) *Error {
	return &Error{
		Code:        TemporarilyUnavailable,
		Description: "the service is busy or a part of it does not answer; try again shortly",
		Status:      http.StatusServiceUnavailable,
		RetryAfter:  2 * time.Second,
		Cause:       cause,
	}
}

func (e *Error) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Code + ": " + e.Description
}

// Unwrap gives the internal cause.
func (e *Error) Unwrap() error { return e.Cause }

// HTTPStatus is the status of a direct answer.
func (e *Error) HTTPStatus() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}

// AsError finds the *Error in err's chain; any other error is a passing fault, so that nothing internal is told and no
// client gives up its tokens for it.
func AsError(err error) *Error {
	if oerr, ok := errors.AsType[*Error](err); ok {
		return oerr
	}
	return Unavailable(err)
}

// WriteError answers with the error as JSON (RFC 6749 section 5.2).
func WriteError(w http.ResponseWriter, err error) {
	e := AsError(err)
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if e.Challenge != "" {
		w.Header().Set("WWW-Authenticate", e.Challenge)
	}
	WriteJSON(w, e.HTTPStatus(), struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, printable(e.Description)})
}

// WriteJSON answers with a JSON document that no cache may keep (RFC 6749 section 5.1).
func WriteJSON(w http.ResponseWriter, status int, document any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	// The documents are ours and always encode; a write fails only when the client has gone.
	_ = json.NewEncoder(w).Encode(document)
}

// printable keeps to the characters that error_description may hold (RFC 6749 section 5.2: %x20-21 / %x23-5B /
// %x5D-7E), replacing every other by a question mark.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r > 0x7e || r == '\\':
			return '?'
		}
		return r
	}, s)
}
