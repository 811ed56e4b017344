package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcp-access-oauth/shared/table"
)

const life = 5 * time.Minute

// instances are two processes on one table.
func instances(f *fixture) (here, there *Mailbox) {
	return NewMailbox(f.Store), NewMailbox(&Store{Table: f.table, Now: f.clock.Now})
}

func opened(t *testing.T, m *Mailbox, user, client string) *Stream {
	t.Helper()
	stream, err := m.OpenStream(t.Context(), user, client, life)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func outbox(t *testing.T, m *Mailbox, user, client string, stream *Stream) *Outbox {
	t.Helper()
	out, err := m.Open(t.Context(), user, client, stream.ID)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func send(t *testing.T, out *Outbox, messages ...string) {
	t.Helper()
	for _, message := range messages {
		if err := out.Send(t.Context(), []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
}

func fetch(t *testing.T, stream *Stream, want ...string) {
	t.Helper()
	messages, err := stream.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, message := range messages {
		got = append(got, string(message))
	}
	if !slices.Equal(got, want) {
		t.Errorf("fetched %.200q, want %.200q", got, want)
	}
}

// A message sent in one process is fetched in another: in order, once.
func TestMessages(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		here, there := instances(f)
		var stream *Stream
		f.budget(t, "opening", 1, 2, func() { stream = opened(t, here, "ada", "c1") })
		f.budget(t, "an empty look", 1, 0, func() { fetch(t, stream) })
		var out *Outbox
		f.budget(t, "finding", 1, 0, func() { out = outbox(t, there, "ada", "c1", stream) })
		f.budget(t, "sending", 0, 3, func() { send(t, out, "one", "two", "three") })
		f.budget(t, "fetching", 1, 3, func() { fetch(t, stream, "one", "two", "three") })
		fetch(t, stream)
		send(t, out, "four")
		f.tick()
		send(t, outbox(t, here, "ada", "c1", stream), "five")
		fetch(t, stream, "four", "five")
		f.budget(t, "closing", 0, 1, func() {
			if err := stream.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		if _, err := there.Open(t.Context(), "ada", "c1", stream.ID); !errors.Is(err, ErrNoStream) {
			t.Errorf("a closed stream is open: %v", err)
		}
		if err := stream.Close(t.Context()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
	})
}

// The process that holds the stream learns at once of what is sent in it; another looks for itself.
func TestWoken(t *testing.T) {
	f := newFixture(t)
	here, there := instances(f)
	stream := opened(t, here, "ada", "c1")
	woken := func() bool {
		select {
		case <-stream.Woken:
			return true
		default:
			return false
		}
	}
	send(t, outbox(t, there, "ada", "c1", stream), "far")
	if woken() {
		t.Error("woken by another process")
	}
	near := outbox(t, here, "ada", "c1", stream)
	send(t, near, "one", "two") // the second does not wait for the first to be noticed
	if !woken() || woken() {
		t.Error("two messages are not one awakening")
	}
	if err := stream.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(t, near, "late")
	if woken() || len(here.wakers) != 0 {
		t.Error("a closed stream is woken")
	}
}

func TestLargeMessages(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		here, there := instances(f)
		stream := opened(t, here, "ada", "c1")
		out := outbox(t, there, "ada", "c1", stream)
		part := strings.Repeat("p", maxPart)
		messages := []string{"", part[1:], part, part + "x", part + part, part + part + part + "y", "z"}
		send(t, out, messages...)
		fetch(t, stream, messages...)
		if err := out.Send(t.Context(), make([]byte, maxMessage+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a message over the bound: %v", err)
		}
		fetch(t, stream)
	})
}

// Senders at once, each with messages of several parts: every message arrives whole, and each sender's in order.
func TestSendersAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		here, there := instances(f)
		stream := opened(t, here, "ada", "c1")
		const senders, each = 3, 3
		var group sync.WaitGroup
		for s := range senders {
			out := outbox(t, there, "ada", "c1", stream)
			group.Go(func() {
				for n := range each {
					message := fmt.Sprintf("%d %d ", s, n) + strings.Repeat(fmt.Sprint(s), maxPart+n)
					if err := out.Send(t.Context(), []byte(message)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { group.Wait(); close(done) }()
		next := map[int]int{}
		for finished := false; ; {
			messages, err := stream.Fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range messages {
				var s, n int
				if _, err := fmt.Sscanf(string(message[:4]), "%d %d", &s, &n); err != nil {
					t.Fatal(err)
				}
				if want := strings.Repeat(fmt.Sprint(s), maxPart+n); n != next[s] || string(message[4:]) != want {
					t.Errorf("of sender %d came message %d of %d bytes, want message %d", s, n, len(message), next[s])
				}
				next[s]++
			}
			if finished { // and one look was taken after the last message
				break
			}
			select {
			case <-done:
				finished = true
			default:
			}
		}
		for s := range senders {
			if next[s] != each {
				t.Errorf("of sender %d came %d messages", s, next[s])
			}
		}
	})
}

// A message whose last part is missing waits, and hinders no other.
func TestUnfinishedMessage(t *testing.T) {
	f := newFixture(t)
	here, there := instances(f)
	stream := opened(t, here, "ada", "c1")
	slow := outbox(t, there, "ada", "c1", stream)
	parts := 0
	f.table.before = func(op string, key table.Key) error {
		if parts++; op == "create" && parts == 2 {
			return fmt.Errorf("lost: %w", table.ErrUnavailable)
		}
		return nil
	}
	if err := slow.Send(t.Context(), bytes.Repeat([]byte("s"), 2*maxPart)); !errors.Is(err, table.ErrUnavailable) {
		t.Fatalf("sent: %v", err)
	}
	f.table.before = nil
	f.tick()
	send(t, outbox(t, there, "ada", "c1", stream), "quick")
	fetch(t, stream, "quick")
	fetch(t, stream)
	f.clock.Advance(MessageLife)
	send(t, outbox(t, there, "ada", "c1", stream), "later")
	fetch(t, stream, "later")
}

func TestManyMessages(t *testing.T) {
	f := newFixture(t)
	here, there := instances(f)
	stream := opened(t, here, "ada", "c1")
	out := outbox(t, there, "ada", "c1", stream)
	var want []string
	for n := range 250 { // more than one page of a list
		want = append(want, fmt.Sprint(n))
	}
	send(t, out, want...)
	fetch(t, stream, want...)
}

// What was fetched and could not be removed is not fetched again, and is removed as soon as that works.
func TestRemovalThatFails(t *testing.T) {
	f := newFixture(t)
	here, there := instances(f)
	stream := opened(t, here, "ada", "c1")
	out := outbox(t, there, "ada", "c1", stream)
	send(t, out, "one", strings.Repeat("2", maxPart+1))
	f.table.before = func(op string, _ table.Key) error {
		if op == "delete" {
			return fmt.Errorf("throttled: %w", table.ErrUnavailable)
		}
		return nil
	}
	fetch(t, stream, "one", strings.Repeat("2", maxPart+1))
	send(t, out, "three")
	fetch(t, stream, "three")
	f.table.before = nil
	f.budget(t, "removing", 1, 4, func() { fetch(t, stream) })
	f.budget(t, "an empty look", 1, 0, func() { fetch(t, stream) })
	if len(stream.seen) != 0 {
		t.Errorf("%d removed items are remembered", len(stream.seen))
	}
}

func TestExpiry(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		here, there := instances(f)
		stream := opened(t, here, "ada", "c1")
		out := outbox(t, there, "ada", "c1", stream)
		send(t, out, "first")
		f.clock.Advance(time.Minute - time.Second)
		send(t, out, "second")
		f.clock.Advance(time.Second) // a minute after the first
		fetch(t, stream, "second")
		f.clock.Advance(life - time.Minute - time.Second)
		outbox(t, there, "ada", "c1", stream)
		f.clock.Advance(time.Second)
		if _, err := there.Open(t.Context(), "ada", "c1", stream.ID); !errors.Is(err, ErrNoStream) {
			t.Errorf("a stream outlives its life: %v", err)
		}
	})
}

// To anyone but the person and client that opened it, a stream does not exist.
func TestStreamsAreApart(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		here, there := instances(f)
		stream := opened(t, here, "ada", "c1")
		for _, other := range [][3]string{
			{"bob", "c1", stream.ID}, {"ada", "c2", stream.ID}, {"ada", "", stream.ID}, {"", "c1", stream.ID}, {"adac", "1", stream.ID}, {"ad", "ac1", stream.ID},
			{"ada", "c1", stream.ID[1:]}, {"ada", "c1", stream.ID + "0"}, {"ada", "c1", strings.ToUpper(stream.ID) + "A"}, {"ada", "c1", ""}, {"ada", "c1", "../" + stream.ID},
			{"ada", "c1", strings.Repeat("0", 32)}, {"ada", "c1", strings.Repeat("0", 65)}, {"ada", "c1", "é"},
		} {
			if _, err := there.Open(t.Context(), other[0], other[1], other[2]); !errors.Is(err, ErrNoStream) {
				t.Errorf("%q: %v", other, err)
			}
		}
		fetch(t, stream)
	})
}

func TestThirdStreamEndsTheOldest(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		here, there := instances(f)
		first := opened(t, here, "ada", "c1")
		second := opened(t, there, "ada", "c2") // all clients of a person count together
		bobs := opened(t, here, "bob", "c1")
		out := outbox(t, there, "ada", "c1", first)
		send(t, out, "before")
		f.tick()
		third := opened(t, there, "ada", "c1")
		messages, err := first.Fetch(t.Context())
		if !errors.Is(err, ErrStreamEnded) || len(messages) != 1 || string(messages[0]) != "before" {
			t.Errorf("the oldest stream fetches %q, %v", messages, err)
		}
		if _, err := here.Open(t.Context(), "ada", "c1", first.ID); !errors.Is(err, ErrNoStream) {
			t.Errorf("the oldest stream still takes messages: %v", err)
		}
		if err := first.Close(t.Context()); err != nil {
			t.Errorf("closing a stream that was ended: %v", err)
		}
		for client, stream := range map[string]*Stream{"c2": second, "c1": third} {
			send(t, outbox(t, here, "ada", client, stream), "after")
			fetch(t, stream, "after")
		}
		send(t, outbox(t, there, "bob", "c1", bobs), "for bob")
		fetch(t, bobs, "for bob")
	})
}

// Only streams that are open count: one that was closed, or has outlived its life, ends no other.
func TestClosedStreamsDoNotCount(t *testing.T) {
	f := newFixture(t)
	here, there := instances(f)
	lasting := opened(t, here, "ada", "c1")
	for range 3 {
		if err := opened(t, there, "ada", "c1").Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		fetch(t, lasting)
	}
	// A stream with little time left does not make the list of streams forget the others.
	if _, err := there.OpenStream(t.Context(), "ada", "c1", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	fetch(t, lasting)
	f.clock.Advance(20 * time.Second)
	second := opened(t, here, "ada", "c1")
	fetch(t, lasting)
	fetch(t, second)
	opened(t, there, "ada", "c1")
	if _, err := lasting.Fetch(t.Context()); !errors.Is(err, ErrStreamEnded) {
		t.Errorf("the oldest of three stays: %v", err)
	}
	fetch(t, second)
}

// Streams opened at once: two stay, whoever they are.
func TestStreamsOpenedAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		const n = 5
		streams := make([]*Stream, n)
		var group sync.WaitGroup
		for i := range n {
			m := NewMailbox(f.Store)
			group.Go(func() {
				var err error
				if streams[i], err = m.OpenStream(t.Context(), "ada", "c1", life); err != nil {
					t.Error(err)
				}
			})
		}
		if group.Wait(); t.Failed() {
			return
		}
		open := 0
		for _, stream := range streams {
			_, err := stream.Fetch(t.Context())
			if err != nil && !errors.Is(err, ErrStreamEnded) {
				t.Error(err)
			}
			_, found := NewMailbox(f.Store).Open(t.Context(), "ada", "c1", stream.ID)
			if (err == nil) != (found == nil) {
				t.Errorf("a stream reads %v and is written %v", err, found)
			}
			if err == nil {
				open++
			}
		}
		if open != MaxStreams {
			t.Errorf("%d streams are open", open)
		}
	})
}

func TestMailboxFaults(t *testing.T) {
	f := newFixture(t)
	here, there := instances(f)
	stream := opened(t, here, "ada", "c1")
	out := outbox(t, there, "ada", "c1", stream)
	send(t, out, "waiting")
	f.table.before = func(string, table.Key) error { return fmt.Errorf("throttled: %w", table.ErrUnavailable) }
	_, opening := here.OpenStream(t.Context(), "ada", "c1", life)
	_, finding := there.Open(t.Context(), "ada", "c1", stream.ID)
	_, fetching := stream.Fetch(t.Context())
	for what, err := range map[string]error{
		"opening": opening, "finding": finding, "fetching": fetching, "sending": out.Send(t.Context(), nil), "closing": stream.Close(t.Context()),
	} {
		if !errors.Is(err, table.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.table.before = nil
	fetch(t, stream, "waiting") // a fault that passes loses nothing
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := out.Send(ended, []byte("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end a context sends: %v", err)
	}
}
