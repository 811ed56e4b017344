// Package web owns what a person sees in the browser: the consent page and the page that says what went wrong, with
// their style, their words and the headers that keep them from being framed, cached, scripted or leaked. It is handed
// facts and decides nothing; package signin decides. Nothing in a page comes from another place, and no page needs a
// script.
//
// html/template keeps every exported method in the binary, about 3 MB, so only the sign-in imports this package.
package web
