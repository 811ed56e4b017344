package main

import (
	"testing"

	"mcp-access-oauth/test/budget"
)

func TestMain(m *testing.M) { budget.Main(m, main) }

func TestStart(t *testing.T) {
	budget.New(t).Refuses([][2]string{{"TABLE_NAME", ""}, {"KMS_KEY_ID", ""}, {"STACK_NAME", ""}, {"AWS_REGION", ""}})
}

// The schedule's event says nothing that the janitor needs.
func TestBudget(t *testing.T) {
	c := budget.New(t)
	janitor := c.Start()
	run := func() {
		t.Helper()
		if outcome := janitor.Invoke(`{}`); outcome.Failed {
			t.Errorf("the janitor fails: %s", outcome.Body)
		}
	}
	c.Spend("the first run ever makes the keyset", budget.Calls{Reads: 1, Writes: 1, KMS: 1}, run)
	c.Spend("a run with nothing to do", budget.Calls{Reads: 1}, run)
	janitor = c.Start()
	c.Spend("the same after a cold start", budget.Calls{Reads: 1, KMS: 1}, run)
}
