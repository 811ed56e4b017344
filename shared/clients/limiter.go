package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/table"
)

const (
	limitPartition = "limit/register"
	limitWindow    = time.Minute
	// limitShards spreads the counting of one minute over several items: many workers on one item by compare-and-swap
	// need many tries for each success.
	limitShards = 6
	// limitBlock is how many registrations a process takes from the table at a time.
	limitBlock = 5
)

// Limiter bounds how many new clients the whole service registers per minute. It is global, since hosted clients share
// addresses: one per address would hurt the many behind one address, and stop no one who has many. The count is held in
// the table, in shards; a process takes registrations in blocks and asks the table only when its block is used up. A
// process that has found a minute full asks no more until the next, so that a flood costs no reads.
type Limiter struct {
	Table     table.Table
	Now       func() time.Time
	Rand      io.Reader
	PerMinute int

	mu     sync.Mutex
	minute int64
	left   int
	full   bool
}

// Take takes one registration of the running minute. The error is an *oauth.Error, 429 with Retry-After, or wraps
// table.ErrUnavailable.
func (l *Limiter) Take(ctx context.Context) error {
	l.mu.Lock() // also while the table is asked: who comes next wants the same block
	defer l.mu.Unlock()
	now := l.Now()
	if minute := now.Unix() / int64(limitWindow/time.Second); minute != l.minute {
		l.minute, l.left, l.full = minute, 0, false
	}
	if l.left == 0 && !l.full {
		block, err := l.takeBlock(ctx)
		if err != nil {
			return err
		}
		l.left, l.full = block, block == 0
	}
	if l.full {
		next := time.Unix((l.minute+1)*int64(limitWindow/time.Second), 0)
		return &oauth.Error{
			Code:        oauth.TemporarilyUnavailable,
			Description: "too many clients are registering; try again in a minute",
			Status:      http.StatusTooManyRequests, // RFC 6585 section 4
			RetryAfter:  max(next.Sub(now), time.Second),
		}
	}
	l.left--
	return nil
}

// takeBlock takes a block from one of the minute's shards, beginning with a random one. 0 means that all are used up.
func (l *Limiter) takeBlock(ctx context.Context) (int, error) {
	shards := min(limitShards, max(l.PerMinute, 1))
	var b [1]byte
	if _, err := io.ReadFull(l.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("reading random bytes: %w", err)
	}
	const rounds = 8 // a shard that is contended is come back to
	for range rounds {
		contended := false
		for i := range shards {
			shard := (int(b[0]) + i) % shards
			capacity := (l.PerMinute + shard) / shards // they add up to PerMinute
			block, err := l.takeFrom(ctx, shard, capacity)
			switch {
			case errors.Is(err, table.ErrConflict) || errors.Is(err, table.ErrExists):
				contended = true
			case err != nil:
				return 0, fmt.Errorf("counting registrations: %w", err)
			case block > 0:
				return block, nil
			}
		}
		if !contended {
			return 0, nil
		}
	}
	return 0, fmt.Errorf("counting registrations: %w: too contended", table.ErrUnavailable)
}

func (l *Limiter) takeFrom(ctx context.Context, shard, capacity int) (int, error) {
	if capacity == 0 {
		return 0, nil
	}
	key := table.Key{Partition: limitPartition, Sort: fmt.Sprintf("%d/%d", l.minute, shard)}
	items, err := l.Table.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	item := table.Item{Key: key, Expires: time.Unix((l.minute+2)*int64(limitWindow/time.Second), 0)}
	taken := 0
	if items[0] != nil {
		if taken, err = strconv.Atoi(string(items[0].Data)); err != nil {
			return 0, fmt.Errorf("reading count: %w", err)
		}
		item.Version = items[0].Version
	}
	block := min(limitBlock, capacity-taken)
	if block <= 0 {
		return 0, nil
	}
	item.Data = strconv.AppendInt(nil, int64(taken+block), 10)
	if items[0] == nil {
		_, err = l.Table.Create(ctx, item)
	} else {
		_, err = l.Table.Replace(ctx, item)
	}
	if err != nil {
		return 0, err
	}
	return block, nil
}
