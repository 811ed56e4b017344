package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"mcp-access-oauth/test/deployment"
)

// A chain of refreshes, each with the token of the one before, beside a durable update of a bbolt file: what the store costs
// at least, and beside a request that does nothing. The provider is asked at most once in an access token's life, so not here.
func BenchmarkRefreshChain(b *testing.B) {
	d := deployment.Start(b)
	client, token := d.SignIn(b, deployment.Employee)
	c, err := dial(strings.TrimPrefix(d.Issuer, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	refresh := func() {
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {client.ClientID}, "refresh_token": {token.RefreshToken}}.Encode()
		status, body, err := c.exchange(fmt.Appendf(nil, "POST /token HTTP/1.1\r\nHost: localhost\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form))
		if err == nil {
			err = json.Unmarshal(body, token)
		}
		if err != nil || status != http.StatusOK {
			b.Fatalf("refreshing: %d %s (%v)", status, body, err)
		}
	}
	question := []byte("GET /jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
	ask := func() {
		if status, body, err := c.exchange(question); err != nil || status != http.StatusOK {
			b.Fatalf("asking: %d %s (%v)", status, body, err)
		}
	}
	update := durableUpdate(b)
	const rounds = 500
	var refreshes, updates, questions []time.Duration
	for range rounds { // interleaved, so that a busy disk meets both
		updates = append(updates, timed(update))
		questions = append(questions, timed(ask))
		refreshes = append(refreshes, timed(refresh))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(median(refreshes)), "ms/refresh")
	b.ReportMetric(milliseconds(median(updates)), "ms/bbolt-update")
	b.ReportMetric(milliseconds(median(questions)), "ms/http-alone")
	b.ReportMetric(milliseconds(median(refreshes)-median(updates)), "ms/beyond-bbolt")
}

// durableUpdate writes an item of a grant's size, with fsync.
func durableUpdate(b *testing.B) func() {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	value := bytes.Repeat([]byte("g"), 2048)
	return func() {
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("grants"))
			if err != nil {
				return err
			}
			return bucket.Put([]byte("grant"), value)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func timed(work func()) time.Duration {
	start := time.Now()
	work()
	return time.Since(start)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Registrations of new clients, until the limit on new ids says no, and of one client that asks again and again.
func BenchmarkRegistrations(b *testing.B) {
	d := deployment.Start(b)
	register := func(name string) int {
		body := fmt.Sprintf(`{"client_name":%q,"redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}`, name)
		response, err := http.Post(d.Issuer+"/register", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			b.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	var serial atomic.Int64
	perSecond := func(name func() string) float64 {
		start, count := time.Now(), 0
		for time.Since(start) < 2*time.Second {
			if status := register(name()); status == http.StatusTooManyRequests {
				break
			} else if status != http.StatusCreated {
				b.Fatalf("POST /register: %d", status)
			}
			count++
		}
		return float64(count) / time.Since(start).Seconds()
	}
	register("the same client")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(perSecond(func() string { return fmt.Sprintf("client %d", serial.Add(1)) }), "new/s")
	b.ReportMetric(perSecond(func() string { return "the same client" }), "known/s")
}
