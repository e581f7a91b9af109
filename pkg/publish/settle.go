package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// wakeAtOnce bounds how many settled events keep their callers waiting for more
// replies to be read.
const wakeAtOnce = 64

// onReply takes what comes on the reply subjects. It runs on the
// subscription's goroutine.
//
// Replies come in clumps. While more are at hand, those who wait for what is
// settled are not woken one by one, each to take the processor and publish a
// single message, but together, with the last.
func (p *Publisher) onReply(m *nats.Msg) {
	var r reply
	t, ok := parseToken(strings.TrimPrefix(m.Subject, p.inbox))
	if ok {
		r = readReply(m)
	}
	pending, _, err := m.Sub.Pending() // with this one
	last := err != nil || pending <= 1
	p.mu.Lock()
	var ready *Future
	if f := p.holder(t); ok && f != nil {
		p.gathering = true
		ready = p.take(f, t.attempt, &r)
		p.gathering = false
	}
	if last || len(p.gathered) >= wakeAtOnce {
		p.wakeAll()
	}
	if ready == nil || ready.ready != nil {
		p.outboxAll(ready)
		p.mu.Unlock()
		return
	}
	// The usual case, one event behind this one: it goes at once.
	send := p.begin(ready, p.now())
	p.mu.Unlock()
	p.transmit(&send)
}

// holder is the event that t was given to, nil if it is settled. mu is held.
func (p *Publisher) holder(t token) *Future {
	if int(t.slot) >= len(p.table) {
		return nil
	}
	if f := p.table[t.slot]; f != nil && f.serial == t.serial {
		return f
	}
	return nil
}

// take applies a reply to an attempt of f. mu is held.
func (p *Publisher) take(f *Future, attempt uint8, r *reply) (ready *Future) {
	n := f.begun - 1 - int32(uint8(f.begun-1)-attempt) //nolint:gosec // the latest attempt with that low byte
	if n < 0 {
		return nil
	}
	switch r.kind {
	case replyForeign, replyStaged:
		return nil
	case replyStored:
		return p.stored(f, n, r)
	case replyInProcess:
		// A copy is under way, perhaps by another program: only the next
		// attempt will tell.
		f.inTrouble().doubt = true
	case replyTransient, replyRefused, replyKnownIDs:
	}
	current := n == f.begun-1 && f.state == stateSent
	f.open &^= attemptBit(n)
	f.inTrouble().reason = r.reason
	switch {
	case !current:
		// An attempt that was given up. Its refusal says nothing about the
		// current one.
		return nil
	case r.kind == replyTransient, r.kind == replyInProcess:
		p.retry(f, r.err)
		return nil
	}
	return p.fail(f, r.err)
}

// stored settles f with an acknowledgement of attempt n. mu is held.
func (p *Publisher) stored(f *Future, n int32, r *reply) *Future {
	if p.stream != string(r.stream) {
		p.stream = string(r.stream)
	}
	f.ack.Stream, f.ack.Sequence = p.stream, r.sequence
	// A duplicate of an attempt after the first is this publish's own.
	f.ack.Duplicate = r.duplicate && n == 0
	return p.settle(f)
}

// retry puts f off until its next attempt. mu is held.
func (p *Publisher) retry(f *Future, cause error) {
	f.inTrouble().cause = cause
	if !f.doubtful() {
		f.horizon = 0 // no attempt can have stored it: none needs the dedup window
	}
	f.state = stateWaiting
	f.due = p.now() + int64(backoff(f.begun-1))
}

// fail settles f with an error whose kind follows from what is known of its
// attempts. mu is held.
func (p *Publisher) fail(f *Future, cause error) *Future {
	kind := ErrRejected
	switch {
	case f.doubtful():
		kind = ErrUnknown
	case f.begun == 0:
		kind = ErrNotSent
	}
	if p.provisions() && errors.Is(cause, ErrNoStream) {
		p.missed.Store(true)
		p.ready.Store(false)
	}
	f.err = p.failed(f, kind, cause)
	f.ack = Ack{}
	return p.settle(f)
}

func (p *Publisher) failed(f *Future, kind, cause error) error {
	e := &Error{Op: f.op.String(), Subject: f.subject(), ID: f.ack.ID, Kind: kind, Err: cause}
	if f.trouble != nil {
		e.Reason = f.trouble.reason
	}
	return e
}

// settle takes f out of the table, and wakes who waits for it or for room in the
// window. It returns those that may be sent now. mu is held.
func (p *Publisher) settle(f *Future) (ready *Future) {
	p.table[f.slot] = nil
	p.free = append(p.free, f.slot)
	p.inFlight--
	ready = p.keys.leave(f)
	f.msg, f.batch, f.trouble = nil, nil, nil
	f.settled.Store(true)
	if p.gathering {
		p.gathered = append(p.gathered, f)
	} else {
		p.wake(f)
	}
	if p.closed && p.inFlight == 0 {
		close(p.idle)
	}
	return ready
}

func (p *Publisher) wake(f *Future) {
	switch {
	case f.pooled:
		f.done <- struct{}{}
	case f.done != nil:
		close(f.done)
	}
	p.returnTokens(f)
}

// wakeAll wakes who waits for what has been gathered. mu is held.
func (p *Publisher) wakeAll() {
	for i, f := range p.gathered {
		p.gathered[i] = nil
		p.wake(f)
	}
	p.gathered = p.gathered[:0]
}

// abandon gives f up for its caller, unless it is settled already.
func (p *Publisher) abandon(f *Future, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !f.settled.Load() {
		p.outboxAll(p.fail(f, p.causeOf(f, cause)))
	}
}

// giveUp abandons all that is in flight and returns how many that were.
func (p *Publisher) giveUp(cause error) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.inFlight
	for _, f := range p.table {
		if f != nil {
			p.fail(f, p.causeOf(f, cause))
		}
	}
	return n
}

// ctxErr is why ctx ended: its error, and its cause if it has another.
func ctxErr(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// causeOf joins why a publish ends with why its last attempt failed.
func (p *Publisher) causeOf(f *Future, why error) error {
	cause := f.cause()
	if cause == nil || errors.Is(why, cause) {
		return why
	}
	return fmt.Errorf("%w: %w", why, cause)
}
