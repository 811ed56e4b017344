// Package budget gives the tests of a Lambda function an AWS that counts: DynamoDB (dynalite), KMS and Secrets Manager
// behind endpoints of their own, so that the very handler that the function builds is held to the calls that DESIGN.md
// allows it. Calls are counted where they arrive, after the SDK and its retries: as AWS would bill them. What may be
// spent on what stands in the functions' own tests.
package budget

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/infra/local/demo"
	"mcp-access-oauth/shared/seal/kms/kmstest"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/table/dynamo/dynamotest"
)

const (
	// ClientSecret is the one that the identity provider knows.
	ClientSecret = "a secret that both sides know"

	clientID  = "mcp-access-oauth"
	secretARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:idp-AbCdEf"
)

// Calls are the requests that a function made of AWS. A batch is one, as on the wire.
type Calls struct {
	Reads, Writes int // of the table
	KMS           int
	Secrets       int
}

// Cloud is the AWS around one function, with a table of its own that ends with the test.
type Cloud struct {
	Issuer string

	tb     testing.TB
	table  string
	env    map[string]string
	origin *http.ServeMux // at the issuer
	mu     sync.Mutex
	counts Calls
}

// New returns a Cloud in whose environment every function starts. Without dynalite the test is skipped, as
// dynamotest.Endpoint says.
func New(tb testing.TB) *Cloud {
	tb.Helper()
	c := &Cloud{tb: tb, table: dynamotest.Create(tb), origin: http.NewServeMux()}
	c.Issuer = c.serve(c.origin)
	endpoint, err := url.Parse(dynamotest.Endpoint(tb))
	if err != nil {
		tb.Fatal(err)
	}
	aws := c.serve(c.services())
	c.env = map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key",
		"AWS_ENDPOINT_URL_DYNAMODB": c.serve(c.counted(httputil.NewSingleHostReverseProxy(endpoint))),
		"AWS_ENDPOINT_URL_KMS":      aws, "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
		"ISSUER": c.Issuer, "MCP_URL": c.Issuer + "/mcp", "ALLOWED_EMAILS": "employee1@mycompany.com",
		"TABLE_NAME": c.table, "KMS_KEY_ID": kmstest.KeyARN, "STACK_NAME": "budget",
		"ACCESS_ISSUER": "https://idp.example.com", "ACCESS_CLIENT_ID": clientID, "ACCESS_CLIENT_SECRET_ARN": secretARN,
	}
	return c
}

// Mount serves the handler at a path of the issuer, for browsers.
func (c *Cloud) Mount(path string, handler http.Handler) { c.origin.Handle(path, handler) }

// Set changes a variable of the function's environment.
func (c *Cloud) Set(name, value string) { c.env[name] = value }

// WithProvider puts the demo identity provider in the place of one that does not exist.
func (c *Cloud) WithProvider() {
	c.tb.Helper()
	var provider http.Handler // set before anything asks it
	issuer := c.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	var err error
	provider, err = demo.New(demo.Config{
		Issuer: issuer, DataDir: c.tb.TempDir(), ClientID: clientID, ClientSecret: ClientSecret,
		RedirectURIs: []string{c.Issuer + "/callback"},
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.env["ACCESS_ISSUER"] = issuer
}

// Env looks a variable up in the function's environment.
func (c *Cloud) Env(name string) string { return c.env[name] }

// Table is the function's table as it was the given time ago, or is now, past the counter: for what a test prepares.
func (c *Cloud) Table(ago time.Duration) *dynamo.Table {
	return dynamo.New(dynamotest.Client(c.tb), c.table, Clock(ago)).ForEmulator()
}

// Clock goes as the machine's does, the given time behind.
func Clock(behind time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(-behind) }
}

// Build builds the function's handler as its main does.
func (c *Cloud) Build(build func(func(string) string, *slog.Logger) (http.Handler, error)) http.Handler {
	c.tb.Helper()
	handler, err := build(c.Env, slog.New(slog.DiscardHandler))
	if err != nil {
		c.tb.Fatal(err)
	}
	return handler
}

// Spend runs do and wants exactly these calls of it.
func (c *Cloud) Spend(what string, want Calls, do func()) {
	c.tb.Helper()
	c.take()
	do()
	if got := c.take(); got != want {
		c.tb.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

// take returns what has been counted, and counts from nothing again.
func (c *Cloud) take() Calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = Calls{}
	return counts
}

func (c *Cloud) serve(handler http.Handler) string {
	server := httptest.NewServer(handler)
	c.tb.Cleanup(server.Close)
	return server.URL
}

// counted counts each call by the operation that its target names; an operation that no function has a use for is
// refused.
func (c *Cloud) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := r.Header.Get("X-Amz-Target")
		service, operation, _ := strings.Cut(target, ".")
		c.mu.Lock()
		switch {
		case service == "TrentService":
			c.counts.KMS++
		case service == "secretsmanager":
			c.counts.Secrets++
		case operation == "GetItem" || operation == "BatchGetItem" || operation == "Query":
			c.counts.Reads++
		case operation == "PutItem" || operation == "DeleteItem":
			c.counts.Writes++
		default:
			defer c.tb.Errorf("a call of %s", target)
		}
		c.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// services are KMS and Secrets Manager.
func (c *Cloud) services() http.Handler {
	kms := kmstest.New()
	return c.counted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "TrentService.") {
			kms.ServeHTTP(w, r)
			return
		}
		if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), secretARN) {
			http.Error(w, `{"__type": "ResourceNotFoundException"}`, http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"ARN": secretARN, "SecretString": ClientSecret})
	}))
}

// Post sends a form to the handler, wants a 200 and returns its JSON object.
func Post(tb testing.TB, handler http.Handler, path string, fields ...string) map[string]any {
	tb.Helper()
	return object(tb, PostForm(tb, handler, path, http.StatusOK, fields...))
}

// PostForm is Post for any status and body.
func PostForm(tb testing.TB, handler http.Handler, path string, status int, fields ...string) *httptest.ResponseRecorder {
	tb.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(tb, handler, r, status)
}

// PostJSON is Post with a JSON body, for a status of the caller's choice.
func PostJSON(tb testing.TB, handler http.Handler, path, body string, status int, header http.Header) map[string]any {
	tb.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	maps.Copy(r.Header, header)
	r.Header.Set("Content-Type", "application/json")
	return object(tb, send(tb, handler, r, status))
}

func send(tb testing.TB, handler http.Handler, r *http.Request, status int) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != status {
		tb.Fatalf("%s %s: %d, want %d: %s", r.Method, r.URL.Path, w.Code, status, w.Body)
	}
	return w
}

func object(tb testing.TB, w *httptest.ResponseRecorder) map[string]any {
	tb.Helper()
	var object map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &object); err != nil {
		tb.Fatalf("the answer is no JSON object: %v: %s", err, w.Body)
	}
	return object
}

// String shows only what was called.
func (c Calls) String() string {
	return fmt.Sprintf("%d reads, %d writes, %d calls of KMS, %d of Secrets Manager", c.Reads, c.Writes, c.KMS, c.Secrets)
}
