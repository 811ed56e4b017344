package journeys

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mcp-access-oauth/test/npm"
)

// TestClientsPage holds docs/clients.md to itself and to the replays: every cell of its table says something, every number
// is in the list, every number of the list is used, and what is said to be replayed is. That the named tests exist is for
// test/named.
func TestClientsPage(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(npm.Root(t), "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	listed := map[string]bool{}
	for _, item := range regexp.MustCompile("(?m)^(\\d+)\\. `").FindAllStringSubmatch(page, -1) {
		listed[item[1]] = false
	}
	_, table, _ := strings.Cut(page, "| client |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	if len(rows) != 10 || len(listed) < 20 {
		t.Fatalf("%d clients, %d tests", len(rows), len(listed))
	}
	cell := regexp.MustCompile(`^(–|o|(?:(?:loopback|native|https)(?:, https)? )?\d+(?: \d+)*)$`)
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 13 {
			t.Errorf("%d cells in %s", len(cells), row)
		}
		for _, text := range cells[1:] {
			if !cell.MatchString(text) {
				t.Errorf("%s: a cell says %q", cells[0], text)
			}
			for _, number := range regexp.MustCompile(`\d+`).FindAllString(text, -1) {
				if _, ok := listed[number]; !ok {
					t.Errorf("%s: test %s is not in the list", cells[0], number)
				}
				listed[number] = true
			}
		}
	}
	for number, used := range listed {
		if !used && number != "17" { // clients that one registers oneself are of any make
			t.Errorf("no client has test %s", number)
		}
	}
	_, replayed, _ := strings.Cut(page, "What is replayed: ")
	replayed, _, _ = strings.Cut(replayed, "\n\n")
	replayed = strings.Join(strings.Fields(replayed), " ")
	for name := range replays {
		if !strings.Contains(replayed, name) {
			t.Errorf("the page does not say that %s is replayed", name)
		}
	}
	if got := strings.Count(replayed, ";") + strings.Count(replayed, " and "); got != len(replays)-1 {
		t.Errorf("%d are said to be replayed, and %d are", got+1, len(replays))
	}
}
