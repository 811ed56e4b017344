package attacks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	bbolt "go.etcd.io/bbolt"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/dynalite"
	"mcp-access-oauth/test/robot"
)

// TestH08_TableDump signs a person in, uses and refreshes what they got, lets tools keep state, and then reads the whole
// table as a thief of a backup would. Nothing in it may open anything, or say who the person is.
func TestH08_TableDump(t *testing.T) {
	h := newHostile()
	t.Cleanup(h.Close)
	d := deployment.Start(t, hostileEnv(h)...)
	t.Parallel()
	registration := register(t, d, `{"redirect_uris":["`+web+`"],"client_name":"Confidential","token_endpoint_auth_method":"client_secret_post","grant_types":["authorization_code","refresh_token"]}`)
	c := client{d, registration.text("client_id"), web, newClient(t, d, loopback).verifier}
	secret := []string{"client_secret", registration.text("client_secret")}
	signIn := func(upstream string) (code string) {
		b := robot.New("")
		target, err := url.Parse(approve(t, b, consent(t, b, c.authorize("state", "Canary-state"))))
		if err != nil {
			t.Fatal(err)
		}
		idToken := h.good(t, h.claims(target.Query().Get("nonce"), map[string]any{"sub": "Canary-subject", "groups": []string{"Canary-group"}}))
		h.promise(upstream, idToken, "Canary-refresh-of-"+upstream)
		return c.response(t, b, d.Issuer+"/callback?"+url.Values{"code": {upstream}, "state": {target.Query().Get("state")}}.Encode()).Get("code")
	}
	unredeemed, code := signIn("Canary-first"), signIn("Canary-second")
	first := c.redeem(t, code, secret...).issued(t)
	second := c.refresh(t, first.refresh, secret...).issued(t)
	third := c.refresh(t, second.refresh, secret...).issued(t)
	if a := call(t, d, third.access, "generateImage", map[string]any{"prompt": "a lighthouse", "steps": 4}); !strings.Contains(a.body, `"image"`) {
		t.Fatalf("generateImage: %d %.300s", a.status, a.body)
	}
	revoked := c.redeem(t, signIn("Canary-third"), secret...).issued(t)
	post(t, d.Issuer+"/revoke", url.Values{"client_id": {c.id}, "client_secret": {secret[1]}, "token": {revoked.refresh}})

	secrets := map[string]string{
		"client secret": secret[1], "secret at the provider": upstreamSecret, "verifier": c.verifier, "state": "Canary-state", "subject": "Canary-subject",
		"group": "Canary-group", "e-mail": deployment.Employee, "upstream token": "Canary-refresh-of-", "upstream access token": "Canary-upstream-access-",
		"upstream code": "Canary-first", "upstream verifier": h.request("Canary-second").Get("code_verifier"),
	}
	for name, token := range map[string]string{
		"unredeemed code": unredeemed, "code": code, "first access token": first.access, "first refresh token": first.refresh, "second access token": second.access,
		"second refresh token": second.refresh, "third access token": third.access, "third refresh token": third.refresh, "revoked access token": revoked.access,
	} {
		secrets[name] = token[strings.LastIndexByte(token, '_')+1:] // kind and grant id are no secret
	}
	d.Stop(t)
	items := dump(t, d)
	kinds := map[string]bool{}
	for _, item := range items {
		for _, kind := range []string{"client", "grant", "state"} {
			if bytes.Contains(item, []byte(kind)) {
				kinds[kind] = true
			}
		}
		for name, secret := range secrets {
			if len(secret) < 8 {
				t.Fatalf("the %s is %q, which is nothing to look for", name, secret)
			}
			for _, part := range parts(secret) {
				if where := found(item, part); where != "" {
					t.Errorf("the %s stands %s in an item: %.300q", name, where, item)
				}
			}
		}
	}
	if len(items) < 6 || len(kinds) != 3 {
		t.Errorf("the dump has %d items of the kinds %v, and so is not the whole table", len(items), kinds)
	}
}

// dump is every item of the table, each with its key, of a deployment that has stopped. Of the embedded store it is, besides,
// the whole file: what was deleted is still in it.
func dump(t testing.TB, d *deployment.Deployment) (items [][]byte) {
	t.Helper()
	if onStack() {
		return dumpDynamoDB(t, filepath.Join(d.Dir, "dynalite"))
	}
	file := filepath.Join(d.Dir, "store.db")
	store, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var walk func(bucket *bbolt.Bucket) error
	walk = func(bucket *bbolt.Bucket) error {
		return bucket.ForEach(func(key, value []byte) error {
			if value == nil {
				return walk(bucket.Bucket(key))
			}
			items = append(items, fmt.Appendf(nil, "%s %s", key, value))
			return nil
		})
	}
	err = store.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error { return walk(bucket) })
	})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return append(items, whole)
}

func dumpDynamoDB(t testing.TB, folder string) (items [][]byte) {
	t.Helper()
	server, err := dynalite.Start(t.Context(), dynalite.Options{Data: folder})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	db := dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &server.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
	tables, err := db.ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables.TableNames {
		pages := dynamodb.NewScanPaginator(db, &dynamodb.ScanInput{TableName: aws.String(name)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range page.Items {
				encoded, err := json.Marshal(item) // binary attributes as base64, which is looked into
				if err != nil {
					t.Fatal(err)
				}
				items = append(items, encoded)
			}
		}
	}
	return items
}

// parts are a secret and, if it is long, its ends: what is kept of it must not be a piece either.
func parts(secret string) []string {
	const enough = 16
	if len(secret) < 2*enough {
		return []string{secret}
	}
	return []string{secret, secret[:enough], secret[len(secret)-enough:]}
}

var encodedRun = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`)

// found tells how a secret stands in an item: in the clear, as base64 of any alignment, or in the clear inside base64.
func found(item []byte, secret string) string {
	if bytes.Contains(item, []byte(secret)) {
		return "in the clear"
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			// Bytes in front and behind change the characters at the ends alone.
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
			inner := encoded[(before*8+5)/6 : len(secret)*8/6+before*8/6-1]
			if len(inner) >= 8 && bytes.Contains(item, []byte(inner)) {
				return "as base64"
			}
		}
	}
	for _, run := range encodedRun.FindAll(item, -1) {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for trimmed := range 4 {
				decoded, _ := encoding.DecodeString(string(run[:max(0, len(run)-trimmed)]))
				if bytes.Contains(decoded, []byte(secret)) {
					return "inside base64"
				}
			}
		}
	}
	return ""
}

// TestFound holds the search to what it must find.
func TestFound(t *testing.T) {
	const secret = "a-secret-of-some-length"
	for name, item := range map[string]string{
		"clear": "x" + secret + "y", "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "base64 in a longer text": base64.StdEncoding.EncodeToString([]byte("ab" + secret + "cd")),
		"base64url": base64.URLEncoding.EncodeToString([]byte("a" + secret + "\xff\xfe")), "JSON in base64": `{"B":"` + base64.StdEncoding.EncodeToString([]byte(`{"x":"`+secret+`"}`)) + `"}`,
	} {
		if found([]byte(item), secret) == "" {
			t.Errorf("%s is not found", name)
		}
	}
	if where := found([]byte("a-secret-of-another-length "+base64.StdEncoding.EncodeToString([]byte("a-secret-of-another-length"))), secret); where != "" {
		t.Errorf("found %s where it is not", where)
	}
}
