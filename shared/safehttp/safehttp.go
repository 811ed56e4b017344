// Package safehttp fetches documents from URLs that strangers name, such as a client's metadata document or key set,
// without lending them this server's place in the network: https on port 443 only, no redirects, no proxy, no cookies,
// no credentials, every address that the name resolves to public, and the connection made to an address that was
// checked, so that a second DNS answer cannot move it (SSRF, DNS rebinding). It owns the fetch and its limits; what a
// document says and how long it may be kept is its callers' affair.
package safehttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrForbidden is returned for a URL or an address that is never fetched. Trying again does not help.
	ErrForbidden = errors.New("safehttp: forbidden")
	// ErrUnavailable is returned when there was no document to be had: the name does not resolve, the connection
	// fails, time ran out, the status is not 200, or the body is not JSON. It says nothing of tomorrow.
	ErrUnavailable = errors.New("safehttp: unavailable")
	// ErrTooLarge is returned for a body over the caller's limit.
	ErrTooLarge = errors.New("safehttp: document too large")
)

// Timeout bounds a whole fetch, resolving included.
const Timeout = 10 * time.Second

// maxAddresses bounds how many addresses of one name are tried.
const maxAddresses = 4

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Client fetches JSON documents. The zero value is ready to use.
type Client struct {
	// AllowLoopback also admits http and https URLs of this machine with any port, for development. The zero value
	// refuses them, as production must.
	AllowLoopback bool
	// Resolver is net.DefaultResolver when nil.
	Resolver Resolver
	// Dial connects to an address that has been checked, "ip:port"; nil is a plain dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// RootCAs are the system's when nil.
	RootCAs *x509.CertPool
	// Timeout is the package's Timeout when 0.
	Timeout time.Duration
}

// Document is a fetched body with the header that says how long it may be kept.
type Document struct {
	Body         []byte
	CacheControl string
	Age          string
}

// Get fetches a JSON document of at most limit bytes. Errors wrap ErrForbidden, ErrUnavailable or ErrTooLarge.
func (c *Client) Get(ctx context.Context, rawURL string, limit int64) (Document, error) {
	u, err := c.ParseURL(rawURL)
	if err != nil {
		return Document{}, err
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	request := &http.Request{
		Method: http.MethodGet,
		URL:    u,
		Host:   u.Host,
		Header: http.Header{
			"Accept":     {"application/json"},
			"User-Agent": {"mcp-access-oauth"},
		},
	}
	transport := c.transport(u)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request.WithContext(ctx)) // RoundTrip follows no redirect and keeps no cookie
	if err != nil {
		if errors.Is(err, ErrForbidden) {
			return Document{}, err
		}
		return Document{}, fmt.Errorf("%w: fetching from %s: %w", ErrUnavailable, u.Host, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Document{}, fmt.Errorf("%w: %s answered with status %d", ErrUnavailable, u.Host, response.StatusCode)
	}
	if !isJSON(response.Header.Values("Content-Type")) || response.Header.Get("Content-Encoding") != "" {
		return Document{}, fmt.Errorf("%w: %s answered with something that is not plain JSON", ErrUnavailable, u.Host)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return Document{}, fmt.Errorf("%w: reading from %s: %w", ErrUnavailable, u.Host, err)
	}
	if int64(len(body)) > limit {
		return Document{}, fmt.Errorf("%w: over %d bytes from %s", ErrTooLarge, limit, u.Host)
	}
	return Document{
		Body:         body,
		CacheControl: strings.Join(response.Header.Values("Cache-Control"), ","),
		Age:          response.Header.Get("Age"),
	}, nil
}

// transport makes one connection, to one of the checked addresses. It has no proxy: one named by the environment would
// resolve the name again, and out of our sight.
func (c *Client) transport(u *url.URL) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dial(ctx, u)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs},
		DisableKeepAlives:      true,
		DisableCompression:     true, // no Accept-Encoding, so that the limit counts what is on the wire
		MaxResponseHeaderBytes: 16 << 10,
	}
}

func (c *Client) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	local := c.AllowLoopback && isLoopbackName(u.Hostname())
	addrs, err := c.resolve(ctx, u.Hostname(), local)
	if err != nil {
		return nil, err
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Control: checkConnect(local)}).DialContext
	}
	for _, addr := range addrs[:min(len(addrs), maxAddresses)] {
		var conn net.Conn
		if conn, err = dial(ctx, "tcp", net.JoinHostPort(addr.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// resolve answers the addresses of a host, all of them public, or all loopback where local. One that is not makes the
// whole answer suspect: a name that mixes public and private addresses is an attack or a mistake.
func (c *Client) resolve(ctx context.Context, host string, local bool) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil { // only loopback hosts are taken by address
		return []netip.Addr{addr}, nil
	}
	var resolver Resolver = net.DefaultResolver
	if c.Resolver != nil {
		resolver = c.Resolver
	}
	name := host
	if !local {
		name += "." // never below the search domains of this network
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("resolving the name: %w", err)
	}
	if len(addrs) == 0 {
		return nil, errors.New("resolving the name: no addresses")
	}
	for i, addr := range addrs {
		if !allowed(addr, local) {
			return nil, fmt.Errorf("%w: %s resolves to an address that is not on the public Internet", ErrForbidden, host)
		}
		addrs[i] = addr.Unmap()
	}
	return addrs, nil
}

// checkConnect looks at the address once more where the kernel is asked to connect to it.
func checkConnect(local bool) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(addr.Addr(), local) {
			return fmt.Errorf("%w: connecting to an address that was not checked", ErrForbidden)
		}
		return nil
	}
}

func allowed(addr netip.Addr, local bool) bool {
	if local {
		return addr.Unmap().IsLoopback()
	}
	return Public(addr)
}

// isJSON takes application/json and application/*+json (RFC 6839 section 3.1).
func isJSON(contentTypes []string) bool {
	if len(contentTypes) != 1 {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(contentTypes[0])
	return err == nil && (mediaType == "application/json" ||
		strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json"))
}
