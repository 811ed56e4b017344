package safehttp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const publicAddress = "93.184.215.14"

// answers is a resolver that gives each name its next list of addresses; the last list stays.
type answers map[string][][]string

func (a answers) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	lists, ok := a[strings.TrimSuffix(host, ".")]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(lists) > 1 {
		a[strings.TrimSuffix(host, ".")] = lists[1:]
	}
	var addrs []netip.Addr
	for _, s := range lists[0] {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs, nil
}

// world is a TLS server that stands at example.com, as far as the client can see, and records what was dialed.
type world struct {
	client *Client
	dialed []string
	hits   atomic.Int32
}

func newWorld(t *testing.T, handler http.HandlerFunc) *world {
	t.Helper()
	w := &world{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.hits.Add(1)
		handler(rw, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w.client = &Client{
		Resolver: answers{"example.com": {{publicAddress}}},
		RootCAs:  roots,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			w.dialed = append(w.dialed, address)
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
	return w
}

func writeJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

func TestGet(t *testing.T) {
	var got *http.Request
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		got = r
		rw.Header().Set("Cache-Control", "max-age=60")
		http.SetCookie(rw, &http.Cookie{Name: "a", Value: "b"})
		writeJSON(rw, `{"a":1}`)
	})
	for range 2 {
		document, err := w.client.Get(t.Context(), "https://example.com/client?v=1", 100)
		if err != nil {
			t.Fatal(err)
		}
		if string(document.Body) != `{"a":1}` || document.CacheControl != "max-age=60" {
			t.Errorf("document = %+v", document)
		}
	}
	if got.Host != "example.com" || got.RequestURI != "/client?v=1" || got.Header.Get("Cookie") != "" || got.Header.Get("Referer") != "" {
		t.Errorf("request = %v %v %v", got.Host, got.RequestURI, got.Header)
	}
	// Each fetch resolves, checks and connects anew, to the address that was checked.
	if want := publicAddress + ":443"; len(w.dialed) != 2 || w.dialed[0] != want || w.dialed[1] != want {
		t.Errorf("dialed %v, want %s twice", w.dialed, want)
	}
}

func TestF04_SpecialAddresses(t *testing.T) {
	for _, address := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.100.1", "169.254.169.253", "168.63.129.16",
		"172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1",
		"192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
		"239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1", "2001:10::1",
		"2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2620:4f:8000::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fd00:ec2::23",
		"fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "4000::1",
	} {
		if Public(netip.MustParseAddr(address)) {
			t.Errorf("Public(%s) = true", address)
		}
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, "{}") })
		w.client.Resolver = answers{"example.com": {{address}}}
		_, err := w.client.Get(t.Context(), "https://example.com/c", 100)
		if !errors.Is(err, ErrForbidden) || len(w.dialed) > 0 {
			t.Errorf("%s: err = %v, dialed %v", address, err, w.dialed)
		}
	}
	for _, address := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
		"168.63.129.17", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1", "223.255.255.255",
		"2001:200::1", "2600::1", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8",
	} {
		if !Public(netip.MustParseAddr(address)) {
			t.Errorf("Public(%s) = false", address)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("the zero address counts as public")
	}
}

func TestF04_AddressLiterals(t *testing.T) {
	c := &Client{Resolver: answers{}, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, errors.New("dialed")
	}}
	for _, url := range []string{
		"https://127.0.0.1/c", "https://2130706433/c", "https://0x7f000001/c", "https://0x7f.0.0.1/c", "https://0177.0.0.1/c",
		"https://017700000001/c", "https://127.1/c", "https://127.0.0.1./c", "https://[::1]/c", "https://[::ffff:127.0.0.1]/c",
		"https://[64:ff9b::7f00:1]/c", "https://[fe80::1%25eth0]/c", "https://169.254.169.254/latest/meta-data", "https://8.8.8.8/c",
		"https://localhost/c", "https://localhost:9001/c", "https://metadata/c", "https://example.com./c", "https://.example.com/c",
		"https://ex..com/c", "https://1.2.3.0x7f/c",
		"https://①②⑦.⓪.⓪.①/c", "https://exa%6dple.com/c", "https://%31%32%37.0.0.1/c",
	} {
		if _, err := c.Get(t.Context(), url, 100); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: err = %v", url, err)
		}
	}
}

func TestF05_URLs(t *testing.T) {
	c := &Client{Resolver: answers{}}
	for _, url := range []string{
		"", "example.com/c", "//example.com/c", "http://example.com/c", "HTTPS://example.com/c", "https:/example.com/c", "https:example.com",
		"ftp://example.com/c", "file:///etc/passwd", "https://example.com:8443/c", "https://example.com:80/c", "https://example.com:/c",
		"https://user@example.com/c", "https://user:pass@example.com/c", "https://example.com@127.0.0.1/c", "https://@example.com/c",
		"https://example.com/a/../c", "https://example.com/./c", "https://example.com/%2e%2e/c", "https://example.com/..",
		"https://example.com/c#f", "https://example.com/c#", "https://example.com\\@evil.example.net/c", "https://example.com/c\x00", "https://example.com/ c",
		"https://example.com/c\r\nHost: evil", "https://EXAMPLE.com/c", "https:///c", "https://example.com/" + strings.Repeat("a", 600),
	} {
		if _, err := c.Get(t.Context(), url, 100); !errors.Is(err, ErrForbidden) {
			t.Errorf("%q: err = %v", url, err)
		}
	}
	for _, url := range []string{"https://example.com/c", "https://example.com:443/c", "https://a-b.example.co.uk/x/y.json?z=1", "https://xn--bcher-kva.example/c"} {
		if _, err := c.ParseURL(url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestF05_Rebinding(t *testing.T) {
	t.Run("the second answer is never asked for", func(t *testing.T) {
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, "{}") })
		w.client.Resolver = answers{"example.com": {{publicAddress}, {"127.0.0.1"}}}
		if _, err := w.client.Get(t.Context(), "https://example.com/c", 100); err != nil {
			t.Fatal(err)
		}
		if len(w.dialed) != 1 || w.dialed[0] != publicAddress+":443" {
			t.Errorf("dialed %v", w.dialed)
		}
		// The next fetch meets the new answer, and refuses it.
		if _, err := w.client.Get(t.Context(), "https://example.com/c", 100); !errors.Is(err, ErrForbidden) || len(w.dialed) != 1 {
			t.Errorf("err = %v, dialed %v", err, w.dialed)
		}
	})
	t.Run("public and private answers mixed", func(t *testing.T) {
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, "{}") })
		w.client.Resolver = answers{"example.com": {{publicAddress, "10.0.0.1"}}}
		if _, err := w.client.Get(t.Context(), "https://example.com/c", 100); !errors.Is(err, ErrForbidden) || len(w.dialed) != 0 {
			t.Errorf("err = %v, dialed %v", err, w.dialed)
		}
	})
	t.Run("the kernel's own address is checked", func(t *testing.T) {
		if err := checkConnect(false)("tcp4", "127.0.0.1:443", nil); !errors.Is(err, ErrForbidden) {
			t.Errorf("err = %v", err)
		}
		if err := checkConnect(false)("tcp4", publicAddress+":443", nil); err != nil {
			t.Errorf("err = %v", err)
		}
	})
}

func TestF05_RedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://example.com/other", status)
		})
		if _, err := w.client.Get(t.Context(), "https://example.com/c", 100); !errors.Is(err, ErrUnavailable) || w.hits.Load() != 1 {
			t.Errorf("%d: err = %v, %d requests", status, err, w.hits.Load())
		}
	}
}

func TestF06_HostileAnswers(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
	_ = z.Close()

	release := make(chan struct{})
	defer close(release)
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
	}{
		{"a page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "{}")
		}, ErrUnavailable},
		{"no content type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "{}")
		}, ErrUnavailable},
		{"two content types", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{"text/html", "application/json"}
			_, _ = io.WriteString(w, "{}")
		}, ErrUnavailable},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, ErrUnavailable},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, ErrUnavailable},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, ErrUnavailable},
		{"endless body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<10)); err != nil {
					return
				}
			}
		}, ErrTooLarge},
		{"one byte over", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, strings.Repeat(" ", 101)) }, ErrTooLarge},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			writeJSON(w, zipped.String())
		}, ErrUnavailable},
		{"slow header", func(_ http.ResponseWriter, r *http.Request) { waitFor(r, release) }, ErrUnavailable},
		{"slow body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "50")
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
			waitFor(r, release)
		}, ErrUnavailable},
		{"huge header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("a", 64<<10))
			writeJSON(w, "{}")
		}, ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.handler)
			w.client.Timeout = 200 * time.Millisecond
			_, err := w.client.Get(t.Context(), "https://example.com/c", 100)
			if !errors.Is(err, test.want) {
				t.Errorf("err = %v, want %v", err, test.want)
			}
		})
	}
}

// waitFor holds a handler back until its client gives up or the test ends.
func waitFor(r *http.Request, release <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-release:
	}
}

func TestNetworkFaults(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, "{}") })
	t.Run("unknown name", func(t *testing.T) {
		if _, err := w.client.Get(t.Context(), "https://nowhere.example/c", 100); !errors.Is(err, ErrUnavailable) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("certificate of another name", func(t *testing.T) {
		w.client.Resolver = answers{"other.test": {{publicAddress}}}
		if _, err := w.client.Get(t.Context(), "https://other.test/c", 100); !errors.Is(err, ErrUnavailable) || w.hits.Load() != 0 {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("a dead address is passed over", func(t *testing.T) {
		w.client.Resolver = answers{"example.com": {{"2606:4700::1", publicAddress}}}
		dial := w.client.Dial
		w.client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				return nil, errors.New("no route")
			}
			return dial(ctx, network, address)
		}
		if _, err := w.client.Get(t.Context(), "https://example.com/c", 100); err != nil {
			t.Error(err)
		}
	})
}

func TestProxyIsIgnored(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, "{}") })
	if _, err := w.client.Get(t.Context(), "https://example.com/c", 100); err != nil {
		t.Error(err)
	}
}

func TestLoopbackForDevelopment(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, "{}") }))
	defer server.Close()
	url := server.URL + "/client.json"

	if _, err := (&Client{}).Get(t.Context(), url, 100); !errors.Is(err, ErrForbidden) {
		t.Errorf("without the setting: err = %v", err)
	}
	local := &Client{AllowLoopback: true}
	if _, err := local.Get(t.Context(), url, 100); err != nil {
		t.Errorf("by address: %v", err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	if _, err := local.Get(t.Context(), "http://localhost:"+port+"/client.json", 100); err != nil {
		t.Errorf("by name: %v", err)
	}
	// The setting opens this machine, and nothing else: neither other private addresses nor names that lead here.
	local.Resolver = answers{"example.com": {{"127.0.0.1"}}, "localhost": {{"10.0.0.1"}}}
	for _, url := range []string{"https://10.0.0.1/c", "http://example.com/c", "https://example.com/c", "http://localhost/c", "ftp://localhost/c", "http://u@localhost/c"} {
		if _, err := local.Get(t.Context(), url, 100); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: err = %v", url, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"https://example.com/c", "https://127.1/c", "https://a@b.example/c", "https://[::1]/", "https://example.com:443/%2e"} {
		f.Add(seed)
	}
	c := &Client{}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := c.ParseURL(raw)
		if err != nil {
			if !errors.Is(err, ErrForbidden) {
				t.Errorf("%q: %v is not ErrForbidden", raw, err)
			}
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || !isDNSName(u.Hostname()) || u.Port() != "" && u.Port() != "443" {
			t.Errorf("%q was taken as %+v", raw, u)
		}
	})
}
