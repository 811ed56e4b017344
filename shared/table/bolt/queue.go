package bolt

import (
	"context"
	"errors"
	"sync"

	"go.etcd.io/bbolt"
)

// maxBatch bounds the writes of one transaction, and so how long the first of them waits for the last.
const maxBatch = 256

var (
	errNothingChanged = errors.New("nothing changed")
	errAbandoned      = errors.New("the writing transaction panicked")
)

// queue lets writes that come at the same time share a transaction. A writer that finds no transaction under way
// runs its own at once, in its own goroutine; those that arrive meanwhile wait, and the next of them writes for all.
// So a lone writer pays nothing for it, and thirty-two wait for the disk once instead of thirty-two times. (bbolt's
// own Batch waits for a timer instead.)
type queue struct {
	db   *bbolt.DB
	turn chan struct{} // holds one token: whoever has it writes

	mu      sync.Mutex
	waiting []*write
}

// write is one conditional write. apply says why it is refused, having changed nothing, or what fault of the store
// hinders it, after which nothing of the whole transaction is kept.
type write struct {
	ctx   context.Context
	apply func(tx *bbolt.Tx) (refused, fault error)
	err   error
	done  chan struct{}
}

// do applies one write and returns once it is on the disk, refused or failed. A context that ends while the write
// still waits withdraws it; after that its outcome is awaited, so that what do says is always what happened.
func (q *queue) do(ctx context.Context, apply func(tx *bbolt.Tx) (refused, fault error)) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	w := &write{ctx: ctx, apply: apply, done: make(chan struct{})}
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	q.mu.Unlock()

	for {
		select {
		case <-w.done:
			return w.err
		case q.turn <- struct{}{}:
			q.run()
		}
	}
}

// run writes for the writers that wait now, and gives the turn back.
func (q *queue) run() {
	defer func() { <-q.turn }()
	q.mu.Lock()
	n := min(len(q.waiting), maxBatch)
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	q.mu.Unlock()
	if n == 0 {
		return
	}
	commit(q.db, batch)
}

func commit(db *bbolt.DB, batch []*write) {
	err := errAbandoned
	defer func() {
		for _, w := range batch {
			// A refusal counts for nothing either when the transaction is lost: it may have been due to an earlier
			// write of the same transaction.
			if err != nil {
				w.err = unavailable(err)
			}
			close(w.done)
		}
	}()
	err = db.Update(func(tx *bbolt.Tx) error {
		changed := false
		for _, w := range batch {
			if ended := w.ctx.Err(); ended != nil {
				w.err = unavailable(ended)
				continue
			}
			refused, fault := w.apply(tx)
			if fault != nil {
				return fault
			}
			w.err = refused
			changed = changed || refused == nil
		}
		if !changed {
			return errNothingChanged // rolls back: a refusal costs no write to the disk
		}
		return nil
	})
	if errors.Is(err, errNothingChanged) {
		err = nil
	}
}
