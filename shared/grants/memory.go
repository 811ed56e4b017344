package grants

import (
	"bytes"
	"crypto/sha256"
	"sync"
	"time"
)

// memorySize bounds each of the two halves of a memory. An entry holds a few kilobytes.
const memorySize = 1024

// memory remembers what access tokens gave, as long as the bytes of their grant's item are the same. The item is still
// read at each call, so a revocation takes effect at the next one; what is spared is decoding and opening. It forgets
// by halves: when the young half is full it becomes the old one, and what is asked for in the old one moves to the young.
type memory struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]remembered
}

type remembered struct {
	data   []byte
	access Access
}

func (r *memory) get(sum [sha256.Size]byte, data []byte, now time.Time) (Access, bool) {
	r.mu.Lock()
	entry, ok := r.young[sum]
	if !ok {
		if entry, ok = r.old[sum]; ok {
			delete(r.old, sum)
			r.put(sum, entry)
		}
	}
	r.mu.Unlock()
	if !ok {
		return Access{}, false
	}
	if !now.Before(entry.access.Expires) || !bytes.Equal(entry.data, data) {
		r.forget(sum)
		return Access{}, false
	}
	return entry.access, true
}

func (r *memory) remember(sum [sha256.Size]byte, data []byte, a Access) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(sum, remembered{data, a})
}

func (r *memory) forget(sum [sha256.Size]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, sum)
	delete(r.old, sum)
}

// put wants the lock.
func (r *memory) put(sum [sha256.Size]byte, entry remembered) {
	if r.young == nil || len(r.young) >= memorySize {
		r.young, r.old = make(map[[sha256.Size]byte]remembered), r.young
	}
	r.young[sum] = entry
}
