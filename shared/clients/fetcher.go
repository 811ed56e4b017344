package clients

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
)

// How long fetched documents and key sets are kept.
const (
	minDocumentLife     = 5 * time.Minute // draft-ietf-oauth-client-id-metadata-document section 5.2 allows bounds of our own
	defaultDocumentLife = time.Hour       // without Cache-Control
	maxDocumentLife     = 24 * time.Hour
	// backOff is how long a failed fetch is not tried again. It is a pause, not an answer about the client.
	backOff = 10 * time.Second

	maxDocumentBytes = 5 << 10 // draft-ietf-oauth-client-id-metadata-document section 8.7
	maxKeySetBytes   = 64 << 10
	maxCached        = 256
	maxFetches       = 4
)

// Fetcher fetches documents and key sets for a whole process: at most four at once, one per host, and one per URL for
// all who ask at the same time.
type Fetcher struct {
	client *safehttp.Client
	slots  chan struct{}

	mu      sync.Mutex
	hosts   map[string]chan struct{} // closed when the host is free again
	flights map[string]*flight
	failed  map[string]failure
}

type flight struct {
	done     chan struct{}
	document safehttp.Document
	err      error
}

type failure struct {
	err   error
	until time.Time
}

// NewFetcher returns a Fetcher over client.
func NewFetcher(client *safehttp.Client) *Fetcher {
	return &Fetcher{
		client:  client,
		slots:   make(chan struct{}, maxFetches),
		hosts:   make(map[string]chan struct{}),
		flights: make(map[string]*flight),
		failed:  make(map[string]failure),
	}
}

// get fetches a URL, or joins a fetch of it that is under way. The error is an *oauth.Error: invalid_client for what can
// never be fetched, and else temporarily_unavailable around ErrUnavailable. An error is remembered for backOff, from when it
// came: a fetch may last as long as the pause.
func (f *Fetcher) get(ctx context.Context, rawURL, what string, limit int64, now func() time.Time) (safehttp.Document, error) {
	u, err := f.client.ParseURL(rawURL)
	if err != nil {
		return safehttp.Document{}, fetchError(what, err)
	}
	f.mu.Lock()
	if failed, ok := f.failed[rawURL]; ok && now().Before(failed.until) {
		f.mu.Unlock()
		return safehttp.Document{}, failed.err
	}
	running, ok := f.flights[rawURL]
	if !ok {
		running = &flight{done: make(chan struct{})}
		f.flights[rawURL] = running
		// The fetch serves everyone who waits for it, so it does not end with the first one's request.
		go f.run(context.WithoutCancel(ctx), u, rawURL, what, limit, now, running)
	}
	f.mu.Unlock()
	select {
	case <-running.done:
		return running.document, running.err
	case <-ctx.Done():
		return safehttp.Document{}, fetchError(what, ctx.Err())
	}
}

func (f *Fetcher) run(ctx context.Context, u *url.URL, rawURL, what string, limit int64, now func() time.Time, running *flight) {
	ctx, cancel := context.WithTimeout(ctx, safehttp.Timeout) // waiting for a turn included
	defer cancel()
	release, err := f.acquire(ctx, u.Host)
	if err == nil {
		running.document, err = f.client.Get(ctx, rawURL, limit)
		release()
	}
	f.mu.Lock()
	if err != nil {
		running.err = fetchError(what, err)
		rememberFailure(f.failed, rawURL, running.err, now())
	}
	delete(f.flights, rawURL)
	f.mu.Unlock()
	close(running.done)
}

// acquire waits for the host's turn, and then for one of the slots, so that one slow host holds one slot at most.
func (f *Fetcher) acquire(ctx context.Context, host string) (release func(), err error) {
	for {
		f.mu.Lock()
		busy, taken := f.hosts[host]
		if !taken {
			f.hosts[host] = make(chan struct{})
		}
		f.mu.Unlock()
		if !taken {
			break
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	free := func() {
		f.mu.Lock()
		close(f.hosts[host])
		delete(f.hosts, host)
		f.mu.Unlock()
	}
	select {
	case f.slots <- struct{}{}:
		return func() { <-f.slots; free() }, nil
	case <-ctx.Done():
		free()
		return nil, ctx.Err()
	}
}

// fetchError tells what the client's maker can mend from what passes.
func fetchError(what string, err error) *oauth.Error {
	if errors.Is(err, safehttp.ErrForbidden) || errors.Is(err, safehttp.ErrTooLarge) {
		problem := "its URL is not one that this server fetches, or does not lead to the public Internet"
		if errors.Is(err, safehttp.ErrTooLarge) {
			problem = "it is too large"
		}
		return &oauth.Error{Code: oauth.InvalidClient, Description: what + " is refused: " + problem, Status: http.StatusUnauthorized, Cause: err}
	}
	return &oauth.Error{
		Code:        oauth.TemporarilyUnavailable,
		Description: what + " could not be fetched; try again shortly",
		Status:      http.StatusServiceUnavailable,
		RetryAfter:  backOff,
		Cause:       errors.Join(ErrUnavailable, err),
	}
}

// lifetime is how long a document may be kept, by its Cache-Control and Age (RFC 9111 sections 4.2 and 5.2.2), within
// our bounds. A year is a day; no-store is the least, since one sign-in looks a client up several times.
func lifetime(d safehttp.Document) time.Duration {
	life := defaultDocumentLife
	for directive := range strings.SplitSeq(d.CacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minDocumentLife
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil { // RFC 9111 section 4.2.1: unreadable freshness counts as stale
				return minDocumentLife
			}
			life = time.Duration(seconds) * time.Second
			if age, err := strconv.ParseUint(d.Age, 10, 31); err == nil {
				life -= time.Duration(age) * time.Second
			}
		}
	}
	return min(max(life, minDocumentLife), maxDocumentLife)
}

// remember puts a value into a bounded map: what is over goes first, and then whatever comes to hand, which costs a
// fetch and nothing else.
func remember[V any](m map[string]V, key string, value V, over func(V) bool) {
	if _, ok := m[key]; !ok && len(m) >= maxCached {
		for k, v := range m {
			if over(v) {
				delete(m, k)
			}
		}
		for k := range m {
			if len(m) < maxCached {
				break
			}
			delete(m, k)
		}
	}
	m[key] = value
}

// rememberFailure keeps err for backOff.
func rememberFailure(m map[string]failure, key string, err error, now time.Time) {
	remember(m, key, failure{err, now.Add(backOff)}, func(old failure) bool { return !now.Before(old.until) })
}
