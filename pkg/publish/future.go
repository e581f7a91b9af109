package publish

import (
	"context"
	"slices"
	"strings"
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
	// Schedule is the id of the schedule of At, In and Cron, by which it can be
	// cancelled; then Stream and Sequence are those of SCHEDULED. Else "".
	Schedule string
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
	// event while it is in the window: one allocation instead of two, so what
	// is seldom needed stands apart.
	done     chan struct{} // nil until somebody waits
	msg      *nats.Msg     // of a single event; nil once settled
	msgID    [1]string     // the value of its Nats-Msg-Id header
	own      [1]link       // its place in the queue of its key, if it has one
	batch    *batch        // of a batch, instead of the three
	ready    *Future       // next in a list of those just unblocked
	trouble  *trouble      // nil while all goes well
	open     attempts      // attempts that nothing is known of
	due      int64         // sent: end of the attempt; waiting: start of the next
	deadline int64         // of the whole publish
	horizon  int64         // no sending after this, 0 while no attempt can have stored it
	epoch    uint32        // reconnects of the connection when last sent
	serial   uint32
	begun    int32 // attempts
	blocked  int32 // places that have another before them
	tokens   int32 // of the window
	slot     uint16
	state    state
	op       op
	byCtx    bool // deadline is the context's
	pooled   bool // done belongs to the pool of a synchronous publish
}

// trouble is what went wrong so far with an event that is not settled.
type trouble struct {
	cause  error  // why the last attempt failed
	reason string // what the server said last
	doubt  bool   // a copy was reported in process
	denied error  // permission violation that may be the current attempt's
}

func (f *Future) inTrouble() *trouble {
	if f.trouble == nil {
		f.trouble = &trouble{}
	}
	return f.trouble
}

// cause is why the last attempt failed, nil if none did.
func (f *Future) cause() error {
	if f.trouble == nil {
		return nil
	}
	return f.trouble.cause
}

// doubtful tells whether an attempt may have stored the event.
func (f *Future) doubtful() bool { return f.open != 0 || f.trouble != nil && f.trouble.doubt }

// subject is that of the event, or of a batch's first, until it is settled.
func (f *Future) subject() string {
	switch {
	case f.msg != nil:
		return f.msg.Subject
	case f.batch != nil:
		return f.batch.msgs[0].Subject
	}
	return ""
}

// publishesTo tells whether the text of a permission violation names a subject
// of f.
func (f *Future) publishesTo(text string) bool {
	if f.batch == nil {
		return strings.Contains(text, `Publish to "`+f.subject()+`"`)
	}
	return slices.ContainsFunc(f.batch.msgs, func(m *nats.Msg) bool { return strings.Contains(text, `Publish to "`+m.Subject+`"`) })
}

// places are those in the queues of its keys.
func (f *Future) places() []link {
	switch {
	case f.batch != nil:
		return f.batch.links
	case f.own[0].key != "":
		return f.own[:]
	}
	return nil
}

type state uint8

const (
	stateQueued  state = iota // behind another event of its key
	stateWaiting              // for its time, or for the connection
	stateSent
)

// attempts is a set of attempt numbers; those from 63 on share a bit.
type attempts uint64

func attemptBit(n int32) attempts { return 1 << min(n, 63) }

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
