package signin

import (
	"net/url"
	"strings"

	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/policy"
	"mcp-access-oauth/shared/web"
)

const maxNameRunes = 60

// consentPage gathers what the person must know to decide.
func (h *Handler) consentPage(r request, sealed string) web.Consent {
	c := r.client
	name := displayName(c)
	page := web.Consent{
		Action: oauth.PathAuthorize, Sealed: sealed,
		Client: web.Client{
			Name: name, Lookalike: web.MixesAlphabets(name), ID: c.ID,
			Listed: c.Kind == clients.PreRegistered, Domain: c.Domain(),
			Policy: httpsOnly(c.PolicyURI), Terms: httpsOnly(c.TOSURI),
		},
		Redirect: redirectOf(r),
		Asks:     asks(r.scopes, h.Policy, h.Tools),
		Server:   h.Resource.String(), ServerHost: hostOf(h.Resource.String()),
		Operator: h.Operator, IssuerHost: hostOf(h.Issuer), Provider: h.ProviderHost, Remembered: r.fingerprint(h.Resource) != "",
	}
	if website := httpsOnly(c.URI); website != "" {
		page.Client.Website, page.Client.WebsiteHost = website, hostOf(website)
	}
	return page
}

// displayName is the client's name as people and lists of grants see it.
func displayName(c clients.Client) string {
	if name := web.DisplayText(c.Name, maxNameRunes); name != "" {
		return name
	}
	if domain := c.Domain(); domain != "" {
		return domain
	}
	return "A client without a name"
}

func redirectOf(r request) web.Redirect {
	d := web.Redirect{URI: r.redirectURI, Host: oauth.RedirectHost(r.redirectURI)}
	switch r.redirectKind {
	case oauth.RedirectLoopback:
		d.Loopback = true
	case oauth.RedirectPrivate:
		d.App = true
		d.Scheme, _, _ = strings.Cut(r.redirectURI, ":")
	case oauth.RedirectHTTPS:
		if domain := r.client.Domain(); domain != "" {
			host, domain := hostname(r.redirectURI), hostname(r.client.ID)
			d.Foreign = host != domain && !strings.HasSuffix(host, "."+domain)
		}
	}
	return d
}

// asks puts scopes into what the page can say. A scope that an operator set opens the tools that need it; the default
// opens the others.
func asks(scopes []string, p policy.Policy, tools []string) []web.Ask {
	var out []web.Ask
	for _, scope := range scopes {
		a := web.Ask{Scope: scope, ToolUse: scope == oauth.ScopeMCP, Offline: scope == oauth.ScopeOfflineAccess}
		named := tools
		if !a.ToolUse {
			named = p.Tools() // a scope may open a tool that the caller has not named
		}
		for _, tool := range named {
			need := p.RequiredScope(tool)
			if a.ToolUse && need == "" || need == scope {
				a.Tools = append(a.Tools, tool)
			}
		}
		out = append(out, a)
	}
	return out
}

// httpsOnly is the address if it is one that a page of ours may link to. Its host must be in ASCII, so that it is shown
// as it is and not in letters that look like others.
func httpsOnly(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsFunc(u.Host, func(r rune) bool { return r > 0x7e }) {
		return ""
	}
	return address
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func hostname(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
