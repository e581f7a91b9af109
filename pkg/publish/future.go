package publish

import (
	"context"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Ack says where an event is stored.
type Ack struct {
	Stream   string // name of the stream
	Sequence uint64 // the event's sequence there
	ID       string // the event's id attribute
	// Duplicate says that the stream held the event already, from an earlier
	// publish of the same source and id. An event that this publish sent twice
	// is no duplicate.
	Duplicate bool
}

// Future is the result of one PublishAsync, to be. It is safe for concurrent
// use.
type Future struct {
	publisher *Publisher

	// Written before settled is set, read after.
	ack     Ack
	err     error
	settled atomic.Bool

	// Guarded by publisher.mu. A Future is also the publisher's record of the
	// event while it is in the window: one allocation instead of two.
	done     chan struct{} // nil until somebody waits
	pooled   bool          // done belongs to the pool of a synchronous publish
	op       string
	subject  string
	msg      *nats.Msg // nil once settled
	msgID    [1]string // the value of the Nats-Msg-Id header
	batch    *batch    // nil but for the record of a batch
	links    []link    // places in the queues of its keys
	ownLink  [1]link   // backs links for a single event
	blocked  int       // links that have another before them
	ready    *Future   // next in a list of those just unblocked
	slot     uint16
	serial   uint32
	tokens   int // of the window
	state    state
	attempts int      // begun so far
	open     attempts // attempts that nothing is known of
	due      int64    // sent: end of the attempt; waiting: start of the next
	deadline int64    // of the whole publish
	byCtx    bool     // deadline is the context's
	horizon  int64    // no sending after this, 0 while no attempt can have stored it
	epoch    uint64   // reconnects of the connection when last sent
	denied   error    // permission violation that may be this attempt's
	doubt    bool     // a copy was reported in process
	cause    error    // why the last attempt failed
	reason   string   // what the server said last
}

type state uint8

const (
	stateQueued  state = iota // behind another event of its key
	stateWaiting              // for its time, or for the connection
	stateSent
)

// attempts is a set of attempt numbers; those from 63 on share a bit.
type attempts uint64

func attemptBit(n int) attempts { return 1 << min(uint(n), 63) }

// Done returns a channel that is closed once the result is there.
func (f *Future) Done() <-chan struct{} {
	if f.settled.Load() {
		return closedChan()
	}
	f.publisher.mu.Lock()
	defer f.publisher.mu.Unlock()
	if f.settled.Load() {
		return closedChan()
	}
	if f.done == nil {
		f.done = make(chan struct{})
	}
	return f.done
}

func closedChan() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Wait waits for the result: an Ack, or an *Error. When ctx ends first, Wait
// returns its error and the publish goes on; the result can still be waited
// for.
func (f *Future) Wait(ctx context.Context) (Ack, error) {
	if !f.settled.Load() {
		select {
		case <-f.Done():
		case <-ctx.Done():
			return Ack{}, context.Cause(ctx)
		}
	}
	return f.ack, f.err
}

// settledFuture is the result of a publish that failed before it began.
func settledFuture(p *Publisher, err error) *Future {
	f := &Future{publisher: p, err: err}
	f.settled.Store(true)
	return f
}
