package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/oauth2"
)

// The kinds of failure. Every error of this package is an *Error of one of them.
var (
	// ErrUnavailable is a fault that passes: the provider did not answer, or said 5xx or 429. Nothing is known about
	// the person, and a grant is kept.
	ErrUnavailable = errors.New("identity provider unavailable")
	// ErrMisconfigured is a fault of the operator's: the provider does not take our client id or secret, or its metadata
	// do not fit the settings. Such an error is ErrUnavailable too, because no grant may end for it.
	ErrMisconfigured = errors.New("identity provider refuses this server")
	// ErrRejected means that the provider refuses this person or this session, or answers for somebody else. A grant
	// ends for it.
	ErrRejected = errors.New("identity provider rejected the session")
	// ErrVerification means that an answer did not stand up to verification. Nobody is signed in.
	ErrVerification = errors.New("identity provider's answer failed verification")
	// ErrNoSubject means that the provider did not say who the person is. Nobody is signed in.
	ErrNoSubject = errors.New("identity provider named no subject")
)

// Error is a failure of this package. Its text is for the log: it may hold words of the provider's, shortened, but never
// a code, token or secret. Message is for people.
type Error struct {
	Kind error
	// Message says in plain words of our own what happened and what to do. It is text, not HTML.
	Message string
	cause   error
}

func (e *Error) Error() string {
	if e.cause == nil {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.cause.Error()
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	errs := []error{e.Kind}
	if e.Kind == ErrMisconfigured {
		errs = append(errs, ErrUnavailable)
	}
	if e.cause != nil {
		errs = append(errs, e.cause)
	}
	return errs
}

// Message is what a page may tell a person about err.
func Message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return messages[ErrUnavailable]
}

var messages = map[error]string{
	ErrUnavailable:   "The identity provider does not answer at the moment. Please try again in a minute.",
	ErrMisconfigured: "The identity provider does not accept this server, so nobody can sign in. The operator of this server has to correct its settings; the log says what is wrong.",
	ErrRejected:      "The identity provider did not confirm your sign-in. Please start again from your application. If this happens again, ask your administrator whether you may use this service.",
	ErrVerification:  "The answer of the identity provider could not be verified, so you were not signed in. Please start again from your application.",
	ErrNoSubject:     "The identity provider did not say who you are, so you were not signed in. The operator of this server has to correct the settings there.",
}

func failure(kind error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: messages[kind], cause: fmt.Errorf(format, args...)}
}

// AuthorizationError is the error that the provider sent to the callback (RFC 6749 section 4.1.2.1, OpenID Connect Core
// section 3.1.2.6). The description comes through the browser, so it goes to the log alone. The caller has verified
// the state before (C03).
func AuthorizationError(code, description string) *Error {
	e := failure(kindOf(code), "authorization endpoint: %s", describe(code, description))
	if code == "access_denied" {
		e.Message = "The identity provider refused you access, or you cancelled there. If you did not, ask your administrator whether you may use this service."
	}
	return e
}

// kindOf sorts the error codes of the authorization and the token endpoint.
func kindOf(code string) error {
	switch code {
	case "invalid_grant", "access_denied", "login_required", "interaction_required", "consent_required", "account_selection_required":
		// Entra answers a refresh with interaction_required when the person has to sign in again.
		return ErrRejected
	case "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "invalid_target",
		"unsupported_grant_type", "unsupported_response_type", "registration_not_supported", "request_not_supported":
		return ErrMisconfigured
	default: // server_error, temporarily_unavailable, and whatever we cannot read
		return ErrUnavailable
	}
}

// tokenError sorts an error of the token endpoint. hide are the secrets of the request, in case the provider echoes one.
func tokenError(err error, hide ...string) *Error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok { // no answer, or none that could be read
		return failure(ErrUnavailable, "token endpoint: %s", clean(err.Error(), hide...))
	}
	status := answer.Response.StatusCode
	if status >= 500 || status == http.StatusTooManyRequests {
		return failure(ErrUnavailable, "token endpoint answered %d", status)
	}
	if answer.ErrorCode == "" {
		// A firewall's page, say. Whatever it means, it is no word about this session.
		return failure(ErrUnavailable, "token endpoint answered %d without an OAuth error", status)
	}
	return failure(kindOf(answer.ErrorCode), "token endpoint: %s", clean(describe(answer.ErrorCode, answer.ErrorDescription), hide...))
}

func describe(code, description string) string {
	if description == "" {
		return clean(code)
	}
	return clean(code) + ": " + clean(description)
}

// clean makes a provider's words fit for the log: short, printable, and without the given secrets.
func clean(s string, hide ...string) string {
	for _, secret := range hide {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[hidden]")
		}
	}
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}
