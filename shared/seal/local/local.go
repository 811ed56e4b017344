// Package local supplies the keyset of a server that runs without AWS: told from COOKIE_ENCRYPTION_KEY, or kept in a
// file that only the user of the process can read. It has one key that never changes; to change it, change the variable
// or remove the file: everyone is asked to approve again, and no token is lost.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"mcp-access-oauth/shared/seal"
)

const (
	// Variable is the setting that FromSecret's errors name.
	Variable = "COOKIE_ENCRYPTION_KEY"
	// File is the name of the keyset's file in the data directory.
	File = "keyset.json"

	// 32 characters hold 128 bits even in hexadecimal. Fewer than 10 different characters in that many is a placeholder
	// ("changeme" four times), not something drawn.
	minLength   = 32
	minDistinct = 10
)

// Source is a keyset in memory.
type Source struct{ keyset seal.Keyset }

var _ seal.Source = (*Source)(nil)

// Load returns the keyset. It never fails.
func (s *Source) Load(context.Context) (seal.Keyset, error) { return s.keyset, nil }

// FromSecret derives the keyset from a secret of the operator's, such as the output of `openssl rand -hex 32`. The same
// secret always gives the same key and key id, so that several processes agree.
func FromSecret(secret string) (*Source, error) {
	distinct := make(map[rune]bool)
	for _, c := range secret {
		distinct[c] = true
	}
	if len(secret) < minLength || len(distinct) < minDistinct {
		return nil, fmt.Errorf("%s must be at least %d characters drawn at random, such as the output of: openssl rand -hex 32", Variable, minLength)
	}
	id := seal.DeriveKey([]byte(secret), "mcp-access-oauth local key id")
	key := seal.KeyFrom(seal.DeriveKey([]byte(secret), "mcp-access-oauth local key"), id[:], time.Time{})
	return &Source{seal.Keyset{Keys: []seal.Key{key}}}, nil
}

// Open reads the keyset's file in dir, and makes it, and dir, on first use. The file comes into being whole or not at
// all, and the first of several processes to make it wins.
func Open(dir string) (*Source, error) {
	path := filepath.Join(dir, File)
	source, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return source, err
	}
	if err := create(dir, path); err != nil {
		return nil, fmt.Errorf("creating keyset file: %w", err)
	}
	return read(path)
}

func read(path string) (*Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading keyset file: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("keyset file %s can be read by other users (mode %#o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading keyset file: %w", err)
	}
	keyset, err := seal.DecodeKeyset(data)
	if err != nil {
		return nil, fmt.Errorf("keyset file %s is damaged; restore it, or remove it to start with a new key: %w", path, err)
	}
	return &Source{keyset}, nil
}

func create(dir, path string) (err error) {
	key, err := seal.NewKey(rand.Reader, time.Time{})
	if err != nil {
		return err
	}
	data, err := seal.Keyset{Keys: []seal.Key{key}}.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, File+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if _, err = temp.Write(data); err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what another process has put there meanwhile.
	if err := os.Link(temp.Name(), path); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return os.Rename(temp.Name(), path) // a file system without links
}
