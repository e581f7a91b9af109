package supervise

import (
	"context"
	"errors"
	"runtime/pprof"
	"sync"
	"time"
)

// A Gate is a shared condition, such as the connection to the broker, without
// which children cannot work. A child that fails while the gate is closed is
// parked: it uses no restart budget, and starts again when the gate opens. A
// closed gate stops nobody and keeps no first start from being tried.
//
// The methods must be safe for concurrent use, and Open and Blames must not
// block. A Gate may also have a method
//
//	Blames(err error) bool
//
// which reports whether err can only come from the condition ("connection
// closed", but not "timeout"). A failure that it blames uses no budget even if
// Open still, or again, reports true; the child then waits for its backoff.
type Gate interface {
	// Open reports whether the condition holds now.
	Open() bool
	// Wait returns nil once the condition holds, and ctx's error if ctx ends
	// first. Run does not return before it.
	Wait(ctx context.Context) error
}

// A Latch is a [Gate] that is opened and closed by hand, for example by the
// handlers of a connection. The zero value is open. It is safe for concurrent
// use and must not be copied.
type Latch struct {
	mu     sync.Mutex
	closed chan struct{} // nil while open
}

// SetOpen opens or closes the latch.
func (l *Latch) SetOpen(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case open && l.closed != nil:
		close(l.closed)
		l.closed = nil
	case !open && l.closed == nil:
		l.closed = make(chan struct{})
	}
}

// Open reports whether the latch is open.
func (l *Latch) Open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed == nil
}

// Wait returns nil once the latch is open, or ctx's error.
func (l *Latch) Wait(ctx context.Context) error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed == nil {
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// excuse says why a failure is not the child's.
type excuse uint8

const (
	excuseNone   excuse = iota
	excuseClosed        // the gate was closed when it failed
	excuseBlamed        // the gate is open but knows the error
)

func isClosed(gate Gate) bool { return gate != nil && !gate.Open() }

// excuseOf asks the gate. Call it without the lock: it is the user's code.
func excuseOf(gate Gate, err error) excuse {
	if isClosed(gate) {
		return excuseClosed
	}
	judge, ok := gate.(interface{ Blames(err error) bool })
	if err = rootCause(err); ok && err != nil && judge.Blames(err) {
		return excuseBlamed
	}
	return excuseNone
}

// rootCause returns, for supervisors below that gave up, the failure that made
// them do so, without what their children returned when they were stopped for
// it: that is no reason.
func rootCause(err error) error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch t := e.(type) { //nolint:errorlint // the outermost decides, one after the other
		case *IntensityError:
			return rootCause(t.Err)
		case *ShutdownError:
			return nil
		}
	}
	return err
}

// park lets c, and with it its group, wait for the gate.
func (s *Supervisor) park(c *slot, err error) {
	c.cancelPending()
	if s.grouped() {
		s.set(c, StateParked, err)
		s.regroup(c, time.Time{}, true)
	} else {
		c.parked = true
		s.set(c, StateParked, err)
	}
	s.waitGate()
}

// waitGate keeps one goroutine waiting as long as anything is parked.
func (s *Supervisor) waitGate() {
	if s.gateWaiting {
		return
	}
	s.gateWaiting = true
	s.helpers.Add(1)
	go s.awaitGate(s.base, s.scope.gate)
}

func (s *Supervisor) awaitGate(ctx context.Context, gate Gate) {
	defer s.helpers.Done()
	pprof.SetGoroutineLabels(ctx)
	for gate.Wait(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.cfg.Backoff.Min): // an error that is not ctx's must not make this hot
		}
	}
	s.gateOpened()
}

// gateOpened schedules everything that is parked, spread over the first delay
// of the backoff so that not all come back in the same instant.
func (s *Supervisor) gateOpened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gateWaiting = false
	if !s.active {
		return
	}
	for _, c := range s.slots {
		if c.parked {
			s.schedule(c, c.spec.Backoff.delay(0), nil)
		}
	}
	if w := s.wave; w != nil && w.parked {
		w.parked = false
		if until := time.Now().Add(s.cfg.Backoff.delay(0)); until.After(w.until) {
			w.until = until
		}
		s.relabel(w, StateParked, StateBackoff)
		if w.phase == waveDelay {
			s.delayWave(w)
		}
	}
	s.advance()
}

// parkWave lets a group that is due wait for the gate.
func (s *Supervisor) parkWave(w *wave) {
	w.parked, w.until = true, time.Time{}
	s.relabel(w, StateBackoff, StateParked)
	s.waitGate()
}

// relabel shows the children whose failure began w as waiting for something
// else than before.
func (s *Supervisor) relabel(w *wave, from, to State) {
	for _, c := range s.slots[s.index(w.from):] {
		if c.state == from {
			c.next = w.until
			s.set(c, to, nil)
		}
	}
}
