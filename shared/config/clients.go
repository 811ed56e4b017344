package config

import (
	"net/url"
	"strconv"
	"strings"
)

// Clients are the settings of client registration and metadata documents.
type Clients struct {
	// File names the file of the operator's clients, and List is what such a file would say, for functions on Lambda, which
	// have no file of their own. One of the two, or neither.
	File, List string
	// AllowLoopbackDocuments admits client metadata documents of this machine, http included, for development.
	AllowLoopbackDocuments bool
	// RegistrationsPerMinute bounds new registrations over the whole service.
	RegistrationsPerMinute int
}

const (
	defaultRegistrationsPerMinute = 60
	maxRegistrationsPerMinute     = 100_000
)

// LoadClients reads CLIENTS_FILE, CLIENTS, ALLOW_LOOPBACK_DOCUMENTS and REGISTRATIONS_PER_MINUTE.
func LoadClients(env Env) (Clients, error) {
	c := Clients{File: env("CLIENTS_FILE"), List: env("CLIENTS"), RegistrationsPerMinute: defaultRegistrationsPerMinute}
	if c.File != "" && c.List != "" {
		return Clients{}, &Error{"CLIENTS", "and CLIENTS_FILE are both set; keep one"}
	}
	switch strings.ToLower(env("ALLOW_LOOPBACK_DOCUMENTS")) {
	case "", "false", "0", "no":
	case "true", "1", "yes":
		// draft-ietf-oauth-client-id-metadata-document section 8.6: only where this server itself is on loopback.
		issuer, err := url.Parse(env("ISSUER"))
		if err != nil || !Loopback(issuer.Hostname()) {
			return Clients{}, &Error{"ALLOW_LOOPBACK_DOCUMENTS", "is for development alone; ISSUER must then be a loopback address"}
		}
		c.AllowLoopbackDocuments = true
	default:
		return Clients{}, &Error{"ALLOW_LOOPBACK_DOCUMENTS", "must be true or false"}
	}
	if s := env("REGISTRATIONS_PER_MINUTE"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxRegistrationsPerMinute {
			return Clients{}, &Error{"REGISTRATIONS_PER_MINUTE", "must be a number from 1 to 100000"}
		}
		c.RegistrationsPerMinute = n
	}
	return c, nil
}
