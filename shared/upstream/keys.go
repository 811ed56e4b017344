package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	keysAge   = time.Hour       // after which a withdrawn key is no longer believed
	keysPause = time.Minute     // between two readings of the key set
	keysRetry = 2 * time.Second // between two attempts while it cannot be read
)

var errKeysPause = errors.New("the key set was read a moment ago")

// keySet is go-oidc's cached key set with two bounds that it lacks: keys have an age, and the reading that an unknown
// key id causes happens at most once a minute, whatever tokens are presented (C06). It is its own transport, since
// that is where a reading can be refused.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	remote *oidc.RemoteKeySet
	read   time.Time // the last reading that succeeded
	pause  time.Time // no reading before
	fault  error     // of the last reading
}

var _ oidc.KeySet = (*keySet)(nil)

func newKeySet(url string, client *http.Client, now func() time.Time) *keySet {
	return &keySet{url: url, client: client, now: now}
}

// keyFault receives the reason why a signature could not be checked at all; go-oidc's own error does not keep it.
type keyFault struct{ err error }

type keyFaultKey struct{}

// VerifySignature is for go-oidc's verifier, which has checked the algorithm.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.current().VerifySignature(ctx, jwt)
	if err == nil {
		return payload, nil
	}
	k.mu.Lock()
	fault := k.fault
	k.mu.Unlock()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		fault = err
	}
	if into, ok := ctx.Value(keyFaultKey{}).(*keyFault); ok && fault != nil {
		into.err = fmt.Errorf("reading the key set: %w", fault)
	}
	return nil, errors.New("no key of the provider's fits")
}

func (k *keySet) current() *oidc.RemoteKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.remote == nil || !k.read.IsZero() && k.now().Sub(k.read) >= keysAge {
		through := *k.client
		through.Transport = k
		k.remote = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), &through), k.url)
		k.read = time.Time{}
	}
	return k.remote
}

// RoundTrip reads the key set unless that is too soon.
func (k *keySet) RoundTrip(req *http.Request) (*http.Response, error) {
	k.mu.Lock()
	if now := k.now(); now.Before(k.pause) {
		k.mu.Unlock()
		return nil, errKeysPause
	}
	k.pause = k.now().Add(keysRetry)
	k.mu.Unlock()

	body, err := k.readSet(req)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fault = err; err != nil {
		return nil, err
	}
	k.read, k.pause = k.now(), k.now().Add(keysPause)
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

// readSet reads the document whole, because only then it is known whether the reading succeeded.
func (k *keySet) readSet(req *http.Request) ([]byte, error) {
	resp, err := k.client.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{k.url, resp.StatusCode}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", clean(k.url), err)
	}
	if body, err = readable(body); err != nil {
		return nil, fmt.Errorf("%s %w", clean(k.url), err)
	}
	return body, nil
}

// readable leaves out the keys that cannot be read, as RFC 7517 section 5 asks: for one of a curve that is not known,
// go-oidc would refuse them all.
func readable(body []byte) ([]byte, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil || set.Keys == nil {
		return nil, errors.New("is not a JWK Set")
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(raw json.RawMessage) bool {
		var key jose.JSONWebKey
		return json.Unmarshal(raw, &key) != nil
	})
	return json.Marshal(set)
}
