package demo

import (
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed signin.html signin.css
var files embed.FS

var signinTemplate = template.Must(template.ParseFS(files, "signin.html"))

// signinPage lets one of the people be chosen.
type signinPage struct {
	store    *storage
	provider *op.Provider
}

type signinData struct {
	ID, Problem string
	People      []person
}

// Initial is the letter in the person's picture.
func (p person) Initial() string { return p.Name[:1] }

// Local and Domain are the halves of the address, between which a narrow page may break it.
func (p person) Local() string  { return p.Email[:strings.IndexByte(p.Email, '@')] }
func (p person) Domain() string { return p.Email[strings.IndexByte(p.Email, '@')+1:] }

func (s *signinPage) show(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	if _, err := s.store.signIn(id); err != nil {
		render(w, http.StatusBadRequest, signinData{Problem: "This sign-in has expired or was used already. Go back to your application and start again."})
		return
	}
	render(w, http.StatusOK, signinData{ID: id, People: people})
}

// choose takes the button that was pressed: email with a person's address, or cancel.
func (s *signinPage) choose(w http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		render(w, http.StatusForbidden, signinData{Problem: "This form was sent by another site, so it was not accepted."})
		return
	}
	id := r.PostFormValue("id")
	begun, err := s.store.signIn(id)
	if err != nil {
		render(w, http.StatusBadRequest, signinData{Problem: "This sign-in has expired or was used already. Go back to your application and start again."})
		return
	}
	if r.PostFormValue("cancel") != "" {
		_ = s.store.DeleteAuthRequest(r.Context(), id) // it is in memory
		op.AuthRequestError(w, r, begun, oidc.ErrAccessDenied().WithDescription("the sign-in was cancelled"), s.provider)
		return
	}
	i := slices.IndexFunc(people, func(p person) bool { return p.Email == r.PostFormValue("email") })
	if i < 0 || s.store.choose(id, people[i]) != nil {
		render(w, http.StatusBadRequest, signinData{Problem: "There is nobody here by that name."})
		return
	}
	http.Redirect(w, r, s.store.cfg.Issuer+"/authorize/callback?id="+id, http.StatusSeeOther)
}

func render(w http.ResponseWriter, status int, data signinData) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	// There is no form-action: Chromium holds the whole chain of redirects that follows the form to it, and the chain ends
	// at the client's redirect URI, which only the client knows.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = signinTemplate.Execute(w, data) // it is tested, so a failure means that the browser has gone
}

func stylesheet(w http.ResponseWriter, _ *http.Request) {
	content, err := files.ReadFile("signin.css")
	if err != nil {
		http.Error(w, "no stylesheet", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(content)
}
