package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/joho/godotenv"
)

// loadDotEnv sets the variables that the file names and the environment does not. A file that is not there sets none.
func loadDotEnv(file string) error {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading settings: %w", err)
	}
	values, ok := parseDotEnv(raw)
	if !ok {
		return fmt.Errorf("%s line %d is not of the form NAME=value, or a quote that begins there does not end", file, firstBadLine(raw))
	}
	for name, value := range values {
		if _, set := os.LookupEnv(name); set {
			continue // what the environment says wins
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: setting %s: %w", file, name, err)
		}
	}
	return nil
}

// parseDotEnv does not say what is wrong: the parser's own words quote the rest of the file, secrets and all.
func parseDotEnv(raw []byte) (values map[string]string, ok bool) {
	values, err := godotenv.UnmarshalBytes(raw)
	if err != nil {
		return nil, false
	}
	for name := range values {
		if !variable.MatchString(name) {
			return nil, false
		}
	}
	return values, true
}

// variable is the name of one (POSIX.1, Base Definitions, chapter 8).
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// firstBadLine is the line from which on no beginning of the file parses any more. One that ends within quotes does not
// either, but a longer one does.
func firstBadLine(raw []byte) int {
	lines := bytes.SplitAfter(raw, []byte("\n"))
	bad := len(lines)
	for bad > 1 {
		if _, ok := parseDotEnv(bytes.Join(lines[:bad-1], nil)); ok {
			break
		}
		bad--
	}
	return bad
}
