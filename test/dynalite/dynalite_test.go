package dynalite

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func start(t *testing.T, options Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), options)
	if errors.Is(err, ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skipf("NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(t *testing.T, s *Server, operation, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	request.Header.Set("X-Amz-Date", "20261124T000000Z")
	request.Header.Set("Authorization",
		"AWS4-HMAC-SHA256 Credential=a/20261124/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s, %v", operation, response.Status, answer, err)
	}
	return string(answer)
}

func TestKeepsItsData(t *testing.T) {
	data := t.TempDir()
	s := start(t, Options{Data: data})
	ask(t, s, "CreateTable", `{"TableName":"kept","BillingMode":"PAY_PER_REQUEST",
		"AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}],
		"KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}]}`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoint, "http://")); err == nil {
		_ = connection.Close()
		t.Error("after Close it still listens")
	}
	s = start(t, Options{Data: data})
	if tables := ask(t, s, "ListTables", `{}`); !strings.Contains(tables, `"kept"`) {
		t.Errorf("after a restart: %s", tables)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s, err := Start(t.Context(), Options{Port: listener.Addr().(*net.TCPAddr).Port})
	if errors.Is(err, ErrNotInstalled) {
		t.Skipf("NOT RUN: %v", err)
	}
	if err == nil || !strings.Contains(err.Error(), "EADDRINUSE") {
		t.Errorf("on a taken port: %v, %v", s, err)
	}
}

func TestNotInstalled(t *testing.T) {
	if _, err := Start(context.Background(), Options{Modules: t.TempDir()}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("in an empty folder: %v, want ErrNotInstalled", err)
	}
}
