package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRequests(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	clock := time.Unix(1_800_000_000, 0)
	now := func() time.Time { clock = clock.Add(1500 * time.Microsecond); return clock }
	id := func(*http.Request) string { return "req-1" }
	serve := func(h http.HandlerFunc) (line map[string]any, panicked any) {
		out.Reset()
		func() {
			defer func() { panicked = recover() }()
			Requests(logger, now, id, h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/callback?code=SECRET&state=SECRET", nil))
		}()
		if strings.Contains(out.String(), "SECRET") { // H05
			t.Fatalf("the query is in the log: %s", out.String())
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("want one JSON line, got %q: %v", out.String(), err)
		}
		return line, panicked
	}

	line, _ := serve(func(w http.ResponseWriter, r *http.Request) {
		Add(r.Context(), slog.String("client_id", "c1\r\nforged: line")) // H04
		Fault(r.Context(), errors.New("reading client: down"))
		w.WriteHeader(http.StatusServiceUnavailable)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flushing: %v", err)
		}
		if _, ok := w.(http.Flusher); !ok {
			t.Error("the writer is no http.Flusher")
		}
	})
	if line["status"] != 503.0 || line["level"] != "ERROR" || line["path"] != "/callback" || line["request_id"] != "req-1" ||
		line["client_id"] != "c1\r\nforged: line" || line["fault"] != "reading client: down" || line["ms"] != 1.5 {
		t.Errorf("line %v", line)
	}

	// H05: a token that somebody has put into the path stays out of the log, and so does a path without end.
	out.Reset()
	token := "at_" + strings.Repeat("g", 22) + "_" + strings.Repeat("s", 43)
	Requests(logger, now, id, http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/"+token+strings.Repeat("/é", 5000), nil))
	if strings.Contains(out.String(), strings.Repeat("s", 22)) || out.Len() > 400 {
		t.Errorf("the line is %s", out.String())
	}
	if longest := "/.well-known/oauth-authorization-server/mcp"; cut(longest, ownBytes) != longest {
		t.Errorf("the path %s is cut to %s", longest, cut(longest, ownBytes))
	}

	if line, _ = serve(func(w http.ResponseWriter, r *http.Request) {}); line["status"] != 200.0 || line["level"] != "INFO" {
		t.Errorf("an empty answer logs %v", line)
	}

	line, _ = serve(func(w http.ResponseWriter, r *http.Request) {
		Refusal(r.Context(), "invalid_request", "the parameter "+strings.Repeat("é", 5000)+" is repeated")
		w.WriteHeader(http.StatusBadRequest)
	})
	if reason, _ := line["reason"].(string); line["error"] != "invalid_request" || line["level"] != "INFO" ||
		!strings.HasPrefix(reason, "the parameter é") || len(reason) > 320 || !utf8.ValidString(reason) {
		t.Errorf("a refusal logs %v", line)
	}

	line, panicked := serve(func(w http.ResponseWriter, r *http.Request) { panic("boom") })
	if panicked != "boom" || line["status"] != 500.0 || line["panic"] != "boom" {
		t.Errorf("a panic logs %v and goes on as %v", line, panicked)
	}
}

func TestRecord(t *testing.T) {
	var out bytes.Buffer
	log := New(slog.New(slog.NewJSONHandler(&out, nil)))
	log.Record(t.Context(), Event{Action: ToolDenied, Decision: "deny", Subject: "u1", Tool: "generateImage"})
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["msg"] != "audit" || line["action"] != "tool_denied" || line["sub"] != "u1" || line["tool"] != "generateImage" {
		t.Errorf("line %v", line)
	}
	if _, ok := line["email"]; ok {
		t.Error("an empty member is in the line")
	}
	(*Log)(nil).Record(t.Context(), Event{}) // writes nothing
}
