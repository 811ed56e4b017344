package main

import (
	"log/slog"
	"net"
	"net/http"

	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/oauth"
)

// routes mounts every endpoint of oauth.Endpoints on one origin, by the function that answers it on AWS. A path is
// compared to the letter, never cleaned, so that it has one spelling here as there; discovery answers all others.
func routes(functions map[string]http.Handler) http.Handler {
	byPath := map[string]http.Handler{}
	for _, e := range oauth.Endpoints {
		byPath[e.Path] = functions[e.Function]
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, ok := byPath[r.URL.EscapedPath()]
		if !ok {
			handler = functions["discovery"]
		}
		handler.ServeHTTP(w, r)
	})
}

// onlyLoopback refuses requests that reached this machine under another name: a web page can have its own name resolve
// to 127.0.0.1 (DNS rebinding), and would then speak to us as its own origin. RFC 9110 section 15.5.20 names the status.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		} else if len(host) > 2 && host[0] == '[' {
			host = host[1 : len(host)-1]
		}
		if !config.Loopback(host) {
			oauth.WriteError(w, &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusMisdirectedRequest,
				Description: "this local server answers only at localhost, 127.0.0.1 and [::1]"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recovered answers a panic with 500, as the Lambda adapter does; the request log has its cause.
func recovered(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch fault := recover(); fault {
			case nil:
			case http.ErrAbortHandler:
				panic(fault)
			default:
				logger.Error("a handler panicked; please report it", "path", r.URL.Path)
				oauth.WriteError(w, &oauth.Error{Code: oauth.ServerError, Description: "something went wrong here", Status: http.StatusInternalServerError})
			}
		}()
		next.ServeHTTP(w, r)
	})
}
