package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
)

// booked is one message of the stream EVENTS.
type booked struct {
	seq   uint64
	typ   string // by its subject, as subscriptions go by it
	key   string
	id    identity
	valid bool // a CloudEvent of that type
}

// outside tells whether somebody else than the shop published it.
func (b *booked) outside() bool {
	return !b.valid || b.id.source != sourceOrders && b.id.source != sourceBilling
}

// Books is what an independent reader has seen in the streams EVENTS and DEAD:
// each message, in order, from the first. It is safe for concurrent use.
type Books struct {
	js   jetstream.JetStream
	bell *bell // rung by every message

	mu      sync.Mutex
	events  []booked
	letters map[uint64]*deadletter.Letter // by sequence, those removed since included
	strange int                           // messages of DEAD that are no dead letters
	lastOf  map[string]uint64             // last sequence seen, by stream
}

// NewBooks makes empty books of the streams on js.
func NewBooks(js jetstream.JetStream) *Books {
	return &Books{js: js, bell: newBell(), letters: map[uint64]*deadletter.Letter{}, lastOf: map[string]uint64{}}
}

// Read reads both streams, which must exist, until ctx ends.
func (b *Books) Read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 2)
	go func() { errs <- b.follow(ctx, stream.EventsName, b.addEvent) }()
	go func() { errs <- b.follow(ctx, stream.DeadName, b.addLetter) }()
	err := <-errs
	cancel()
	if second := <-errs; err == nil {
		err = second
	}
	if parent := context.Cause(ctx); errors.Is(err, parent) {
		return nil
	}
	return err
}

func (b *Books) follow(ctx context.Context, name string, add func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	cons, err := b.js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	msgs, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read stream %s: %w", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read stream %s: %w", name, err)
		}
		b.mu.Lock()
		add(m, meta)
		b.lastOf[name] = meta.Sequence.Stream
		b.mu.Unlock()
		b.bell.ring()
	}
}

func (b *Books) addEvent(m jetstream.Msg, meta *jetstream.MsgMetadata) {
	e := booked{seq: meta.Sequence.Stream}
	typ, key, err := subject.Namespace("").ParseEvent(m.Subject())
	if err == nil {
		e.typ = typ
		e.key, _, _ = subject.DecodeKey(key)
	}
	event, err := envelope.Unmarshal(&nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	if err == nil && event.Type == e.typ {
		e.id, e.valid = identity{event.Source, event.ID}, true
	}
	b.events = append(b.events, e)
}

func (b *Books) addLetter(m jetstream.Msg, meta *jetstream.MsgMetadata) {
	l, err := deadletter.Parse(&jetstream.RawStreamMsg{
		Subject: m.Subject(), Sequence: meta.Sequence.Stream, Header: m.Headers(), Data: m.Data(), Time: meta.Timestamp,
	})
	if err != nil {
		b.strange++
		return
	}
	b.letters[l.Sequence] = l
}

// letter finds the latest dead letter of a group for an event.
func (b *Books) letter(group, eventID string) *deadletter.Letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found *deadletter.Letter
	for _, l := range b.letters {
		if l.Group == group && l.Header.Get("ce-id") == eventID && (found == nil || l.Sequence > found.Sequence) {
			found = l
		}
	}
	return found
}

// letterAt finds a dead letter of a group for a sequence in EVENTS.
func (b *Books) letterAt(group string, seq uint64) *deadletter.Letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.letters {
		if l.Group == group && l.Origin.Sequence == seq {
			return l
		}
	}
	return nil
}

// from returns the events from the n-th on.
func (b *Books) from(n int) []booked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.events[n:len(b.events):len(b.events)]
}

// standing returns the dead letters that are still in the stream.
func (b *Books) standing(ctx context.Context) ([]*deadletter.Letter, error) {
	dead, err := b.js.Stream(ctx, stream.DeadName)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream.DeadName, err)
	}
	info, err := dead.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream.DeadName, err)
	}
	gone := map[uint64]bool{}
	for _, seq := range info.State.Deleted {
		gone[seq] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var letters []*deadletter.Letter
	for seq, l := range b.letters {
		if seq >= info.State.FirstSeq && !gone[seq] {
			letters = append(letters, l)
		}
	}
	return letters, nil
}

// catchUp waits until the reader has seen all that the streams hold.
func (b *Books) catchUp(ctx context.Context) error {
	for _, name := range []string{stream.EventsName, stream.DeadName} {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
		state := s.CachedInfo().State
		if state.Msgs == 0 {
			continue
		}
		last, err := s.GetMsg(ctx, state.LastSeq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // the last one was removed, after the reader had reported it
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
		err = b.bell.await(ctx, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.lastOf[name] >= last.Sequence
		})
		if err != nil {
			return fmt.Errorf("reader of stream %s has not caught up: %w", name, err)
		}
	}
	return nil
}

// deadTotal is how many dead letters there ever were.
func (b *Books) deadTotal() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.letters) + b.strange
}

// Pace of the looks at the server while things settle.
const settleEvery = 100 * time.Millisecond
