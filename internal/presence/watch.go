package presence

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Reason says how a holder went.
type Reason string

const (
	// Goodbye is a holder that released its key.
	Goodbye Reason = "goodbye"
	// Lapsed is a holder that did not renew: it crashed, hangs, or is cut off.
	Lapsed Reason = "expired"
	// Superseded is a holder in whose place another lease was found.
	Superseded Reason = "replaced"
	// Unknown is a holder of which no trace is left.
	Unknown Reason = "unknown"
)

// ChangeKind says what a [Change] is.
type ChangeKind string

// Kinds of changes.
const (
	Up      ChangeKind = "up"
	Changed ChangeKind = "changed"
	Down    ChangeKind = "down"
)

// Change is one change of a key, as a watcher sees it.
type Change struct {
	Kind ChangeKind
	// Entry is the holder's, the last one known with Down.
	Entry Entry
	// Reason and Marker are set with Down: how it went, and what the key was
	// when that was seen.
	Reason Reason
	Marker Entry
}

const (
	// grace is how long a watcher waits for the return of an entry that has
	// expired, so that one whose renewal crossed the expiry is not down.
	grace = 300 * time.Millisecond
	// lateness is how much later than its TTL an entry expires only if the
	// server was not there to do it; and how much earlier, counted from a renewal
	// that was heard, only if the server was not there to store that.
	lateness = 300 * time.Millisecond
	// overdue is when to look at an entry that was not heard of for its TTL.
	overdue = 50 * time.Millisecond
	// again is when to look at it the next time.
	again = 100 * time.Millisecond
)

// longGrace is how long a watcher waits after an outage: until all holders are
// connected again and have found out.
func longGrace(ttl time.Duration) time.Duration { return 2 * ttl }

// Watch yields the changes of the keys that match, first an Up for each that is
// held, until ctx ends. The entries of known are taken for seen: for each of
// these the first yield is what has become of it since.
//
// A Down is yielded once for each lease, and only after the key was read from
// the stream: at once after a goodbye, 0.3 s after an expiry. If the
// server itself was away about that time it waits two TTLs for the holder's
// return, so that an outage or an election declares nobody dead.
//
// The first read may fail, which ends it with an error. After that it rides out
// what happens to the connection and the server.
func (b *Bucket) Watch(ctx context.Context, filter string, known ...Entry) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &watcher{
			b: b, filter: filter, wake: make(chan struct{}, 1), reconnects: b.nc.Stats().Reconnects,
			keys: make(map[string]*tracked), hinted: make(map[string]*hint),
			dirty: make(map[string]struct{}), heard: make(map[string]time.Time),
			yield: func(c Change) bool { return yield(c, nil) },
		}
		for _, e := range known {
			w.keys[e.Key] = &tracked{last: e}
		}
		sub, err := b.nc.Subscribe(b.subject+filter, w.hear)
		if err != nil {
			yield(Change{}, fmt.Errorf("bucket %s: watch %s: %w", b.name, filter, err))
			return
		}
		defer func() { _ = sub.Unsubscribe() }() // an error says that it has ended already
		w.sub = sub
		if err := w.orient(ctx); err != nil {
			if ctx.Err() == nil && !w.enough {
				yield(Change{}, fmt.Errorf("bucket %s: watch %s: %w", b.name, filter, err))
			}
			return
		}
		w.run(ctx)
	}
}
