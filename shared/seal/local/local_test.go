package local

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/shared/seal"
)

const secret = "3f9a1c77e0b24d5c8a6e91d2b7f04c3e5a8d6b1f2c9e7a04d3b6f8e1a5c7092d"

func TestFromSecret(t *testing.T) {
	a, err := FromSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := FromSecret(secret)
	sealed, err := seal.New(a, time.Now).Seal(t.Context(), "cookie", "tx", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := seal.New(b, time.Now).Open(t.Context(), "cookie", "tx", sealed); err != nil || string(opened) != "text" {
		t.Errorf("another process with the same secret: %q, %v", opened, err)
	}
	c, _ := FromSecret(secret + "x")
	if _, err := seal.New(c, time.Now).Open(t.Context(), "cookie", "tx", sealed); err == nil {
		t.Error("another secret opens")
	}
	if strings.Contains(sealed, secret[:8]) {
		t.Error("the key id shows the secret")
	}
}

func TestFromSecretRefusesWeakOnes(t *testing.T) {
	for _, weak := range []string{"", "short", secret[:31], strings.Repeat("0", 64), strings.Repeat("changeme", 8)} {
		_, err := FromSecret(weak)
		if err == nil || !strings.Contains(err.Error(), Variable) || !strings.Contains(err.Error(), "openssl rand -hex 32") {
			t.Errorf("FromSecret(%q) = %v, want an error that names the variable and the cure", weak, err)
		}
		if err != nil && weak != "" && strings.Contains(err.Error(), weak) {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
	if _, err := FromSecret("correct horse battery staple, and then some"); err != nil {
		t.Errorf("a long passphrase is refused: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	first, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("keyset file: %v, %v; want mode 0600", info, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files are left: %v", entries)
	}
	second, err := Open(dir)
	if err != nil || first.keyset.Keys[0] != second.keyset.Keys[0] {
		t.Errorf("the second start has another key: %v", err)
	}
}

func TestOpenRace(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	ids := make(map[string]bool)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			source, err := Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			ids[source.keyset.Keys[0].ID] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("racing starts made %d keysets, want one", len(ids))
	}
}

func TestOpenRefuses(t *testing.T) {
	good, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, _ := good.keyset.Encode()
	tests := []struct {
		name    string
		content string
		mode    os.FileMode
		want    string
	}{
		{"readable by others", string(data), 0o644, "chmod 600"},
		{"damaged", "{", 0o600, "damaged"},
		{"empty, as after a crash", "", 0o600, "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, File)
			if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, want %q in it", err, tt.want)
			}
			if after, _ := os.ReadFile(path); string(after) != tt.content {
				t.Error("a refused file was changed")
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a data directory that is a file is accepted")
	}
}
