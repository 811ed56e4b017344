package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"
)

// Limits of AWS that requests and answers meet here too.
const (
	apiHeaderLimit = 10_240           // bytes of request line and header values at an HTTP API
	apiTimeLimit   = 30 * time.Second // an HTTP API's longest integration
	payloadLimit   = 6 << 20          // bytes of a Lambda event or buffered answer
	preludeLimit   = 64 << 10         // bytes before the eight NULs of a streamed answer
	remappedHeader = "X-Amzn-Remapped-Www-Authenticate"
	// integrationType marks an answer of which a prelude and eight NULs come first.
	integrationType = "application/vnd.awslambda.http-integration-response"
)

// httpAPI answers as an API Gateway HTTP API does: routes by path, buffers, and waits no longer than timeLimit.
func httpAPI(routes map[string]*pool, timeLimit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if headerBytes(r) > apiHeaderLimit {
			gatewayError(w, http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large")
			return
		}
		route := "ANY " + r.URL.EscapedPath()
		function, ok := routes[route]
		if !ok {
			route = "$default"
			function = routes[route]
		}
		// An HTTP API hands the path over decoded, a function URL as it came (docs/decisions/0004-own-lambda-adapter.md).
		payload, err := event(r, route, r.URL.Path)
		if err != nil {
			gatewayError(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeLimit)
		defer cancel()
		a, err := function.invoke(ctx, payload)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			gatewayError(w, http.StatusServiceUnavailable, "Service Unavailable")
			return
		case err != nil:
			gatewayError(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		defer a.body.Close()
		raw, err := io.ReadAll(io.LimitReader(a.body, payloadLimit+1))
		if err != nil || len(raw) > payloadLimit {
			gatewayError(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		writeBuffered(w, raw)
	})
}

// functionURL answers as a Lambda function URL with InvokeMode RESPONSE_STREAM does.
func functionURL(function *pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		payload, err := event(r, "$default", r.URL.EscapedPath())
		if err != nil {
			gatewayError(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
			return
		}
		a, err := function.invoke(r.Context(), payload)
		if err != nil {
			gatewayError(w, http.StatusBadGateway, "Internal Server Error")
			return
		}
		defer a.body.Close()
		if !a.streaming {
			raw, _ := io.ReadAll(io.LimitReader(a.body, payloadLimit))
			writeBuffered(w, raw)
			return
		}
		stream := bufio.NewReader(a.body)
		prelude, err := readPrelude(stream)
		if err != nil {
			gatewayError(w, http.StatusBadGateway, "Internal Server Error")
			return
		}
		writeHead(w, prelude.StatusCode, prelude.Headers, prelude.Cookies)
		controller := http.NewResponseController(w)
		_ = controller.Flush()
		buffer := make([]byte, 32<<10)
		for {
			n, err := stream.Read(buffer)
			if n > 0 {
				_, _ = w.Write(buffer[:n]) // a client that has gone does not stop the function
				_ = controller.Flush()
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(http.ErrAbortHandler) // the function was cut off; so is the answer
			}
		}
		if a.trailer.Get("Lambda-Runtime-Function-Error-Type") != "" {
			panic(http.ErrAbortHandler)
		}
	})
}

type prelude struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Cookies    []string          `json:"cookies"`
}

// readPrelude reads the JSON that stands before the eight NULs.
func readPrelude(stream *bufio.Reader) (prelude, error) {
	var raw []byte
	separator := make([]byte, 8)
	for !bytes.HasSuffix(raw, separator) {
		b, err := stream.ReadByte()
		if err != nil {
			return prelude{}, err
		}
		if raw = append(raw, b); len(raw) > preludeLimit {
			return prelude{}, errors.New("the prelude does not end")
		}
	}
	var p prelude
	return p, json.Unmarshal(raw[:len(raw)-len(separator)], &p)
}

// writeBuffered writes an answer in payload format 2.0: an object with a statusCode, or anything else as a 200.
func writeBuffered(w http.ResponseWriter, raw []byte) {
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(raw, &response); err != nil || response.StatusCode == 0 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(raw)
		return
	}
	body := []byte(response.Body)
	if response.IsBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(response.Body)
		if err != nil {
			gatewayError(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		body = decoded
	}
	writeHead(w, response.StatusCode, response.Headers, response.Cookies)
	_, _ = w.Write(body)
}

// writeHead renames what AWS renames: WWW-Authenticate never reaches a client under its own name.
func writeHead(w http.ResponseWriter, status int, headers map[string]string, cookies []string) {
	h := w.Header()
	for name, value := range headers {
		switch name = http.CanonicalHeaderKey(name); name {
		case "Www-Authenticate":
			h.Set(remappedHeader, value)
		case "Set-Cookie", "Content-Length", "Transfer-Encoding", "Connection":
			// cookies have a member of their own; the rest is the server's
		default:
			h.Set(name, value)
		}
	}
	for _, cookie := range cookies {
		h.Add("Set-Cookie", cookie)
	}
	w.WriteHeader(status)
}

func gatewayError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

// event is the request in payload format 2.0, which HTTP APIs and function URLs share.
func event(r *http.Request, route, rawPath string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, payloadLimit+1))
	if err != nil {
		return nil, err
	}
	address, _, _ := net.SplitHostPort(r.RemoteAddr)
	host := r.Host
	headers := map[string]string{
		"host": host, "x-forwarded-for": address, "x-forwarded-proto": "http", "x-forwarded-port": port(host),
		"x-amzn-trace-id": "Root=1-00000000-" + strings.ReplaceAll(uuid.NewString(), "-", "")[:24],
	}
	var cookies []string
	for name, values := range r.Header {
		if name == "Cookie" {
			for _, line := range values {
				for cookie := range strings.SplitSeq(line, ";") {
					cookies = append(cookies, strings.TrimSpace(cookie))
				}
			}
			continue
		}
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	query := map[string]string{}
	for name, values := range r.URL.Query() {
		query[name] = strings.Join(values, ",")
	}
	e := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: route, RawPath: rawPath, RawQueryString: r.URL.RawQuery,
		Cookies: cookies, Headers: headers, QueryStringParameters: query,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: route, AccountID: "anonymous", Stage: "$default", RequestID: uuid.NewString(), APIID: "local",
			DomainName: host, DomainPrefix: "local", Time: time.Now().UTC().Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: time.Now().UnixMilli(),
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: r.Method, Path: rawPath, Protocol: r.Proto, SourceIP: address, UserAgent: r.UserAgent(),
			},
		},
	}
	if len(body) > 0 {
		e.Body, e.IsBase64Encoded = string(body), !isText(r.Header.Get("Content-Type"))
		if e.IsBase64Encoded {
			e.Body = base64.StdEncoding.EncodeToString(body)
		}
	}
	payload, err := json.Marshal(e)
	if err == nil && len(payload) > payloadLimit {
		err = errors.New("the event is too large")
	}
	return payload, err
}

// isText reports the types whose bodies AWS passes as they are; forms are not among them.
func isText(contentType string) bool {
	contentType, _, _ = strings.Cut(contentType, ";")
	return strings.HasPrefix(contentType, "text/") || slices.Contains([]string{"application/json", "application/javascript", "application/xml"}, contentType)
}

// headerBytes counts as API Gateway does: the request line, and the values of the headers without their names.
func headerBytes(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto) + len("  ") + len(r.Host)
	for _, values := range r.Header {
		for _, value := range values {
			n += len(value)
		}
	}
	return n
}

func port(host string) string {
	_, p, err := net.SplitHostPort(host)
	if err != nil {
		return "80"
	}
	return p
}
