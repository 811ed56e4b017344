package awshttp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// event is what the two kinds of event, payload format 2.0, have in common and we use.
type event struct {
	Version         string            `json:"version"`
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Cookies         []string          `json:"cookies"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
	RequestContext  struct {
		DomainName string `json:"domainName"`
		Stage      string `json:"stage"`
		TimeEpoch  int64  `json:"timeEpoch"` // milliseconds since 1970
		HTTP       struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"`
	} `json:"requestContext"`
}

var errNotHTTP = errors.New("awshttp: the event is no HTTP request in payload format 2.0; this function stands behind an HTTP API or a function URL")

func parseEvent(payload []byte) (*event, error) {
	var ev event
	if err := json.Unmarshal(payload, &ev); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotHTTP, err)
	}
	if ev.Version != "2.0" || ev.RequestContext.HTTP.Method == "" {
		return nil, errNotHTTP
	}
	return &ev, nil
}

// refusal is a request that is answered before any handler sees it.
type refusal struct {
	status int
	reason string
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// pathForm is how rawPath is written: an HTTP API hands it over percent-decoded, whatever its name says, and a function
// URL as the client sent it. Decoding the former again would make /%2574oken reach /token.
type pathForm int

const (
	encodedPath pathForm = iota
	decodedPath
)

// newRequest makes of an event the request that net/http's server would have made of the client's bytes: nothing is
// normalised, so that routing sees the path as it came. Host is what AWS says that the client connected to, never a
// header of the client's.
func newRequest(ctx context.Context, ev *event, form pathForm) (*http.Request, *refusal) {
	method := ev.RequestContext.HTTP.Method
	if !validToken(method) {
		return nil, refuse(http.StatusBadRequest, "the method is malformed")
	}
	u, refused := requestURL(ev, form)
	if refused != nil {
		return nil, refused
	}
	header, refused := requestHeader(ev, len(method)+len(ev.RawPath)+len(ev.RawQueryString))
	if refused != nil {
		return nil, refused
	}
	body, refused := requestBody(ev)
	if refused != nil {
		return nil, refused
	}
	r := &http.Request{
		Method: method, URL: u, RequestURI: u.RequestURI(), Host: ev.RequestContext.DomainName,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: http.NoBody, ContentLength: int64(len(body)),
		// AWS tells no port; net/http promises one.
		RemoteAddr: net.JoinHostPort(ev.RequestContext.HTTP.SourceIP, "0"),
	}
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if ms := ev.RequestContext.TimeEpoch; ms > 0 {
		ctx = context.WithValue(ctx, arrivedKey{}, time.UnixMilli(ms))
	}
	return r.WithContext(ctx), nil
}

func requestURL(ev *event, form pathForm) (*url.URL, *refusal) {
	path := ev.RawPath
	// A stage other than $default stands in front of every path.
	if stage := ev.RequestContext.Stage; stage != "" && stage != "$default" {
		if rest, ok := strings.CutPrefix(path, "/"+stage); ok && (rest == "" || rest[0] == '/') {
			path = rest
		}
	}
	if path == "" {
		path = "/"
	}
	if path[0] != '/' {
		return nil, refuse(http.StatusBadRequest, "the path does not begin with a slash")
	}
	u := &url.URL{Path: path, RawQuery: ev.RawQueryString}
	if form == encodedPath {
		decoded, err := url.PathUnescape(path)
		if err != nil || strings.ContainsFunc(path, isControl) {
			return nil, refuse(http.StatusBadRequest, "the path is malformed")
		}
		// EscapedPath gives RawPath back when it is a valid spelling of Path.
		u.Path, u.RawPath = decoded, path
	}
	if strings.ContainsFunc(u.RawQuery, isControl) {
		return nil, refuse(http.StatusBadRequest, "the query is malformed")
	}
	return u, nil
}

// requestHeader takes over the headers, and counts them on top of the request line's size.
func requestHeader(ev *event, size int) (http.Header, *refusal) {
	header := make(http.Header, len(ev.Headers)+1)
	for name, value := range ev.Headers {
		if !validToken(name) || strings.ContainsFunc(value, func(c rune) bool { return c != '\t' && isControl(c) }) {
			return nil, refuse(http.StatusBadRequest, "a header is malformed")
		}
		name = http.CanonicalHeaderKey(name)
		if name == "Host" || name == "Cookie" && len(ev.Cookies) > 0 { // a function URL repeats the cookies here
			continue
		}
		if !addedByAWS(name) {
			size += len(value)
		}
		header[name] = append(header[name], value)
	}
	if len(ev.Cookies) > 0 {
		cookie := strings.Join(ev.Cookies, "; ") // RFC 6265 section 5.4
		if strings.ContainsFunc(cookie, isControl) {
			return nil, refuse(http.StatusBadRequest, "a cookie is malformed")
		}
		header["Cookie"] = []string{cookie}
		size += len(cookie)
	}
	if size > MaxHeaderBytes {
		return nil, refuse(http.StatusRequestHeaderFieldsTooLarge, "the request line and headers exceed %d bytes", MaxHeaderBytes)
	}
	return header, nil
}

// addedByAWS tells the headers that AWS puts on top of what the client sent and its limit counts.
func addedByAWS(name string) bool {
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Amz-") || strings.HasPrefix(name, "X-Amzn-")
}

func requestBody(ev *event) ([]byte, *refusal) {
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "the request body exceeds %d bytes", MaxBodyBytes)
	if !ev.IsBase64Encoded {
		if len(ev.Body) > MaxBodyBytes {
			return nil, tooLarge
		}
		return []byte(ev.Body), nil
	}
	if len(ev.Body) > base64.StdEncoding.EncodedLen(MaxBodyBytes) {
		return nil, tooLarge
	}
	body, err := base64.StdEncoding.DecodeString(ev.Body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is no base64")
	}
	if len(body) > MaxBodyBytes {
		return nil, tooLarge
	}
	return body, nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// validToken is RFC 9110 section 5.6.2: the alphabet of methods and field names.
func validToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
