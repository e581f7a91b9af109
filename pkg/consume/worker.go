package consume

import (
	"errors"
	"time"

	"github.com/agner-go/agner/internal/goroutine"
)

// enqueue takes a delivery in, with loop.mu held, and sees that a worker comes
// for it. Workers are started as they are needed, up to the concurrency, and
// stay: a goroutine for each event would grow its stack anew each time.
func (l *loop) enqueue(d *delivery) {
	d.src.held++
	l.unsettled.push(d)
	l.queue = append(l.queue, d)
	switch {
	case l.batch != nil:
		// A worker that gathers a batch waits too: wake all, and see that one
		// comes for what exceeds their batches.
		l.wake.Broadcast()
		if l.idle == 0 {
			l.hire()
		}
	case l.idle > 0:
		l.wake.Signal()
	default:
		l.hire()
	}
}

// hire starts a worker if there is work and the concurrency allows one more,
// with loop.mu held.
func (l *loop) hire() {
	if l.first < len(l.queue) && l.workers < l.limit {
		l.workers++
		go l.work()
	}
}

// hireAll wakes and starts as many workers as there is work for, after the
// limit has grown, with loop.mu held.
func (l *loop) hireAll() {
	l.wake.Broadcast()
	for waiting := len(l.queue) - l.first - l.idle; waiting > 0 && l.workers < l.limit; waiting-- {
		l.workers++
		go l.work()
	}
	l.main.pull()
	l.lane.pull()
}

// work is a worker: it runs one delivery after the other.
func (l *loop) work() {
	ended := false
	defer func() {
		// runtime.Goexit in a handler ends this goroutine: the event is
		// settled by then, and another goroutine takes this one's place.
		if !ended {
			go l.work()
		}
	}()
	id := goroutine.ID()
	for {
		d := l.take(id)
		if d == nil || !l.process(d) {
			ended = true
			return
		}
	}
}

// take waits for the next delivery to run. It returns nil when the worker
// should end, and has then signed it off.
func (l *loop) take(worker string) *delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for l.first < len(l.queue) && l.running < l.limit && l.fuse.blown.IsZero() {
			if l.stale(l.queue[l.first]) {
				l.pop()
				continue
			}
			if !l.allowed() {
				break
			}
			d := l.pop()
			d.worker = worker
			l.running++
			return d
		}
		if l.draining {
			l.workers--
			l.notify()
			return nil
		}
		l.idle++
		l.wake.Wait()
		l.idle--
	}
}

// pop takes the head off the queue, with loop.mu held.
func (l *loop) pop() *delivery {
	d := l.queue[l.first]
	l.queue[l.first] = nil
	if l.first++; l.first == len(l.queue) {
		l.queue, l.first = l.queue[:0], 0
	}
	return d
}

// stale drops a delivery that waited beyond AckWait without a sign of life to
// the server: after a pause of the process, or a lost connection. Another
// instance has it by now or will have it soon, and running it here too would
// only double it. Called with loop.mu held.
func (l *loop) stale(d *delivery) bool {
	if time.Since(d.extended) < l.ackWait {
		return false
	}
	d.settled = true
	l.forget(d)
	l.counters.stale.Add(1)
	return true
}

// forget removes a delivery that is settled, with loop.mu held.
func (l *loop) forget(d *delivery) {
	l.unsettled.remove(d)
	d.src.held--
	d.src.pull()
	l.notify()
}

// notify wakes a drain that waits for the loop to become empty.
func (l *loop) notify() {
	if !l.draining {
		return
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// errGoexit is the error of a handler that ended its goroutine.
var errGoexit = errors.New("handler called runtime.Goexit")

// process runs one delivery and settles it. It returns false if the keeper or a
// drain gave up on the handler meanwhile: then the event is settled, and this
// worker is no longer counted as one.
func (l *loop) process(d *delivery) (ours bool) {
	if l.batch != nil {
		return l.processBatch(d)
	}
	a := &d.attempt
	v, decided := l.read(d, a)
	if !decided {
		l.solo.begin(&d.turn, d.suspect(), l.clock)
		if d.suspect() {
			// Once it has its turn: a mark of one that waits would be
			// taken for its death when another one ends the process.
			v, decided = l.question(d, a)
		}
	}
	err := errGoexit // stands if the handler does not come back
	defer func() {
		if !decided {
			v = l.judge(err, a.number)
		}
		ours = l.conclude(d, a, v)
	}()
	if !decided {
		err = l.run(a)
	}
	return true // conclude has the last word
}

// question marks a suspect event before its run. A mark that cannot be written
// leaves the event to a later delivery: running it unmarked could go on for
// ever.
func (l *loop) question(d *delivery, a *attempt) (v verdict, decided bool) {
	v, kills, err := l.mark(a)
	if err != nil {
		l.log.Warn("suspect event could not be marked; it goes back", "event", a.event.ID, "error", err)
		return verdict{outcome: outcomeHandBack, err: err, delay: requestTimeout}, true
	}
	if !kills {
		l.log.Warn("event was delivered often without an outcome; it is run alone", "event", a.event.ID, "deliveries", d.nth)
	}
	d.marked = true
	return v, kills
}

// judge is the verdict on a run; a handler that failed because a drain
// cancelled its context has not had its attempt.
func (l *loop) judge(err error, number int) verdict {
	if err != nil && l.base.Err() != nil {
		return verdict{outcome: outcomeHandBack, err: err}
	}
	return judge(err, number, l.policy)
}

// conclude claims a delivery whose fate is known and carries it out.
func (l *loop) conclude(d *delivery, a *attempt, v verdict) (ours bool) {
	l.mu.Lock()
	if d.settled {
		delete(l.hung, d)
		l.notify()
		l.mu.Unlock()
		l.counters.late.Add(1)
		return false
	}
	d.settled = true
	l.running--
	l.solo.end(&d.turn)
	now := time.Now()
	l.pace.ran(d.turn.ran(l.clock))
	if v.outcome != outcomeHandBack && l.fuse.ran(v.outcome == outcomeRetry || v.outcome == outcomeDead, now) {
		l.blow(now)
	}
	if v.outcome == outcomeAck {
		// The common end takes the lock once.
		l.forget(d)
		l.mu.Unlock()
		l.ack(d)
		l.counters.handled.Add(1)
		if d.marked {
			l.unmark(a)
		}
		return true
	}
	l.mu.Unlock()
	l.settle(d, a, v)
	return true
}

// abandon gives up on a delivery whose handler ignores its deadline: the event
// counts as failed, and the worker's place is free. The keeper has marked it
// settled and not yet forgotten it.
func (l *loop) abandon(d *delivery, stack string) {
	// Read anew: the handler that hangs may be using the first reading.
	var a attempt
	v, decided := l.read(d, &a)
	if !decided {
		v = l.judge(&HungError{Timeout: l.sub.handlerTimeout, Stack: stack}, a.number)
	}
	l.log.Error("handler ignores its deadline; its event is taken from it",
		"event", a.event.ID, "attempt", a.number, "timeout", l.sub.handlerTimeout, "stack", stack)
	l.settle(d, &a, v)
}
