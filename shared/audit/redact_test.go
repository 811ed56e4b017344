package audit

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestH05_SecretsWhereNamesBelong(t *testing.T) {
	id, secret := strings.Repeat("g", 22), strings.Repeat("S", 43)
	code, access, refresh, client := "ac_"+id+"_"+secret, "at_"+id+"_"+secret, "rt_"+id+"_000001"+secret+secret, "cs_"+secret
	for s, want := range map[string]string{
		code: "[a secret]", access: "[a secret]", refresh: "[a secret]", client: "[a secret]",
		"the parameter " + code + " is repeated": "the parameter [a secret] is repeated",
		"/mcp/" + access + "/" + client:          "/mcp/[a secret]/[a secret]",
		"x" + access:                             "x[a secret]",
		access[:len(access)-3]:                   "[a secret]",
		"":                                       "",
		"dyn_" + secret:                          "dyn_" + secret,
		"ac_" + id:                               "ac_" + id, // no more than which grant
		"https://client.example/at_home/cs_1":    "https://client.example/at_home/cs_1",
		"format_" + secret:                       "form[a secret]", // better too much
	} {
		if got := redact(s); got != want {
			t.Errorf("redact(%q) = %q, want %q", s, got, want)
		}
	}

	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	handler := Requests(logger, time.Now, func(*http.Request) string { return access }, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		Add(r.Context(), slog.String("client_id", code))
		Fault(r.Context(), errors.New("asking with "+refresh))
		Refusal(r.Context(), "invalid_request", "the parameter "+client+" is repeated")
		Refusal(r.Context(), "invalid_request", strings.Repeat("-", 265)+client) // the cut goes through it
		New(logger).Record(r.Context(), Event{Action: ToolDenied, ClientID: code, Tool: access, Reason: refresh})
		panic("over " + access)
	}))
	func() {
		defer func() { _ = recover() }()
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}()
	if strings.Contains(out.String(), secret[:20]) || strings.Count(out.String(), "[a secret]") < 8 {
		t.Errorf("the log:\n%s", out.String())
	}
}
