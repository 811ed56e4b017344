package clients

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

func (h *house) limiter(perMinute int) *Limiter {
	return &Limiter{Table: h.table, Now: h.Now, Rand: rand.Reader, PerMinute: perMinute}
}

func TestLimiterIsGlobal(t *testing.T) {
	for _, perMinute := range []int{1, 2, 5, 6, 7, 60, 61} {
		t.Run(fmt.Sprint(perMinute), func(t *testing.T) {
			h := newHouse(t)
			processes := []*Limiter{h.limiter(perMinute), h.limiter(perMinute), h.limiter(perMinute)}
			for minute := range 2 {
				taken := 0
				for i := range 4 * (perMinute + limitBlock) {
					if processes[i%len(processes)].Take(t.Context()) == nil {
						taken++
					}
				}
				if taken != perMinute { // every process asked until it was refused, so that no block is left over
					t.Errorf("minute %d: %d taken of %d", minute, taken, perMinute)
				}
				h.advance(time.Minute)
			}
		})
	}
}

func TestLimiterUnderContention(t *testing.T) {
	h := newHouse(t)
	const perMinute, workers = 120, 16
	var taken, refused atomic.Int32
	var wg sync.WaitGroup
	for range workers {
		limiter := h.limiter(perMinute) // a process each
		wg.Go(func() {
			for range 20 {
				err := limiter.Take(t.Context())
				switch oerr, ok := errors.AsType[*oauth.Error](err); {
				case err == nil:
					taken.Add(1)
				case ok && oerr.Status == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// Never more; and fewer only by what processes hold of their last blocks.
	if n := taken.Load(); n > perMinute || n < perMinute-workers*(limitBlock-1) {
		t.Errorf("%d taken of %d, %d refused", n, perMinute, refused.Load())
	}
}

func TestLimiterCosts(t *testing.T) {
	h := newHouse(t)
	limiter := h.limiter(60)
	for range 60 {
		if err := limiter.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, writes := h.table.calls(); writes != 60/limitBlock {
		t.Errorf("60 registrations took %d writes", writes)
	}
	h.advance(15 * time.Second)
	for range 1000 {
		err := limiter.Take(t.Context())
		if e := wantError(t, err, oauth.TemporarilyUnavailable, http.StatusTooManyRequests); e.RetryAfter != 45*time.Second {
			t.Fatalf("Retry-After %s", e.RetryAfter)
		}
	}
	if reads, writes := h.table.calls(); reads > limitShards || writes != 0 {
		t.Errorf("a flood took %d reads and %d writes", reads, writes)
	}
	h.advance(45 * time.Second)
	if err := limiter.Take(t.Context()); err != nil {
		t.Errorf("the next minute: %v", err)
	}
	h.advance(time.Minute)
	h.table.down.Store(true)
	if err := limiter.Take(t.Context()); !errors.Is(err, table.ErrUnavailable) {
		t.Errorf("a table that is down: %v", err)
	}
}

func TestF01_RegistrationFlood(t *testing.T) {
	h := newHouse(t)
	h.registrar.Limit = h.limiter(60)
	live := h.register(t, mcpRemote(1)).ClientID
	c, err := h.store.Lookup(t.Context(), live)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Approved(t.Context(), c); err != nil {
		t.Fatal(err)
	}

	created, refused := 0, 0
	for i := range 10_000 {
		_, err := h.registrar.Register(t.Context(), fmt.Appendf(nil, `{"redirect_uris":["https://spam.example/%d"],"token_endpoint_auth_method":"none"}`, i))
		if err == nil {
			created++
			continue
		}
		wantError(t, err, oauth.TemporarilyUnavailable, http.StatusTooManyRequests)
		refused++
	}
	if created != 59 || refused != 10_000-59 {
		t.Errorf("%d created, %d refused", created, refused)
	}
	// A client that is known registers through the flood, and so does everyone who says the same.
	for port := range 100 {
		if id := h.register(t, mcpRemote(port+1)).ClientID; id != live {
			t.Fatal("another id")
		}
	}
	// What nobody approved is gone in a day, what is used stays.
	h.advance(NeverUsed + time.Minute)
	page, err := h.table.List(t.Context(), partition, table.ListOptions{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Key.Sort != live {
		t.Errorf("%d clients are left, %v", len(page.Items), err)
	}
}
