package attacks

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// answer is what came back for one request.
type answer struct {
	status int
	header http.Header
	body   string
}

var direct = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send sends a request. headers are pairs of name and value; a name may come twice.
func send(t testing.TB, method, address, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
			continue
		}
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := direct.Do(request)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return answer{status: http.StatusRequestEntityTooLarge} // the server hung up on a body that it did not want
	}
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, address, err)
	}
	return answer{response.StatusCode, response.Header, string(read)}
}

func get(t testing.TB, address string, headers ...string) answer {
	t.Helper()
	return send(t, http.MethodGet, address, "", headers...)
}

func post(t testing.TB, address string, form url.Values, headers ...string) answer {
	t.Helper()
	return send(t, http.MethodPost, address, form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// text is a member of the JSON body, "" when it is not there or no text.
func (a answer) text(member string) string {
	var body map[string]any
	if json.Unmarshal([]byte(a.body), &body) != nil {
		return ""
	}
	text, _ := body[member].(string)
	return text
}

// challenge is WWW-Authenticate, under the name that AWS gives it there.
func (a answer) challenge() string {
	if onStack() {
		return a.header.Get("x-amzn-remapped-www-authenticate")
	}
	return a.header.Get("WWW-Authenticate")
}

// refused checks an OAuth error. Whatever is sent to us, a 5xx is our fault.
func (a answer) refused(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.text("error") != code {
		t.Errorf("answered %d %.300s, want %d %s", a.status, a.body, status, code)
	}
	if a.header.Get("Location") != "" {
		t.Errorf("redirects to %s", a.header.Get("Location"))
	}
}

// localPage checks that a browser is shown a page of ours with this status, and is sent nowhere.
func (a answer) localPage(t testing.TB, status int, words ...string) {
	t.Helper()
	if a.status != status || a.header.Get("Location") != "" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		t.Errorf("answered %d %s, Location %q, want a page with %d", a.status, a.header.Get("Content-Type"), a.header.Get("Location"), status)
	}
	for _, word := range words {
		if !strings.Contains(a.body, word) {
			t.Errorf("the page does not say %q: %.1500s", word, body(a.body))
		}
	}
}

// body is a page without its head, for messages.
func body(page string) string {
	if _, rest, ok := strings.Cut(page, "<body>"); ok {
		return rest
	}
	return page
}

// together sends n requests at once, and returns the way to wait for their answers.
func together(n int, request func() answer) (wait func() []answer) {
	answers := make([]answer, n)
	var senders sync.WaitGroup
	start := make(chan struct{})
	for i := range answers {
		senders.Go(func() {
			<-start
			answers[i] = request()
		})
	}
	close(start)
	return func() []answer {
		senders.Wait()
		return answers
	}
}
