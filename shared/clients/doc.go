// Package clients knows who may ask: clients that registered themselves (RFC 7591), clients that an operator named in a
// file, and clients whose id is the URL of their own metadata document (Client ID Metadata Documents). It owns their
// records, the registration endpoint with its limits, the fetching and caching of documents and key sets, and client
// authentication at the token endpoint. What a client was granted is not its concern: shared/tokens joins clients with
// shared/grants, and shared/signin asks the person.
package clients
