package signin

import (
	"errors"
	"net/http"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/upstream"
	"mcp-access-oauth/shared/web"
)

const startAgain = "Go back to the application that brought you here and connect once more."

// The pages of what may happen to a person who has done nothing wrong.
var (
	problemForeign = web.Problem{
		Status: http.StatusForbidden, Code: oauth.InvalidRequest, Title: "This answer did not come from our page",
		What:   "An approval is taken only from the page of this server. This one was sent by another site, or your browser did not say where it came from, so nothing was approved.",
		Advice: []string{startAgain, "If a link or a message brought you here, close this window."},
	}
	problemNoCookie = web.Problem{
		Status: http.StatusForbidden, Code: oauth.InvalidRequest, Title: "This page has expired",
		What:   "Your browser no longer has the cookie that belongs to the question it showed you, so nothing was approved.",
		Advice: []string{startAgain, "If this happens again, allow cookies for this site."},
	}
	problemForm = web.Problem{
		Status: http.StatusForbidden, Code: oauth.InvalidRequest, Title: "This page has expired",
		What:   "The answer does not belong to a question that this server has asked this browser, so nothing was approved.",
		Advice: []string{startAgain},
	}
	problemExpired = web.Problem{
		Status: http.StatusForbidden, Code: oauth.InvalidRequest, Title: "This page has expired",
		What:   "A question can be answered for ten minutes, and this one is older. Nothing was approved.",
		Advice: []string{"Have the question shown again, if your application is still waiting.", startAgain},
	}
	problemState = web.Problem{
		Status: http.StatusForbidden, Code: oauth.InvalidRequest, Title: "This sign-in cannot go on",
		What:   "It was begun in another browser, took longer than ten minutes, or is already finished. Nobody was signed in just now.",
		Advice: []string{"If your application says that it is connected, there is nothing to do.", startAgain, "If this happens again, allow cookies for this site."},
	}
	problemUsed = web.Problem{
		Status: http.StatusForbidden, Code: oauth.InvalidRequest, Title: "This sign-in is already finished",
		What:   "Every sign-in counts once, and this one has counted before.",
		Advice: []string{"If your application says that it is connected, there is nothing to do.", startAgain},
	}
)

// problem answers with a page, or in JSON to a program, for a reason that its title tells.
func (h *Handler) problem(w http.ResponseWriter, r *http.Request, p web.Problem) {
	audit.Refusal(r.Context(), p.Code, p.Title)
	h.show(w, r, p)
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, p web.Problem) {
	if wantsJSON(r) {
		web.SetRedirectHeaders(w.Header())
		e := &oauth.Error{Code: p.Code, Description: p.Detail, Status: p.Status, RetryAfter: p.RetryAfter}
		if e.Description == "" {
			e.Description = p.What
		}
		oauth.WriteError(w, e)
		return
	}
	p.RequestID = audit.RequestID(r.Context())
	web.WriteProblem(w, p)
}

// refuse answers an authorization request that was not granted. Only what leads nowhere but to this computer, or to a
// client that the operator listed, is sent on by itself; to anyone else the person may follow a link (RFC 9700 section
// 4.11.2).
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, c clients.Client, why refusal) {
	if why.redirectURI == "" || wantsJSON(r) {
		h.fail(w, r, why.err, "")
		return
	}
	target := h.errorURL(why.redirectURI, why.state, why.err)
	if why.direct {
		audit.Refusal(r.Context(), why.err.Code, why.err.Description)
		redirect(w, r, target)
		return
	}
	h.fail(w, r, why.err, target)
}

// answerError tells the client that its approved or cancelled request has failed.
func (h *Handler) answerError(w http.ResponseWriter, r *http.Request, t transaction, e *oauth.Error) {
	if _, err := oauth.ClassifyRedirectURI(t.redirectURI, h.NativeSchemes); err != nil {
		h.fail(w, r, oauth.NewError(oauth.InvalidRequest, oauth.AsError(err).Description), "")
		return
	}
	audit.Refusal(r.Context(), e.Code, e.Description)
	redirect(w, r, h.errorURL(t.redirectURI, t.state, e))
}

// backCode is what the client is told of a fault at the identity provider.
func backCode(err error) string {
	if errors.Is(err, upstream.ErrUnavailable) && !errors.Is(err, upstream.ErrMisconfigured) {
		return oauth.TemporarilyUnavailable
	}
	return oauth.ServerError
}

// backURL takes the person back to the client, with an error that says no more than that it failed.
func (h *Handler) backURL(t transaction, code string) string {
	if _, err := oauth.ClassifyRedirectURI(t.redirectURI, h.NativeSchemes); err != nil {
		return ""
	}
	return h.errorURL(t.redirectURI, t.state, oauth.NewError(code, "the sign-in did not succeed"))
}

// fail answers any error. back, when not empty, leads to the client. The person is told what to do, and the log what it
// was: an ID token that does not verify is most often a mistake in the settings.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error, back string) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		cause := err
		if oerr, ok := errors.AsType[*oauth.Error](err); ok && oerr.Cause != nil {
			cause = oerr.Cause
		}
		audit.Fault(r.Context(), cause)
		audit.Refusal(r.Context(), p.Code, p.Title)
	} else {
		audit.Refusal(r.Context(), p.Code, err.Error())
	}
	if back != "" {
		p.LinkURL, p.LinkText = back, "Return to the application"
	}
	h.show(w, r, p)
}

// problemOf finds the page for an error. Nothing internal is told: an error that is none of those that are known here
// counts as a fault that passes.
func problemOf(err error) web.Problem {
	e := oauth.AsError(err)
	p := web.Problem{Status: e.HTTPStatus(), Code: e.Code, Detail: e.Description, RetryAfter: e.RetryAfter}
	switch {
	case errors.Is(err, upstream.ErrMisconfigured):
		p.Status, p.Code, p.Detail, p.RetryAfter = http.StatusBadGateway, oauth.ServerError, "", 0
		p.Title, p.What = "Signing in is not set up correctly", upstream.Message(err)
	case errors.Is(err, upstream.ErrUnavailable):
		p.Detail = ""
		p.Title, p.What = "Signing in does not work just now", upstream.Message(err)
		p.Advice = []string{"Load this page again in a minute.", startAgain}
	case errors.Is(err, upstream.ErrRejected), errors.Is(err, upstream.ErrVerification), errors.Is(err, upstream.ErrNoSubject):
		p.Status, p.Code, p.Detail, p.RetryAfter = http.StatusForbidden, oauth.AccessDenied, "", 0
		p.Title, p.What = "You were not signed in", upstream.Message(err)
		p.Advice = []string{startAgain}
	case errors.Is(err, clients.ErrUnavailable):
		p.Title = "The application could not be checked"
		p.What = "This application describes itself in a document on the web, which this server cannot read at the moment."
		p.Advice = []string{"Wait a minute, then load this page again."}
	case errors.Is(err, table.ErrUnavailable), errors.Is(err, seal.ErrUnavailable), e.Code == oauth.TemporarilyUnavailable:
		p.Detail = ""
		p.Title, p.What = "Please try again shortly", "A part of this server does not answer at the moment. Nothing is lost."
		p.Advice = []string{"Wait a few seconds, then load this page again.", startAgain}
	case e.Code == oauth.InvalidClient && !errors.Is(err, clients.ErrUnknown): // a metadata document
		p.Status = http.StatusBadRequest
		p.Title = "The application does not describe itself correctly"
		p.What = "This application describes itself in a document on the web, which this server cannot accept. You have done nothing wrong."
		p.Advice = []string{"Tell the makers of the application what is written below."}
	case e.Code == oauth.InvalidClient:
		// RFC 6749 section 4.1.2.1 leaves the status to us. 401 would need a challenge, which no browser could meet.
		p.Status = http.StatusBadRequest
		p.Title, p.What = "This application is not known here", "It asks under an identity that this server does not have, or no longer has."
		p.Advice = []string{
			"Restart the application, or disconnect this server in its settings and add it again, so that it registers anew.",
			"If you build this application: register again whenever you are answered invalid_client.",
		}
	default:
		p.Title, p.What = "This request is not valid", "The application that brought you here sent a request that this server cannot accept. You have done nothing wrong."
		p.Advice = []string{startAgain, "If it happens again, tell the makers of the application what is written below."}
	}
	return p
}
