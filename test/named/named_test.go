package named

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcp-access-oauth/test/npm"
)

// TestPages: every test that a page of docs/ names is in the source.
func TestPages(t *testing.T) {
	root := npm.Root(t)
	tests, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		page, err := os.ReadFile(path)
		count += len(Name.FindAll(page, -1))
		for _, problem := range tests.Missing(string(page)) {
			t.Errorf("%s: %s", filepath.Base(path), problem)
		}
		return err
	})
	if err != nil || count == 0 {
		t.Errorf("%d tests are named: %v", count, err)
	}
}

func TestMissing(t *testing.T) {
	tests := Tests{"pkg": {"TestX": {"sub test": true}}}
	for page, want := range map[string]string{
		"`pkg.TestX` and `pkg.TestX/sub test`": "",
		"`pkg.TestY`":                          "there is no test pkg.TestY",
		"`other.TestX`":                        "there is no test other.TestX",
		"`pkg.TestX/sub`":                      `pkg.TestX has no subtest "sub"`,
		"`shared/pkg`, `pkg.Text`, TestY":      "",
	} {
		if got := strings.Join(tests.Missing(page), "\n"); got != want {
			t.Errorf("%s: %q, want %q", page, got, want)
		}
	}
}
