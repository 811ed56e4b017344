package clients

import (
	"time"

	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/safehttp"
	"mcp-access-oauth/shared/table"
)

// FromEnv is the Store that CLIENTS_FILE or CLIENTS and ALLOW_LOOPBACK_DOCUMENTS describe, and the key sets for an Authenticator,
// both on one fetcher, which bounds what the process asks of other sites.
func FromEnv(env config.Env, t table.Table, nativeSchemes []string, now func() time.Time) (*Store, *KeySets, error) {
	settings, err := config.LoadClients(env)
	if err != nil {
		return nil, nil, err
	}
	fetcher := NewFetcher(&safehttp.Client{AllowLoopback: settings.AllowLoopbackDocuments})
	s := &Store{Table: t, Now: now, Documents: NewDocuments(fetcher, nativeSchemes, now)}
	switch {
	case settings.File != "":
		if s.PreRegistered, err = LoadFile(settings.File, nativeSchemes, fetcher.CheckURL); err != nil {
			return nil, nil, &config.Error{Variable: "CLIENTS_FILE", Problem: err.Error()}
		}
	case settings.List != "":
		if s.PreRegistered, err = parseFile([]byte(settings.List), nativeSchemes, fetcher.CheckURL); err != nil {
			return nil, nil, &config.Error{Variable: "CLIENTS", Problem: err.Error()}
		}
	}
	return s, NewKeySets(fetcher, now), nil
}
