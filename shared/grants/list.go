package grants

import (
	"context"
	"fmt"
	"time"

	"mcp-access-oauth/shared/table"
)

// Summary is what a list tells of a grant without any of its secrets.
type Summary struct {
	ID, ClientID, ClientName   string
	Scopes                     []string
	Resource                   string
	Created, LastUsed, Expires time.Time
}

// ListByUser lists one person's live grants (policy.Identity.User), a page at a time; an empty cursor begins and ends
// the list. The list comes from an index and may lag: it decides nothing.
func (s *Store) ListByUser(ctx context.Context, user, cursor string) ([]Summary, string, error) {
	return s.list(ctx, table.ByUser, UserIndex(user), cursor)
}

// ListByClient lists the live grants of one client.
func (s *Store) ListByClient(ctx context.Context, clientID, cursor string) ([]Summary, string, error) {
	return s.list(ctx, table.ByClient, clientIndex(clientID), cursor)
}

// HasLiveGrant reports whether a client has a grant that lives, so that nobody drops it.
func (s *Store) HasLiveGrant(ctx context.Context, clientID string) (bool, error) {
	for cursor := ""; ; {
		found, next, err := s.ListByClient(ctx, clientID, cursor)
		if err != nil || len(found) > 0 || next == "" {
			return len(found) > 0, err
		}
		cursor = next
	}
}

func (s *Store) list(ctx context.Context, index table.Index, value, cursor string) ([]Summary, string, error) {
	page, err := s.Table.ListIndex(ctx, index, value, table.ListOptions{Cursor: cursor})
	if err != nil {
		return nil, "", fmt.Errorf("listing grants: %w", err)
	}
	var found []Summary
	m := s.moment()
	for _, item := range page.Items {
		if item.Key.Sort != sortKey {
			continue // another kind of record of the same person or client
		}
		g, err := Decode(item)
		if err != nil {
			return nil, "", err
		}
		if g.live(m) {
			found = append(found, Summary{
				ID: g.ID, ClientID: g.ClientID, ClientName: g.ClientName, Scopes: g.Scopes, Resource: g.Resource,
				Created: g.Created.time(), LastUsed: g.LastUsed.time(), Expires: g.Ends.time(),
			})
		}
	}
	return found, page.Cursor, nil
}
