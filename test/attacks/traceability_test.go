package attacks

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/test/named"
	"mcp-access-oauth/test/npm"
)

// cases are how many attacks each letter has.
var cases = map[string]int{"A": 13, "B": 13, "C": 8, "D": 10, "E": 7, "F": 7, "G": 8, "H": 10}

// TestTraceability holds docs/traceability.md to the source.
func TestTraceability(t *testing.T) {
	root := npm.Root(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "traceability.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := named.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range untraced(string(page), tests) {
		t.Error(problem)
	}
}

var row = regexp.MustCompile(`(?m)^\| ([A-H]\d\d) \|.*\|(.*)\|$`)

// untraced lists what is wrong with the page.
func untraced(page string, tests named.Tests) (problems []string) {
	held, rows := map[string]int{}, map[string]string{}
	for _, found := range row.FindAllStringSubmatch(page, -1) {
		held[found[1]]++
		rows[found[1]] = found[2]
		if !named.Name.MatchString(found[2]) {
			problems = append(problems, found[1]+" names no test")
		}
	}
	for _, letter := range slices.Sorted(maps.Keys(cases)) {
		for n := range cases[letter] {
			if id := fmt.Sprintf("%s%02d", letter, n+1); held[id] != 1 {
				problems = append(problems, fmt.Sprintf("%s has %d rows, want 1", id, held[id]))
			}
			delete(held, fmt.Sprintf("%s%02d", letter, n+1))
		}
	}
	for id := range held {
		problems = append(problems, id+" is no case")
	}
	for pkg, functions := range tests {
		for test := range functions {
			for part := range strings.SplitSeq(strings.TrimPrefix(test, "Test"), "_") {
				if text, is := rows[part]; is && !strings.Contains(text, "`"+pkg+"."+test+"`") && !strings.Contains(text, "`"+pkg+"."+test+"/") {
					problems = append(problems, fmt.Sprintf("the row of %s does not name %s.%s", part, pkg, test))
				}
			}
		}
	}
	slices.Sort(problems)
	return append(problems, tests.Missing(page)...)
}

// TestTraceabilityIsChecked shows that a page which is wrong is found out.
func TestTraceabilityIsChecked(t *testing.T) {
	tests := named.Tests{"pkg": {"TestA01_X": {"sub test": true}, "TestOther": {}}}
	var good strings.Builder
	for letter, n := range cases {
		for i := range n {
			fmt.Fprintf(&good, "| %s%02d | an attack | `pkg.TestA01_X` |\n", letter, i+1)
		}
	}
	for name, test := range map[string]struct {
		page string
		want string
	}{
		"all is there":    {good.String(), ""},
		"no row for it":   {strings.Replace(good.String(), "| A01 | an attack | `pkg.TestA01_X` |", "| A01 | an attack | `pkg.TestOther` |", 1), "the row of A01 does not name pkg.TestA01_X"},
		"a subtest":       {good.String() + "`pkg.TestA01_X/sub test`", ""},
		"a case missing":  {strings.Replace(good.String(), "| B03 |", "| - |", 1), "B03 has 0 rows, want 1"},
		"a case twice":    {good.String() + "| B03 | x | `pkg.TestA01_X` |\n", "B03 has 2 rows, want 1"},
		"no such case":    {good.String() + "| H11 | x | `pkg.TestA01_X` |\n", "H11 is no case"},
		"no test":         {strings.Replace(good.String(), "| C04 | an attack | `pkg.TestA01_X` |", "| C04 | an attack | soon |", 1), "C04 names no test"},
		"unknown test":    {good.String() + "`pkg.TestA01_Y`", "there is no test pkg.TestA01_Y"},
		"unknown package": {good.String() + "`other.TestA01_X`", "there is no test other.TestA01_X"},
		"unknown subtest": {good.String() + "`pkg.TestA01_X/sub`", `pkg.TestA01_X has no subtest "sub"`},
	} {
		if got := strings.Join(untraced(test.page, tests), "\n"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestH10_SecretsAreComparedInConstantTime looks at the source, since a clock cannot tell: the functions that compare what a
// stranger presents with what we keep do so in constant time, and no other way of comparing bytes stands beside them.
func TestH10_SecretsAreComparedInConstantTime(t *testing.T) {
	root := filepath.Join(npm.Root(t), "shared")
	compares := map[string]bool{"grants.matches": false, "grants.genuineRefresh": false, "clients.secretMatches": false, "oauth.VerifyS256": false}
	for _, pkg := range []string{"grants", "clients", "oauth", "signin", "tokens", "upstream", "seal", "mcpserver"} {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no files: %v", pkg, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declaration := range file.Decls {
				function, ok := declaration.(*ast.FuncDecl)
				if !ok {
					continue
				}
				name := pkg + "." + function.Name.Name
				ast.Inspect(function, func(node ast.Node) bool {
					selector, ok := node.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					switch from, _ := selector.X.(*ast.Ident); {
					case from == nil:
					case from.Name == "subtle" && selector.Sel.Name == "ConstantTimeCompare":
						if _, wanted := compares[name]; wanted {
							compares[name] = true
						}
					case name == "grants.get": // both sides are the item's own bytes, none is presented
					case from.Name == "bytes" && (selector.Sel.Name == "Equal" || selector.Sel.Name == "Compare"), from.Name == "reflect":
						t.Errorf("%s compares with %s.%s", name, from.Name, selector.Sel.Name)
					}
					return true
				})
			}
		}
	}
	for name, found := range compares {
		if !found {
			t.Errorf("%s does not compare in constant time", name)
		}
	}
}
