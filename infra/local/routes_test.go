package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mcp-access-oauth/shared/oauth"
)

// TestOnlyLoopback: a name that resolves to this machine is not this machine's (DNS rebinding).
func TestOnlyLoopback(t *testing.T) {
	handler := onlyLoopback(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for host, status := range map[string]int{
		"localhost": 204, "localhost:8788": 204, "127.0.0.1:8788": 204, "127.0.0.1": 204, "[::1]:8788": 204, "[::1]": 204,
		"evil.example": 421, "evil.example:8788": 421, "localhost.evil.example:8788": 421, "127.0.0.1.evil.example": 421,
		"0.0.0.0:8788": 421, "[::]:8788": 421, "192.168.1.10:8788": 421, "": 421, "[": 421, "[]": 421, "localhost:8788:1": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("Host %q: %d, want %d", host, w.Code, status)
		}
	}
}

// TestRoutes: every path has one spelling, and discovery has all others.
func TestRoutes(t *testing.T) {
	functions := map[string]http.Handler{}
	for _, e := range oauth.Endpoints {
		functions[e.Function] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Function", e.Function) })
	}
	handler := routes(functions)
	answered := func(path string) string {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Header().Get("Function")
	}
	for _, e := range oauth.Endpoints {
		if got := answered(e.Path); got != e.Function {
			t.Errorf("%s is answered by %s, want %s", e.Path, got, e.Function)
		}
	}
	for _, path := range []string{"/", "/token/", "//token", "/%74oken", "/./token", "/a/../token", "/TOKEN", "/mcp/"} {
		if got := answered(path); got != "discovery" {
			t.Errorf("%s is answered by %s", path, got)
		}
	}
}

func TestRecovered(t *testing.T) {
	var log bytes.Buffer
	w := httptest.NewRecorder()
	recovered(slog.New(slog.NewTextHandler(&log, nil)), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("a secret of the inside")
	})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/token?code=x", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"error":"server_error"`) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "path=/token") || strings.Contains(log.String(), "code=x") {
		t.Errorf("log: %s", &log)
	}
}
