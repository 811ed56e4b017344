// Package grants owns the grant: what one person allowed one client to do, and every secret that came of it. A grant is
// a value with pure transitions (Redeem, Refresh, Authenticate, Revoke), which take the clock and the randomness from a
// Moment, and one item of the table. The Store loads the item, lets a transition decide, and replaces it until it wins;
// so every transition is one conditional write and there are no orphans (docs/decisions/0006-one-item-per-grant.md).
//
// Nothing in the item opens anything. Codes and tokens are kept as SHA-256 alone. The person's claims and the identity
// provider's refresh token are sealed under the grant's data key, which is kept only wrapped under each live secret: who
// holds no valid token can open neither.
//
// The package knows nothing of HTTP, of clients beyond their id, or of the identity provider; package tokens joins it
// with those, and package mcpserver asks it who a bearer is.
package grants
