package presence

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// Lease is a key held until its TTL has passed since the last renewal. It is
// safe for concurrent use; its operations take turns.
type Lease struct {
	b    *Bucket
	key  string
	id   string
	turn chan struct{} // not a mutex, which would stop the clock of a test in fake time

	mu       sync.Mutex
	rev      uint64
	expires  time.Time
	released bool
}

// Claim takes a key that nobody holds. It answers a [HeldError] if somebody
// does. After any other error the key may be held by a lease that nobody has,
// for one TTL at most.
func (b *Bucket) Claim(ctx context.Context, key string, value []byte) (*Lease, error) {
	l, _, err := b.take(ctx, key, value, false)
	return l, err
}

// Seize takes a key whoever holds it, and returns what it was before. The
// holder learns it from its next renewal.
func (b *Bucket) Seize(ctx context.Context, key string, value []byte) (*Lease, Entry, error) {
	return b.take(ctx, key, value, true)
}

func (b *Bucket) take(ctx context.Context, key string, value []byte, seize bool) (*Lease, Entry, error) {
	if err := checkKey(key); err != nil {
		return nil, Entry{}, err
	}
	l := &Lease{b: b, key: key, id: strings.ToLower(rand.Text()[:16]), turn: make(chan struct{}, 1)}
	before := Entry{Key: key, State: Absent} // most keys are new, and then need no look
	for wait := time.Duration(0); ; wait = staleWait {
		if err := pause(ctx, wait); err != nil {
			return nil, before, l.fail("claim", err)
		}
		err := l.write(ctx, before.Revision, value)
		if err == nil {
			return l, before, nil
		}
		// Also after an error that says nothing: the write may have been stored.
		now, readErr := b.Get(ctx, key)
		switch {
		case readErr != nil:
			return nil, before, l.fail("claim", errors.Join(err, readErr))
		case now.Lease == l.id && now.State == Held:
			l.adopt(now.Revision)
			return l, before, nil
		case !isConflict(err):
			return nil, before, l.fail("claim", err)
		case now.State == Held && !seize:
			return nil, now, &HeldError{By: now}
		}
		before = now
	}
}

// ID names the lease: another one each time a key is taken.
func (l *Lease) ID() string { return l.id }

// Key is the key that is held.
func (l *Lease) Key() string { return l.key }

// Revision is the bucket's at the last renewal. It grows with each of them, and
// from each holder of a key to the next.
func (l *Lease) Revision() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rev
}

// Expires is the time until which nobody else can have the key, by this
// process's monotonic clock: the TTL from when the last successful renewal was
// sent. The server's clock began later, so it may live a little longer.
func (l *Lease) Expires() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expires
}

// Renew starts the TTL anew, with a value that may be another one. It answers a
// [LostError] if the lease has expired, was taken or was released. After any
// other error the lease is as it was, or renewed: to renew it again is safe.
func (l *Lease) Renew(ctx context.Context, value []byte) error {
	if err := l.begin(ctx); err != nil {
		return l.fail("renew", err)
	}
	defer l.end()
	return l.fail("renew", l.rewrite(ctx, func() error { return l.write(ctx, l.Revision(), value) }))
}

// Resume takes the key again after it has expired, as the same lease, provided
// that nothing was written since: for a key that is its holder's by name, after
// an outage of the server. It answers a [LostError] otherwise, and returns how
// long the key was free, by the server's clock.
func (l *Lease) Resume(ctx context.Context, expired Entry, value []byte) (free time.Duration, err error) {
	if err := l.begin(ctx); err != nil {
		return 0, l.fail("resume", err)
	}
	defer l.end()
	if expired.State != Expired {
		return 0, l.fail("resume", &LostError{Now: expired})
	}
	l.mu.Lock()
	l.rev = expired.Revision
	l.mu.Unlock()
	if err := l.rewrite(ctx, func() error { return l.write(ctx, l.Revision(), value) }); err != nil {
		return 0, l.fail("resume", err)
	}
	now, err := l.look(ctx, expired.Revision)
	switch {
	case err != nil:
		return 0, l.fail("resume", err)
	case now.Lease != l.id || now.State != Held:
		return 0, l.fail("resume", &LostError{Now: now})
	}
	return now.Time.Sub(expired.Time), nil
}

// Release says goodbye: the key is free at once, and for stream.MarkerTTL it is
// known that it was released and has not expired. It answers a [LostError] if
// it was not the holder's any more. After any other error it may be called
// again.
func (l *Lease) Release(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return l.fail("release", err)
	}
	defer l.end()
	err := l.rewrite(ctx, func() error {
		// PURGE and not DEL: when the marker itself expires, the server writes a
		// marker of an expiry after a DEL.
		_, err := l.publish(ctx, l.Revision(), stream.MarkerTTL, nil, nats.Header{
			headerOperation: {operationPurge}, jetstream.MsgRollup: {jetstream.MsgRollupSubject},
		})
		return err
	})
	var lost *LostError
	if errors.As(err, &lost) && lost.Now.State == Released && lost.Now.Lease == l.id {
		err = nil // by an attempt whose answer never came
	}
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.released, l.expires = true, time.Time{}
	}
	return l.fail("release", err)
}

// staleWait is when to look again after an answer that cannot be the last
// word: a replica that lags, a write in flight.
const staleWait = 10 * time.Millisecond

// rewrite writes under the lease's revision, and finds out who wrote if
// somebody else did: an attempt of ours whose answer never came, or another
// holder.
func (l *Lease) rewrite(ctx context.Context, write func() error) error {
	l.mu.Lock()
	released := l.released
	l.mu.Unlock()
	if released {
		return &LostError{Now: Entry{Key: l.key, State: Released, Lease: l.id}}
	}
	for {
		before := l.Revision()
		err := write()
		if !isConflict(err) {
			return err
		}
		now, readErr := l.look(ctx, before)
		switch {
		case readErr != nil:
			return errors.Join(err, readErr)
		case now.State != Held || now.Lease != l.id:
			return &LostError{Now: now}
		}
		l.mu.Lock()
		l.rev = now.Revision
		l.mu.Unlock()
		if err := pause(ctx, staleWait); err != nil {
			return err
		}
	}
}

// look reads the key until it shows another revision than one that the server
// has just refused: a replica may be behind the leader.
func (l *Lease) look(ctx context.Context, refused uint64) (Entry, error) {
	for {
		now, err := l.b.Get(ctx, l.key)
		if err != nil || now.Revision != refused {
			return now, err
		}
		if err := pause(ctx, staleWait); err != nil {
			return now, err
		}
	}
}

// write stores a value under the lease's name if the key is at the revision.
func (l *Lease) write(ctx context.Context, rev uint64, value []byte) error {
	sent := time.Now()
	stored, err := l.publish(ctx, rev, l.b.ttl, value, nats.Header{})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rev, l.expires = stored, sent.Add(l.b.ttl)
	return nil
}

// adopt takes over a write of unknown outcome that was found stored. When it
// was sent is not known, so that nothing is promised until the next renewal.
func (l *Lease) adopt(rev uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rev, l.expires = rev, time.Now()
}

// publish is the one way to write. The update of a key-value client would make
// the entry immortal: it drops the TTL.
func (l *Lease) publish(ctx context.Context, rev uint64, ttl time.Duration, value []byte, h nats.Header) (uint64, error) {
	h.Set(headerLease, l.id)
	for {
		// What nats.go buffers while it is not connected may be stored long
		// after we have given up.
		if !l.b.nc.IsConnected() {
			return 0, ErrOffline
		}
		m := &nats.Msg{Subject: l.b.put + l.key, Header: h, Data: value}
		ack, err := l.b.js.PublishMsg(ctx, m, jetstream.WithMsgTTL(ttl),
			jetstream.WithExpectLastSequencePerSubject(rev), jetstream.WithRetryAttempts(0))
		if err == nil {
			return ack.Sequence, nil
		}
		if !hasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
			return 0, err
		}
		// A replicated stream with another write of this key in flight.
		if err := pause(ctx, staleWait); err != nil {
			return 0, err
		}
	}
}

func isConflict(err error) bool { return hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence) }

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

func (l *Lease) begin(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Lease) end() { <-l.turn }

func (l *Lease) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bucket %s: %s %s: %w", l.b.name, what, l.key, err)
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
