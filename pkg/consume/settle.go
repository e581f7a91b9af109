package consume

import (
	"context"
	"time"
)

// settle carries out a verdict that is more than an acknowledgement. The
// delivery is claimed; it stays among the unsettled, so that its deadline is
// extended, until what must be stored is stored.
//
// What must be stored waits for the server without a worker, so that failing
// events do not hold up healthy ones. If it cannot be stored the original stays
// pending and this is tried again. Meanwhile the delivery holds its place in
// the prefetch: a store that stays broken slows the subscription down instead of
// filling the memory.
func (l *loop) settle(d *delivery, a *attempt, v verdict) {
	l.tell(a, v)
	if v.outcome != outcomeRetry && v.outcome != outcomeDead {
		l.store(d, a, v)
		return
	}
	l.background.Go(func() {
		if l.store(d, a, v) {
			return
		}
		for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
			select {
			case <-l.base.Done():
				l.carryOut(d, verdict{outcome: outcomeHandBack})
				return
			case <-time.After(wait):
			}
			if l.store(d, a, v) {
				return
			}
		}
	})
}

// store writes what the verdict asks for and then settles the delivery. It
// returns false if the write failed.
func (l *loop) store(d *delivery, a *attempt, v verdict) bool {
	ctx, cancel := context.WithTimeout(l.base, requestTimeout)
	defer cancel()
	var err error
	switch v.outcome {
	case outcomeRetry:
		if l.oversize(d.msg) {
			// Too large for the lane: it waits in the pending window.
			l.nak(d, v.delay)
			l.done(d)
			return true
		}
		err = l.toLane(ctx, d, a, v)
	case outcomeDead:
		err = l.toDead(ctx, d, a, v)
	case outcomeAck, outcomeDiscard, outcomeHandBack:
	}
	if err != nil && l.base.Err() == nil {
		l.counters.setError(err)
		l.log.Error("could not store what becomes of a failed event; it stays pending and this is tried again",
			"event", a.event.ID, "sequence", a.origin.sequence, "error", err)
		return false
	}
	if err != nil {
		v.outcome = outcomeHandBack
	}
	l.carryOut(d, v)
	if v.outcome == outcomeDead {
		l.notice(Notice{
			Kind: NoticeDeadLettered, Reason: v.reason, Err: v.err,
			EventID: a.event.ID, EventType: a.event.Type, EventKey: a.event.Key,
		})
	}
	if d.marked && v.outcome != outcomeHandBack {
		l.unmark(a)
	}
	return true
}

// carryOut tells the server the end of a delivery.
func (l *loop) carryOut(d *delivery, v verdict) {
	switch v.outcome {
	case outcomeAck:
		l.ack(d)
	case outcomeRetry:
		l.ack(d)
		l.counters.retried.Add(1)
	case outcomeDead:
		l.term(d, v.reason)
		l.counters.dead.Add(1)
	case outcomeDiscard:
		l.term(d, "discarded")
		l.counters.discarded.Add(1)
	case outcomeHandBack:
		l.nak(d, v.delay)
	}
	l.done(d)
}

// done forgets a claimed delivery.
func (l *loop) done(d *delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(d)
}

// tell logs a failed run and counts it.
func (l *loop) tell(a *attempt, v verdict) {
	if v.outcome == outcomeAck || v.outcome == outcomeHandBack {
		return
	}
	l.counters.failed.Add(1)
	l.counters.setError(v.err)
	args := []any{
		"event", a.event.ID, "type", a.event.Type, "sequence", a.origin.sequence,
		"attempt", a.number, "error", v.err,
	}
	switch v.outcome {
	case outcomeRetry:
		l.log.Warn("handler failed; the event is run again", append(args, "in", v.delay)...)
	case outcomeDead:
		l.log.Error("event becomes a dead letter", append(args, "reason", v.reason)...)
	case outcomeDiscard:
		l.log.Info("event discarded by its handler", args...)
	case outcomeAck, outcomeHandBack:
	}
}
