package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

func (p *Publisher) now() int64 { return int64(time.Since(p.born)) }

// submit takes room in the window for f, and sends it unless it must wait for
// another of its key or for the connection. After an error f was never there.
func (p *Publisher) submit(ctx context.Context, f *Future) error {
	if f.tokens == 0 {
		f.tokens = 1
		if err := p.acquire(ctx, f); err != nil {
			return p.failed(f, ErrNotSent, err)
		}
	}
	if err := ctx.Err(); err != nil {
		p.returnTokens(f)
		return p.failed(f, ErrNotSent, ctxErr(ctx))
	}
	connected := p.nc.IsConnected()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.returnTokens(f)
		return p.failed(f, ErrNotSent, ErrClosed)
	}
	p.place(f)
	now := p.now()
	p.arm()
	var send transmission
	switch {
	case f.blocked > 0:
		f.state = stateQueued
	case connected:
		send = p.begin(f, now)
	default:
		f.state, f.due, f.inTrouble().cause = stateWaiting, now, nats.ErrDisconnected
	}
	lead, grouped := p.group(&send)
	p.mu.Unlock()
	switch {
	case lead:
		p.lead(ctx, f)
	case send.future != nil && !grouped:
		p.transmit(&send)
	}
	return nil
}

// acquire takes f's tokens of the window, one after the other.
func (p *Publisher) acquire(ctx context.Context, f *Future) error {
	for n := range f.tokens {
		select {
		case p.window <- struct{}{}:
			continue
		case <-p.closing:
			f.tokens = n
			p.returnTokens(f)
			return ErrClosed
		default:
		}
		if err := p.acquireSlow(ctx, f); err != nil {
			f.tokens = n
			p.returnTokens(f)
			return err
		}
	}
	return nil
}

func (p *Publisher) acquireSlow(ctx context.Context, f *Future) error {
	limit := time.NewTimer(time.Duration(f.deadline - p.now()))
	defer limit.Stop()
	select {
	case p.window <- struct{}{}:
		return nil
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("the window of %d unacknowledged events is full: %w", p.cfg.MaxInFlight, ctxErr(ctx))
	case <-limit.C:
		return fmt.Errorf("the window of %d unacknowledged events is full: %w", p.cfg.MaxInFlight, p.late(f))
	}
}

func (p *Publisher) returnTokens(f *Future) {
	for range f.tokens {
		<-p.window
	}
	f.tokens = 0
}

// place puts f into the table and the queues of its keys. mu is held.
func (p *Publisher) place(f *Future) {
	if n := len(p.free); n > 0 {
		f.slot = p.free[n-1]
		p.free = p.free[:n-1]
		p.table[f.slot] = f
	} else {
		f.slot = uint16(len(p.table)) //nolint:gosec // the window has at most 1<<16 slots
		p.table = append(p.table, f)
	}
	p.serial = (p.serial + 1) & (1<<serialBits - 1)
	f.serial = p.serial
	p.inFlight++
	p.keys.enter(f)
}

// transmission is one attempt, to be sent without the lock.
type transmission struct {
	future  *Future
	msg     *nats.Msg
	batch   *batch
	token   token
	attempt int32
}

// begin opens the next attempt of f. mu is held.
func (p *Publisher) begin(f *Future, now int64) transmission {
	n := f.begun
	f.begun++
	f.open |= attemptBit(n)
	f.state = stateSent
	if n == 0 {
		f.trouble = nil // it waited for the connection
	} else if f.trouble != nil {
		f.trouble.denied = nil
	}
	f.due = now + int64(p.cfg.AckTimeout)
	if f.batch != nil {
		f.due = f.deadline // until all of it is written
	}
	f.epoch = p.reconnects
	if f.horizon == 0 {
		f.horizon = now + p.resendFor.Load()
	}
	return transmission{
		future: f, msg: f.msg, batch: f.batch, attempt: n,
		token: token{slot: f.slot, serial: f.serial, attempt: uint8(n)}, //nolint:gosec // wraps: what matters is that neighbours differ
	}
}

// transmit writes an attempt to the connection. It may block while the socket
// is full.
func (p *Publisher) transmit(t *transmission) {
	var buf [128]byte
	reply := string(appendToken(append(buf[:0], p.inbox...), t.token))
	var err error
	switch {
	case t.batch != nil:
		err = p.transmitBatch(t, reply)
	case t.attempt == 0:
		t.msg.Reply = reply
		err = p.nc.PublishMsg(t.msg)
	default:
		// An earlier attempt may still be in PublishMsg.
		again := nats.Msg{Subject: t.msg.Subject, Reply: reply, Header: t.msg.Header, Data: t.msg.Data}
		err = p.nc.PublishMsg(&again)
	}
	if err != nil {
		p.onSendError(t, err)
	}
}

// onSendError settles, or puts off, an attempt that the connection did not
// take.
func (p *Publisher) onSendError(t *transmission, err error) {
	f := t.future
	p.mu.Lock()
	if f.settled.Load() {
		p.mu.Unlock()
		return
	}
	var ready *Future
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		p.revoke(f, t.attempt)
		p.retry(f, err)
	case errors.Is(err, nats.ErrMaxPayload):
		p.revoke(f, t.attempt)
		ready = p.fail(f, fmt.Errorf("%w: %w", ErrTooLarge, err))
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrBadSubject),
		errors.Is(err, nats.ErrBadHeaderMsg), errors.Is(err, nats.ErrHeadersNotSupported), errors.Is(err, nats.ErrInvalidConnection):
		p.revoke(f, t.attempt)
		ready = p.fail(f, err)
	default:
		// The write failed on its way: some of it may have left. The
		// connection is being replaced, and the attempt repeated then.
		f.inTrouble().cause = err
	}
	p.outboxAll(ready)
	p.mu.Unlock()
}

// revoke takes back an attempt that is known not to have left.
func (p *Publisher) revoke(f *Future, attempt int32) {
	f.open &^= attemptBit(attempt)
	if attempt == 0 && f.begun == 1 {
		f.begun, f.horizon = 0, 0
	}
}
