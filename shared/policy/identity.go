// Package policy decides who may see and call which tool. Everything in it is a pure function of values.
package policy

// Identity is what the identity provider said of a person at the last sign-in or refresh. The person is Issuer and
// Subject together (OpenID Connect Core section 5.7); every other member may change and identifies no one.
type Identity struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	// Email is empty when the provider sent none, or sent something that is not one plain address.
	Email string `json:"email,omitempty"`
	// EmailUnverified is true when the provider says email_verified false, or says nothing while
	// ACCESS_REQUIRE_EMAIL_VERIFIED is set. Such an e-mail matches no rule.
	EmailUnverified bool     `json:"email_unverified,omitempty"`
	Name            string   `json:"name,omitempty"`
	Groups          []string `json:"groups,omitempty"`
}

// User is the stable key of the person: issuer and subject, unambiguously joined.
func (i Identity) User() string { return i.Issuer + "\x00" + i.Subject }
