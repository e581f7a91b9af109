package consume

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// stop drains the loop: pulling stops, what has not begun goes back, handlers
// finish, words are flushed; all within DrainTimeout.
func (l *loop) stop() error {
	end := time.NewTimer(l.cfg.DrainTimeout)
	defer end.Stop()
	// Handlers are cancelled a little before the end, so that those that heed
	// their context still settle their events themselves.
	soft := time.NewTimer(l.cfg.DrainTimeout - min(l.cfg.DrainTimeout/5, 2*time.Second))
	defer soft.Stop()

	closed := l.stopPulling()
	l.giveBack(l.takeQueue())
	err := l.awaitHandlers(soft.C, end.C)
	l.cancel()
	l.background.Wait()
	l.awaitClosed(closed, end.C)
	l.flush()
	return err
}

// stopPulling ends the sources' subscriptions. Events on their way here still
// arrive, and are handed back on receipt; the server drops requests whose inbox
// nobody listens to. The channels close when a subscription has ended.
func (l *loop) stopPulling() (closed []<-chan struct{}) {
	l.mu.Lock()
	l.draining = true
	close(l.stopping)
	l.mu.Unlock()
	for _, s := range []*source{l.main, l.lane} {
		if s.sub == nil {
			continue
		}
		if !l.js.Conn().IsConnected() {
			// A drain would wait for a round trip that nobody answers.
			_ = s.sub.Unsubscribe() // it is ours and open: cannot fail but by a closed connection
			continue
		}
		done := make(chan struct{})
		s.sub.SetClosedHandler(func(string) { close(done) })
		if err := s.sub.Drain(); err != nil {
			// The connection is closed: nothing arrives any more.
			_ = s.sub.Unsubscribe()
			continue
		}
		closed = append(closed, done)
	}
	return closed
}

// takeQueue claims all that has not begun.
func (l *loop) takeQueue() []*delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.wake.Broadcast()
	return l.clearQueue()
}

// clearQueue empties the queue, with loop.mu held; the caller gives back what
// was in it.
func (l *loop) clearQueue() []*delivery {
	waiting := l.queue[l.first:]
	l.queue, l.first = nil, 0
	for _, d := range waiting {
		d.settled = true
		l.forget(d)
	}
	return waiting
}

func (l *loop) giveBack(ds []*delivery) {
	for _, d := range ds {
		l.handBack(d)
	}
}

// awaitHandlers keeps deadlines extended until every event is settled and every
// worker has gone, or the time is over.
func (l *loop) awaitHandlers(soft, end <-chan time.Time) error {
	tick := time.NewTicker(min(max(l.ackWait/12, 10*time.Millisecond), time.Second))
	defer tick.Stop()
	for !l.empty() {
		select {
		case <-l.changed:
		case now := <-tick.C:
			l.tend(now)
		case <-soft:
			l.cancel()
		case <-end:
			return l.giveUp()
		}
	}
	return nil
}

// empty tells whether nothing of the loop runs any more, save handlers that
// were given up: nobody can wait for those.
func (l *loop) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsettled.n == 0 && l.workers == 0
}

// giveUp hands back the events of handlers that outlasted the drain.
func (l *loop) giveUp() error {
	l.mu.Lock()
	var left []*delivery
	var names []string
	for d := l.unsettled.head; d != nil; d = d.next {
		names = append(names, l.sub.name+": "+d.eventID())
		if !d.settled {
			d.settled = true
			left = append(left, d)
			if d.lead() == d {
				l.solo.end(&d.turn)
				l.running--
				l.workers--
				l.hung[d] = struct{}{}
			}
		}
	}
	for _, d := range left {
		l.forget(d)
	}
	l.mu.Unlock()
	l.giveBack(left)
	return &DrainError{Timeout: l.cfg.DrainTimeout, Handlers: names}
}

func (l *loop) awaitClosed(closed []<-chan struct{}, end <-chan time.Time) {
	// A drained subscription ends after one round trip; without a connection
	// it would wait for one.
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for _, c := range closed {
		select {
		case <-c:
		case <-patience.C:
			l.dropSubscriptions()
			return
		case <-end:
			l.dropSubscriptions()
			return
		}
	}
}

func (l *loop) dropSubscriptions() {
	for _, s := range []*source{l.main, l.lane} {
		if s.sub != nil {
			_ = s.sub.Unsubscribe() // gone already is as good
		}
	}
}

// flush sees that acknowledgements have reached the server. Without a
// connection there is nobody to flush to: the events come again.
func (l *loop) flush() {
	nc := l.js.Conn()
	if nc.Status() != nats.CONNECTED {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.base), time.Second)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		l.log.Warn("acknowledgements were not flushed; their events may come again", "error", err)
	}
}
