package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mcp-access-oauth/shared/table"
)

// Bounds of the mailbox.
const (
	// MessageLife is how long a message waits to be fetched.
	MessageLife = time.Minute
	// MaxStreams is how many streams one person has at a time; opening another ends the oldest.
	MaxStreams = 2
	// maxPart is the largest part of a message that is one item.
	maxPart = 200 << 10
	// maxMessage bounds a message, all its parts together.
	maxMessage = 8 << 20
)

var (
	// ErrNoStream is returned by Open for a stream that does not exist, has ended, or is another person's or client's.
	ErrNoStream = errors.New("state: no such stream")
	// ErrStreamEnded is returned by Fetch when a newer stream of the same person has taken this one's place.
	ErrStreamEnded = errors.New("state: the stream has ended")
)

// Mailbox carries messages to streams that any process may hold open. A stream belongs to one person and client: its
// items stand under a hash of all three, so that for anyone else it does not exist.
type Mailbox struct {
	Store

	mu     sync.Mutex
	wakers map[string]chan struct{} // of the streams that this process holds open, by partition
}

// NewMailbox returns a mailbox on the table of s.
func NewMailbox(s *Store) *Mailbox {
	return &Mailbox{Store: Store{Table: s.Table, Now: s.Now, Rand: s.Rand}, wakers: map[string]chan struct{}{}}
}

// Stream is the reading end of a stream. It is not safe for concurrent use.
type Stream struct {
	ID string
	// Woken is signalled when a message was sent in this process, so that its reader need not wait for its next look.
	Woken <-chan struct{}

	mailbox   *Mailbox
	partition string
	record    table.Key
	version   string
	seen      map[string]bool // fetched items whose removal failed
}

// OpenStream opens a stream for a person and client until it is closed, at most for life.
func (m *Mailbox) OpenStream(ctx context.Context, user, client string, life time.Duration) (*Stream, error) {
	var random [16]byte
	if err := m.random(random[:]); err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%x", random)
	partition := streamPartition(user, client, id)
	s := &Stream{ID: id, mailbox: m, partition: partition, record: recordKey(partition), seen: map[string]bool{}}
	expires := m.now().Add(life)
	var err error
	if s.version, err = m.Table.Create(ctx, table.Item{Key: s.record, Data: []byte("{}"), Expires: expires}); err != nil {
		return nil, fmt.Errorf("opening stream: %w", err)
	}
	if err := m.takeSlot(ctx, user, partition, expires); err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	s.Woken = wake
	m.mu.Lock()
	m.wakers[partition] = wake
	m.mu.Unlock()
	return s, nil
}

// openStream is an entry of a person's list of streams.
type openStream struct {
	Partition string    `json:"partition"`
	Expires   time.Time `json:"expires"`
}

// takeSlot puts a stream on its person's list. The oldest beyond MaxStreams is told to end: a client that lost its
// connection comes back at once, while the server may not have noticed, so the newest stream is the one that counts.
func (m *Mailbox) takeSlot(ctx context.Context, user, partition string, expires time.Time) error {
	key := table.Key{Partition: "streams/" + hash("user", user), Sort: "open"}
	for range maxTries {
		items, err := m.Table.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("listing streams: %w", err)
		}
		item := items[0]
		var streams []openStream
		if item != nil {
			if err := json.Unmarshal(item.Data, &streams); err != nil {
				return fmt.Errorf("listing streams: %w", err)
			}
		}
		now := m.now()
		streams = slices.DeleteFunc(streams, func(s openStream) bool { return !now.Before(s.Expires) })
		streams = append(streams, openStream{partition, expires})
		if len(streams) > MaxStreams { // some may have been closed
			if streams, err = m.stillOpen(ctx, streams); err != nil {
				return err
			}
		}
		var ended []openStream
		if over := len(streams) - MaxStreams; over > 0 {
			ended, streams = streams[:over], streams[over:]
		}
		data, err := json.Marshal(streams)
		if err != nil {
			return fmt.Errorf("listing streams: %w", err)
		}
		last := slices.MaxFunc(streams, func(a, b openStream) int { return a.Expires.Compare(b.Expires) }).Expires
		if item == nil {
			_, err = m.Table.Create(ctx, table.Item{Key: key, Data: data, Expires: last})
		} else {
			item.Data, item.Expires = data, last
			_, err = m.Table.Replace(ctx, *item)
		}
		switch {
		case err == nil:
			for _, s := range ended {
				if err := m.end(ctx, s.Partition); err != nil {
					return err
				}
			}
			return nil
		case !errors.Is(err, table.ErrConflict) && !errors.Is(err, table.ErrExists):
			return fmt.Errorf("listing streams: %w", err)
		}
	}
	return ErrBusy
}

// stillOpen keeps the streams that have a record, and the last, which is the caller's own.
func (m *Mailbox) stillOpen(ctx context.Context, streams []openStream) ([]openStream, error) {
	keys := make([]table.Key, len(streams))
	for i, s := range streams {
		keys[i] = recordKey(s.Partition)
	}
	records, err := m.Table.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("listing streams: %w", err)
	}
	var open []openStream
	for i, record := range records {
		if record != nil || i == len(streams)-1 {
			open = append(open, streams[i])
		}
	}
	return open, nil
}

// end removes a stream's record, so that it takes no more messages, and tells its reader.
func (m *Mailbox) end(ctx context.Context, partition string) error {
	items, err := m.Table.Get(ctx, recordKey(partition))
	if err != nil {
		return fmt.Errorf("ending stream: %w", err)
	}
	if items[0] != nil {
		if err := m.Table.Delete(ctx, items[0].Key, items[0].Version); err != nil && !errors.Is(err, table.ErrConflict) {
			return fmt.Errorf("ending stream: %w", err)
		}
	}
	out := &Outbox{mailbox: m, partition: partition}
	return out.send(ctx, endOfStream, []byte("end"))
}

// Close ends the stream. Messages that were not fetched expire.
func (s *Stream) Close(ctx context.Context) error {
	s.mailbox.mu.Lock()
	delete(s.mailbox.wakers, s.partition)
	s.mailbox.mu.Unlock()
	if err := s.mailbox.Table.Delete(ctx, s.record, s.version); err != nil && !errors.Is(err, table.ErrConflict) {
		return fmt.Errorf("closing stream: %w", err)
	}
	return nil
}

// The last character of an item's key says what it is.
const (
	morePart    = "0" // a part of a message that goes on
	lastPart    = "1"
	endOfStream = "2"
)

// Fetch takes the messages that have arrived, in the order in which each sender sent them. Each is returned once. A
// message whose last part has not arrived waits for it.
func (s *Stream) Fetch(ctx context.Context) (messages [][]byte, err error) {
	var items []table.Item
	options := table.ListOptions{}
	for {
		page, err := s.mailbox.Table.List(ctx, s.partition, options)
		if err != nil {
			return nil, fmt.Errorf("fetching messages: %w", err)
		}
		items = append(items, page.Items...)
		if options.Cursor = page.Cursor; page.Cursor == "" {
			break
		}
	}
	var parts []table.Item
	for _, item := range items {
		if s.seen[item.Key.Sort] {
			s.remove(ctx, item) // its removal failed before; try again
			continue
		}
		if len(parts) > 0 && sender(parts[0]) != sender(item) {
			parts = nil // an unfinished message of another sender stays where it is
		}
		parts = append(parts, item)
		switch kind(item) {
		case lastPart:
			var message []byte
			for _, part := range parts {
				message = append(message, part.Data...)
				s.remove(ctx, part)
			}
			messages = append(messages, message)
			parts = nil
		case endOfStream:
			return messages, ErrStreamEnded
		}
	}
	return messages, nil
}

// remove takes an item that was fetched out of the table. Where that fails it is remembered, and expires.
func (s *Stream) remove(ctx context.Context, item table.Item) {
	if err := s.mailbox.Table.Delete(ctx, item.Key, item.Version); err == nil || errors.Is(err, table.ErrConflict) {
		delete(s.seen, item.Key.Sort)
		return
	}
	s.seen[item.Key.Sort] = true
}

func sender(item table.Item) string { return item.Key.Sort[:min(len(item.Key.Sort), 32)] }
func kind(item table.Item) string   { return item.Key.Sort[max(0, len(item.Key.Sort)-1):] }

// Outbox is the sending end of a stream, for one request; what it sends arrives in order. It is safe for concurrent
// use.
type Outbox struct {
	mailbox   *Mailbox
	partition string

	mu       sync.Mutex
	id       string
	sequence int
}

// Open finds a stream of this person and client; ErrNoStream when there is none.
func (m *Mailbox) Open(ctx context.Context, user, client, id string) (*Outbox, error) {
	if id == "" || len(id) > 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, ErrNoStream
	}
	partition := streamPartition(user, client, id)
	items, err := m.Table.Get(ctx, recordKey(partition))
	if err != nil {
		return nil, fmt.Errorf("finding stream: %w", err)
	}
	if items[0] == nil {
		return nil, ErrNoStream
	}
	return &Outbox{mailbox: m, partition: partition}, nil
}

// Send puts a message in the mailbox. A large one is cut into several items.
func (o *Outbox) Send(ctx context.Context, message []byte) error {
	if len(message) > maxMessage {
		return ErrTooLarge
	}
	return o.send(ctx, lastPart, message)
}

func (o *Outbox) send(ctx context.Context, last string, message []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.id == "" {
		var err error
		if o.id, err = o.mailbox.orderedID(); err != nil {
			return err
		}
	}
	for {
		part, mark := message, last
		if len(part) > maxPart {
			part, mark = part[:maxPart], morePart
		}
		message = message[len(part):]
		o.sequence++
		item := table.Item{
			Key:     table.Key{Partition: o.partition, Sort: fmt.Sprintf("%s-%06d-%s", o.id, o.sequence, mark)},
			Data:    part,
			Expires: o.mailbox.now().Add(MessageLife),
		}
		if _, err := o.mailbox.Table.Create(ctx, item); err != nil {
			return fmt.Errorf("sending message: %w", err)
		}
		if mark != morePart {
			break
		}
	}
	o.mailbox.mu.Lock()
	wake := o.mailbox.wakers[o.partition]
	o.mailbox.mu.Unlock()
	select {
	case wake <- struct{}{}: // a nil channel, of a stream in another process, is never ready
	default:
	}
	return nil
}

func streamPartition(user, client, id string) string {
	return "message/" + hash("stream", user, client, id)
}

// recordKey stands in a partition of its own, so that a look for messages finds messages alone.
func recordKey(partition string) table.Key {
	return table.Key{Partition: "stream/" + strings.TrimPrefix(partition, "message/"), Sort: "open"}
}
