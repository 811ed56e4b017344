// Package attacks does to the running program what an attacker would, over HTTP alone, and holds it to the defence. A test
// bears the number of its case in ATTACKS, and docs/traceability.md says which test holds which case; this package holds
// that page to the source. What needs a clock, a fault or a look inside is tested beside the code it is about.
package attacks
