package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// One timer serves the whole table. While something is in flight it looks
// through the table every sweepEvery; when nothing is, it rests. It is no
// goroutine that waits, so a publisher that is idle, closed, or whose
// connection is closed holds none.
const sweepEvery = 25 * time.Millisecond

// Delays between attempts that the server refused for the moment.
const (
	firstBackoff = 10 * time.Millisecond
	maxBackoff   = time.Second
)

// backoff is the delay after attempt n, from 0: doubling, with half of it
// random, so that many publishers do not come back at one time.
func backoff(n int32) time.Duration {
	d := maxBackoff
	if n < 7 {
		d = min(firstBackoff<<max(n, 0), maxBackoff)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // G404: jitter needs no secrecy
}

// arm starts the timer unless it runs. mu is held.
func (p *Publisher) arm() {
	if p.armed {
		return
	}
	p.armed = true
	p.reconnects = uint32(p.nc.Stats().Reconnects) //nolint:gosec // wraps: what matters is that it differs
	// A violation that the connection has seen before is none of what is sent
	// from now on.
	if err := p.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		p.violation = err
	}
	every := min(sweepEvery, p.cfg.AckTimeout/4+1)
	if p.timer == nil {
		p.timer = time.AfterFunc(every, p.sweep)
		return
	}
	p.timer.Reset(every)
}

// sweep ends what is late, and sends again what is due.
func (p *Publisher) sweep() {
	connected, closed := p.nc.IsConnected(), p.nc.IsClosed()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	p.reconnects = uint32(p.nc.Stats().Reconnects) //nolint:gosec // wraps: what matters is that it differs
	p.wakeAll()                                    // in case no other reply came
	p.noteViolation()
	now := p.now()
	for _, f := range p.table {
		switch {
		case f == nil:
		case closed:
			p.outboxAll(p.fail(f, nats.ErrConnectionClosed))
		case f.state == stateSent && f.trouble != nil && f.trouble.denied != nil:
			p.outboxAll(p.refuse(f))
		case now >= f.deadline:
			p.expire(f, p.late(f), connected)
		case f.beyondHorizon(now) && (f.state == stateWaiting || now >= f.due):
			p.expire(f, p.outOfWindow(), connected)
		case connected && !p.sending && p.due(f, now):
			p.outbox = append(p.outbox, f)
		}
	}
	p.drainOutbox()
	if p.inFlight > 0 {
		p.arm()
	}
}

// expire ends a publish whose time is up. mu is held.
func (p *Publisher) expire(f *Future, why error, connected bool) {
	if !connected {
		f.inTrouble().cause = nats.ErrDisconnected
	}
	p.outboxAll(p.fail(f, p.causeOf(f, why)))
}

// due tells whether f wants an attempt now. mu is held.
func (p *Publisher) due(f *Future, now int64) bool {
	if f.beyondHorizon(now) {
		return false
	}
	switch f.state {
	case stateWaiting:
		return now >= f.due
	case stateSent:
		// The replies to what was sent before a reconnect are lost.
		return now >= f.due || f.epoch != p.reconnects
	case stateQueued:
	}
	return false
}

// beyondHorizon tells whether f may not be sent again: the stream may have
// forgotten the id of an attempt that it stored.
func (f *Future) beyondHorizon(now int64) bool { return f.horizon != 0 && now >= f.horizon }

// outOfWindow is the error of a publish whose context would let it go on.
func (p *Publisher) outOfWindow() error {
	return fmt.Errorf("no acknowledgement within %v of the first sending, and the stream's dedup window allows no other: %w",
		time.Duration(p.resendFor.Load()), context.DeadlineExceeded)
}

// late is the error of a publish whose time is up.
func (p *Publisher) late(f *Future) error {
	if f.byCtx {
		return fmt.Errorf("no acknowledgement before the context's deadline: %w", context.DeadlineExceeded)
	}
	return fmt.Errorf("no acknowledgement within %v (RetryFor): %w", p.cfg.RetryFor, context.DeadlineExceeded)
}

// outboxAll hands a list of those just unblocked to the sending goroutine. mu
// is held.
func (p *Publisher) outboxAll(ready *Future) {
	for f := ready; f != nil; {
		next := f.ready
		f.ready = nil
		f.state, f.due = stateWaiting, 0
		p.outbox = append(p.outbox, f)
		f = next
	}
	p.drainOutbox()
}

// drainOutbox starts the goroutine that sends what is in the outbox, unless it
// runs. There is at most one: a full socket blocks it, never the sweep, so that
// deadlines are kept. mu is held.
func (p *Publisher) drainOutbox() {
	if p.sending || len(p.outbox) == 0 || p.inFlight == 0 {
		return
	}
	p.sending = true
	p.work.Go(p.sendOutbox)
}

func (p *Publisher) sendOutbox() {
	for {
		connected := p.nc.IsConnected()
		p.mu.Lock()
		if len(p.outbox) == 0 || !connected {
			// Without a connection all stay as they are: the sweep finds them.
			clear(p.outbox)
			p.outbox = p.outbox[:0]
			p.sending = false
			p.mu.Unlock()
			return
		}
		f := p.outbox[len(p.outbox)-1]
		p.outbox[len(p.outbox)-1] = nil
		p.outbox = p.outbox[:len(p.outbox)-1]
		var send transmission
		if !f.settled.Load() && p.due(f, p.now()) {
			send = p.begin(f, p.now())
		}
		p.mu.Unlock()
		if send.future != nil {
			p.transmit(&send)
		}
	}
}

// noteViolation looks for a permission violation that the server has reported
// since the last sweep. It comes without a reply, as an error of the connection
// whose handler is the user's; LastError is a new value for each. mu is held.
func (p *Publisher) noteViolation() {
	err := p.nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) || err == p.violation { //nolint:errorlint // identity tells a new one from the same
		return
	}
	p.violation = err
	text := err.Error()
	for _, f := range p.table {
		if f != nil && f.state == stateSent && f.publishesTo(text) {
			// Refused is what this names, unless an acknowledgement comes
			// before the next sweep: then it named an earlier event.
			f.inTrouble().denied = err
		}
	}
}

// refuse settles an attempt that the server had no permission for. mu is held.
func (p *Publisher) refuse(f *Future) *Future {
	f.open &^= attemptBit(f.begun - 1)
	return p.fail(f, fmt.Errorf("%w: publish to %s: %w", ErrPermission, f.subject(), f.trouble.denied))
}
