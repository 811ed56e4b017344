package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDotEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	if err := loadDotEnv(file); err != nil {
		t.Errorf("without a file: %v", err)
	}
	t.Setenv("LOCAL_TEST_SET", "by the environment")
	t.Setenv("LOCAL_TEST_READ", "") // for the clean-up
	os.Unsetenv("LOCAL_TEST_READ")
	text := "# comment\nLOCAL_TEST_SET=by the file\n\nLOCAL_TEST_READ='two\nlines'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadDotEnv(file); err != nil || os.Getenv("LOCAL_TEST_SET") != "by the environment" || os.Getenv("LOCAL_TEST_READ") != "two\nlines" {
		t.Errorf("read %q and %q, %v", os.Getenv("LOCAL_TEST_SET"), os.Getenv("LOCAL_TEST_READ"), err)
	}
}

// What cannot be read is named by its line, and never quoted: it may be a secret, or stand before one.
func TestDotEnvErrors(t *testing.T) {
	for _, c := range []struct{ name, text, line string }{
		{"no assignment", "A=1\nno assignment hunter2\nSECRET=hunter2\n", "line 2"},
		{"on the last line", "A=1\nB=2\nhunter2", "line 3"},
		{"a space in a name", "HUNTER TWO=hunter2\n", "line 1"},
		{"a quote that does not end", "A='two\nlines'\nSECRET=\"hunter2\nB=1\n", "line 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), ".env")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := loadDotEnv(file)
			if err == nil || !strings.Contains(err.Error(), ".env "+c.line+" ") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v, want one about %s", err, c.line)
			}
		})
	}
	if err := loadDotEnv(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}
