package upstream

import (
	"net/http"
	"time"
)

const (
	requestTimeout = 10 * time.Second // one request to the provider, its body included
	// callTimeout bounds everything that one call of ours asks of the provider. It is shorter than the lease that
	// package tokens takes for a refresh (15 s).
	callTimeout = 12 * time.Second
	maxAnswer   = 512 << 10 // bytes of one answer, after decompression
)

// newClient returns the HTTP client for the provider. It never follows a redirect: nothing that we ask for is answered
// by one, and a token request that went elsewhere would carry the client's secret along.
func newClient(given *http.Client) *http.Client {
	client := http.Client{}
	if given != nil {
		client = *given
	}
	if client.Timeout == 0 || client.Timeout > requestTimeout {
		client.Timeout = requestTimeout
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	client.Transport = bounded{next}
	return &client
}

// bounded makes reading more than maxAnswer bytes of an answer fail; the libraries read all there is.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}
