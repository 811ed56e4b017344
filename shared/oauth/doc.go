// Package oauth is the vocabulary of the authorization server: errors and how they go on the wire, scopes, PKCE,
// redirect URI and resource matching, request parameters, and the metadata documents. It is pure, imports the standard
// library alone, and decides nothing about clients, grants or people; those packages are built on it.
package oauth
