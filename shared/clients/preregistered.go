package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"mcp-access-oauth/shared/oauth"
)

// fileMembers are what a pre-registered client may say. Others are refused: in an operator's file a member that is not
// known is a misspelled one.
var fileMembers = []string{
	"client_id", "client_name", "client_uri", "logo_uri", "policy_uri", "tos_uri", "redirect_uris", "grant_types", "response_types",
	"scope", "application_type", "token_endpoint_auth_method", "token_endpoint_auth_signing_alg", "client_secret_sha256", "jwks", "jwks_uri",
}

// LoadFile reads the operator's clients from a JSON file, {"clients": [...]}, each with the members of RFC 7591 section
// 2, its client_id, and for a client with a secret client_secret_sha256: the SHA-256 in hexadecimal, so that the file
// holds no secret. Without token_endpoint_auth_method such a client may send it in the header or the body. checkURL checks
// the form of a jwks_uri (Fetcher.CheckURL). Errors name the client and the member.
func LoadFile(path string, nativeSchemes []string, checkURL func(string) error) (map[string]Client, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading clients file: %w", err)
	}
	list, err := parseFile(data, nativeSchemes, checkURL)
	if err != nil {
		return nil, fmt.Errorf("clients file %s: %w", path, err)
	}
	return list, nil
}

func parseFile(data []byte, nativeSchemes []string, checkURL func(string) error) (map[string]Client, error) {
	o, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	for name := range o {
		if name != "clients" {
			return nil, fmt.Errorf("it has the member %q; it should have clients alone", name)
		}
	}
	var members []json.RawMessage
	if err := json.Unmarshal(o["clients"], &members); err != nil {
		return nil, errors.New("clients must be an array of objects")
	}
	list := make(map[string]Client, len(members))
	for i, member := range members {
		c, err := parsePreRegistered(member, nativeSchemes, checkURL)
		name := fmt.Sprintf("client %d", i+1)
		if c.ID != "" {
			name += fmt.Sprintf(" (%q)", c.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s", name, describe(err))
		}
		if _, ok := list[c.ID]; ok {
			return nil, fmt.Errorf("%s: its client_id stands there twice", name)
		}
		list[c.ID] = c
	}
	return list, nil
}

// parsePreRegistered returns at least the id with an error, where it could be read.
func parsePreRegistered(data []byte, nativeSchemes []string, checkURL func(string) error) (Client, error) {
	o, err := parseObject(data)
	if err != nil {
		return Client{}, err
	}
	id, err := o.text("client_id", maxURIBytes)
	if err != nil {
		return Client{}, err
	}
	if _, ok := Key(id); !ok {
		return Client{}, errors.New("client_id must be 1 to 128 letters, digits, '-', '.', '_' or '~', or the URL of a metadata document")
	}
	fail := func(err error) (Client, error) { return Client{ID: id}, err }
	if o.has("client_secret") {
		return fail(errors.New("client_secret must not stand in the file; put its SHA-256 in hexadecimal into client_secret_sha256"))
	}
	for name := range o {
		if !slices.Contains(fileMembers, name) {
			return fail(fmt.Errorf("the member %q is not known", name))
		}
	}
	c, err := parseMetadata(o, nativeSchemes)
	if err != nil {
		return fail(err)
	}
	c.ID, c.Kind = id, PreRegistered
	if c.Name == "" {
		c.Name = id
	}
	if c.Scope == "" {
		c.Scope = oauth.ScopeMCP // the ceiling; no scope of a tool unless the operator says so
	}
	if err := parseAuthMethod(o, &c, checkURL); err != nil {
		return fail(err)
	}
	hash, err := o.text("client_secret_sha256", 2*sha256.Size)
	if err != nil {
		return fail(err)
	}
	secret := c.AuthMethod == oauth.AuthSecretBasic || c.AuthMethod == oauth.AuthSecretPost
	if hash != "" {
		if c.SecretHash, err = hex.DecodeString(hash); err != nil || len(c.SecretHash) != sha256.Size {
			return fail(errors.New("client_secret_sha256 must be 64 hexadecimal digits"))
		}
	}
	switch {
	case secret && hash == "":
		return fail(fmt.Errorf("client_secret_sha256 is missing, which %s needs", c.AuthMethod))
	case !secret && hash != "":
		return fail(fmt.Errorf("client_secret_sha256 does not go with %s", c.AuthMethod))
	case secret && !o.has("token_endpoint_auth_method"):
		// The operator did not say how the secret comes, and need not know: some clients send it in the header, some in
		// the body, and both are as good.
		c.AuthMethods = []string{oauth.AuthSecretBasic, oauth.AuthSecretPost}
	}
	switch {
	case c.Public() && c.Allows(oauth.GrantClientCredentials): // RFC 6749 section 4.4: confidential clients only
		return fail(errors.New("grant_types has client_credentials, but token_endpoint_auth_method is none"))
	case c.Allows(oauth.GrantRefreshToken) && !c.Allows(oauth.GrantAuthorizationCode):
		return fail(errors.New("grant_types has refresh_token, but lacks authorization_code"))
	}
	return c, nil
}
