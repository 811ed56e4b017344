// Package named reads which tests there are, so that pages which name tests can be held to the source. A page names a test
// as `package.Test`, with the folder for the package, or `package.Test/subtest`.
package named

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Tests are the tests of the module: by package and name, the texts that stand in each, its subtests' names among them.
type Tests map[string]map[string]map[string]bool

// Name matches a test that is named on a page: package, test, subtest.
var Name = regexp.MustCompile("`([a-z][a-z0-9]*)\\.((?:Test|Fuzz|Benchmark)\\w+)(?:/([^`]+))?`")

// Missing lists the tests that the page names and that do not exist.
func (tests Tests) Missing(page string) (problems []string) {
	for _, found := range Name.FindAllStringSubmatch(page, -1) {
		pkg, test, sub := found[1], found[2], found[3]
		texts, ok := tests[pkg][test]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("there is no test %s.%s", pkg, test))
		case sub != "" && !texts[sub]:
			problems = append(problems, fmt.Sprintf("%s.%s has no subtest %q", pkg, test, sub))
		}
	}
	return problems
}

// Read reads every test of the module at root.
func Read(root string) (Tests, error) {
	tests := Tests{}
	return tests, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != root):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := filepath.Base(filepath.Dir(path))
		if tests[pkg] == nil {
			tests[pkg] = map[string]map[string]bool{}
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Recv != nil || !isTest(function.Name.Name) {
				continue
			}
			texts := map[string]bool{}
			ast.Inspect(function, func(node ast.Node) bool {
				if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						texts[text] = true
					}
				}
				return true
			})
			tests[pkg][function.Name.Name] = texts
		}
		return nil
	})
}

func isTest(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
