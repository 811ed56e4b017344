package oauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// MaxFormBytes bounds the body of a form post.
const MaxFormBytes = 64 << 10

// Params are the parameters of a request, each present once. resource may be repeated (RFC 8707 section 2) and is kept
// as sent.
type Params struct{ values url.Values }

// Get is the parameter's value; empty and absent are the same (RFC 6749 section 3.1).
func (p Params) Get(name string) string { return p.values.Get(name) }

// Resources are the values of resource.
func (p Params) Resources() []string { return p.values["resource"] }

// ParseQuery reads the query of an authorization request.
func ParseQuery(rawQuery string) (Params, error) { return parseParams(rawQuery) }

// ParseForm reads an application/x-www-form-urlencoded body (RFC 6749 section 3.2). Parameters in the query are never
// read, so that no secret is taken from a URL (RFC 6749 section 2.3.1). Every error is a 400 invalid_request, or 413
// for a body over MaxFormBytes.
func ParseForm(w http.ResponseWriter, r *http.Request) (Params, error) {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 {
		return Params{}, NewError(InvalidRequest, "Content-Type must be application/x-www-form-urlencoded")
	}
	mediaType, _, err := mime.ParseMediaType(types[0])
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return Params{}, NewError(InvalidRequest, "Content-Type must be application/x-www-form-urlencoded")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return Params{}, NewError(InvalidRequest, "Content-Encoding is not supported")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxFormBytes))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return Params{}, &Error{Code: InvalidRequest, Description: "the body is larger than 64 KB", Status: http.StatusRequestEntityTooLarge}
		}
		return Params{}, NewError(InvalidRequest, "the body could not be read")
	}
	return parseParams(string(body))
}

func parseParams(encoded string) (Params, error) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return Params{}, NewError(InvalidRequest, "the parameters are not well-formed application/x-www-form-urlencoded")
	}
	for name, vs := range values {
		// RFC 6749 section 3.1: parameters must not be included more than once.
		if len(vs) > 1 && name != "resource" {
			return Params{}, NewError(InvalidRequest, called(name)+" is repeated")
		}
		for _, v := range vs {
			if strings.ContainsRune(v, 0) {
				return Params{}, NewError(InvalidRequest, called(name)+" holds a NUL character")
			}
		}
	}
	return Params{values}, nil
}

// called names a parameter to whoever sent it, and to the log. A long name is none that means anything here, and might be
// a token in the wrong place.
func called(name string) string {
	if len(name) > 32 {
		return "a parameter"
	}
	return "the parameter " + name
}
