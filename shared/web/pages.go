package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed pages/*.html
var files embed.FS

var (
	consentTemplate = parse("consent.html")
	problemTemplate = parse("problem.html")
)

func parse(name string) *template.Template {
	functions := template.FuncMap{"labels": labels}
	return template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "pages/layout.html", "pages/"+name))
}

// labels splits a host name or an address behind its dots and slashes, where a narrow page may break it: the names that
// AWS gives are longer than a line.
func labels(address string) []string {
	var out []string
	for {
		i := strings.IndexAny(address, "./") + 1
		if i == 0 {
			return append(out, address)
		}
		out, address = append(out, address[:i]), address[i:]
	}
}

// Consent is what a person is asked. Texts that come from the client have been through DisplayText.
type Consent struct {
	// Action is where the form goes, and Sealed the request that travels in it.
	Action, Sealed string

	Client   Client
	Redirect Redirect
	Asks     []Ask

	// Server is the MCP URL that the client will reach, ServerHost its host, Operator the one who runs it, or empty,
	// IssuerHost this page's own host, and Provider the host of the identity provider that asks for the password.
	Server, ServerHost, Operator, IssuerHost, Provider string
	// Remembered says that an approval is remembered in this browser.
	Remembered bool
}

// Client is who asks.
type Client struct {
	Name string
	// Lookalike says that the name mixes alphabets whose letters look alike.
	Lookalike bool
	ID        string
	// Listed means that the operator entered the client; Domain is set for one whose metadata document that domain
	// serves. Any other client registered itself, and nothing that it says of itself has been checked.
	Listed bool
	Domain string
	// Website, Policy and Terms are https URLs or empty.
	Website, WebsiteHost, Policy, Terms string
}

// Initial stands for the client in its badge.
func (c Client) Initial() string { return initial(c.Name) }

// Redirect is where the answer goes.
type Redirect struct {
	URI, Host string
	Loopback  bool // a program on this computer
	App       bool // whichever app has the scheme, which Scheme names
	Scheme    string
	// Foreign says that the host is not the domain of the client's metadata document, or below it.
	Foreign bool
}

// Ask is one scope: ToolUse for the default, Offline for offline_access, else one that an operator set for some tools.
type Ask struct {
	Scope            string
	ToolUse, Offline bool
	Tools            []string
}

// Problem says what went wrong and what to do. Its texts are ours.
type Problem struct {
	Status int
	Title  string
	What   string
	Advice []string
	// Code is the OAuth error code, Detail its description, for whoever builds the client.
	Code, Detail string
	RequestID    string
	// LinkURL, when set, offers a way on. It may have a private-use scheme: the caller has classified it
	// (oauth.ClassifyRedirectURI), and html/template is told to let it pass.
	LinkURL, LinkText string
	RetryAfter        time.Duration
}

type view struct {
	Title string
	CSS   template.CSS
	Page  any
}

// WriteConsent answers with the consent page.
func WriteConsent(w http.ResponseWriter, c Consent) {
	write(w, http.StatusOK, consentTemplate, true, view{"Connect " + c.Client.Name + "?", template.CSS(styleSheet), c})
}

// WriteProblem answers with the page of a problem.
func WriteProblem(w http.ResponseWriter, p Problem) {
	if p.RetryAfter > 0 {
		seconds := int64((p.RetryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10)) // RFC 9110 section 10.2.3
	}
	write(w, p.Status, problemTemplate, false, view{p.Title, template.CSS(styleSheet), struct {
		Problem
		Link template.URL
	}{p, template.URL(p.LinkURL)}})
}

func write(w http.ResponseWriter, status int, t *template.Template, hasForm bool, v view) {
	var page bytes.Buffer
	if err := t.Execute(&page, v); err != nil {
		panic(fmt.Errorf("rendering %s: %w", t.Name(), err)) // our templates with our types always render
	}
	setPageHeaders(w.Header(), hasForm)
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // fails only when the browser has gone
}
