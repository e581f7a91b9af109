package publish

import (
	"context"
	"runtime"
)

// Callers that each wait for their acknowledgement send in groups. Left to
// themselves, each would write its message, wake the connection's flusher and
// wait; the scheduler runs the flusher next, so each message would be a write
// of its own. Instead the first of them leads: it lets the others that are
// ready run first, which only add to the group, and then writes for all. With
// 64 callers that is one write for dozens of messages, here and at the server.
// A caller alone, and asynchronous ones, which do not wait between messages,
// write for themselves.

// group adds an attempt to the group if there is one to be, and tells whether
// the caller is to lead it. mu is held.
func (p *Publisher) group(t *transmission) (lead, grouped bool) {
	if t.future == nil || !t.future.pooled || p.inFlight == 1 {
		return false, false
	}
	p.grouped = append(p.grouped, *t)
	if p.leading {
		return false, true
	}
	p.leading = true
	return true, true
}

// lead writes what the group has, round by round, until it is empty, or until
// own is settled or its context has ended: then its caller has better things to
// do, and a goroutine goes on.
func (p *Publisher) lead(ctx context.Context, own *Future) {
	for {
		runtime.Gosched()
		p.mu.Lock()
		batch := p.grouped
		if len(batch) == 0 || p.inFlight == 0 {
			clear(batch)
			p.grouped, p.leading = batch[:0], false
			p.mu.Unlock()
			return
		}
		if own != nil && (own.settled.Load() || ctx.Err() != nil) {
			p.work.Go(func() { p.lead(context.WithoutCancel(ctx), nil) })
			p.mu.Unlock()
			return
		}
		p.grouped, p.groupSpare = p.groupSpare[:0], nil
		p.mu.Unlock()
		for i := range batch {
			if !batch[i].future.settled.Load() {
				p.transmit(&batch[i])
			}
		}
		clear(batch)
		p.mu.Lock()
		p.groupSpare = batch[:0]
		p.mu.Unlock()
	}
}
