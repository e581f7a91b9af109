package supervise

import (
	"slices"
	"time"
)

// A wave goes through the children in order: a start; or a stop, a delay and
// a start, one after the other, of all children from a position on; or the
// stop that ends Run. There is at most one.
type wave struct {
	phase wavePhase
	final bool   // the stop that ends Run
	from  uint64 // seq of the first child concerned
	// at is the position. Stopping: children at and above are down.
	// Starting: those below are up, or nobody waits for them.
	at      uint64
	toldAll bool
	parked  bool // the delay lasts until the gate opens
	until   time.Time
	timer   *time.Timer
}

type wavePhase uint8

const (
	waveStop wavePhase = iota
	waveDelay
	waveStart
)

func (s *Supervisor) final() bool { return s.wave != nil && s.wave.final }

// covered reports whether the wave will still come to c.
func (s *Supervisor) covered(c *slot) bool {
	w := s.wave
	return w != nil && c.seq >= w.from && (w.phase != waveStart || c.seq >= w.at)
}

// grouped reports whether children depend on those before them.
func (s *Supervisor) grouped() bool {
	return s.cfg.Strategy == OneForAll || s.cfg.Strategy == RestForOne
}

// kick starts c, which is down but meant to be up: now, in its turn, or when
// an old run has ended. Err is how its last run ended.
func (s *Supervisor) kick(c *slot, err error) {
	ok, giveUp := c.mayStart()
	switch {
	case giveUp:
		s.stopAll(c.lastStuck())
	case !ok:
		s.hold(c, err)
	case s.covered(c):
		if c.state != StateWaiting || err != nil {
			s.set(c, StateWaiting, err)
		}
	default:
		if err != nil {
			s.set(c, StateWaiting, err)
		}
		s.start(c)
	}
}

// advance moves the wave as far as it goes without waiting. Every event ends
// with it. What the steps call never calls it, and may replace the wave.
func (s *Supervisor) advance() {
	for s.wave != nil {
		w := s.wave
		moved := false
		switch w.phase {
		case waveStop:
			moved = s.stopNext(w)
		case waveDelay:
		case waveStart:
			moved = s.startNext(w)
		}
		if !moved && s.wave == w {
			return
		}
	}
}

// stopNext stops the last child that is not down yet and reports whether the
// wave moved.
func (s *Supervisor) stopNext(w *wave) bool {
	if w.final && s.cfg.Strategy == SimpleOneForOne && !w.toldAll {
		w.toldAll = true
		for _, c := range slices.Backward(slices.Clone(s.slots)) { // tell may remove
			if c.run != nil {
				s.tell(c.run)
			}
		}
	}
	i := s.index(w.at) - 1
	if i < 0 || s.slots[i].seq < w.from {
		s.allDown(w)
		return true
	}
	c := s.slots[i]
	if c.run != nil {
		s.tell(c.run)
		return c.run == nil
	}
	w.at = c.seq
	if !w.final && c.spec.Restart == Temporary && c.ran && c.want != wantGone {
		s.remove(c, nil)
	}
	return true
}

// allDown is called when all children of the wave are.
func (s *Supervisor) allDown(w *wave) {
	switch {
	case w.final:
		s.wave = nil
		close(s.done)
	case w.parked:
		w.phase = waveDelay
	case time.Now().Before(w.until):
		w.phase = waveDelay
		s.delayWave(w)
	default:
		w.phase, w.at = waveStart, w.from
	}
}

// delayWave arms the end of the delay. The gate is asked before the lock is
// taken, because it is the user's code.
func (s *Supervisor) delayWave(w *wave) {
	gate := s.scope.gate
	w.timer = time.AfterFunc(time.Until(w.until), func() {
		closed := isClosed(gate)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.wave != w || w.phase != waveDelay:
		case closed:
			s.parkWave(w)
		default:
			w.phase, w.at = waveStart, w.from
			s.advance()
		}
	})
}

// startNext starts the first child that is not up, waits for it if it is not
// ready, and reports whether the wave moved.
func (s *Supervisor) startNext(w *wave) bool {
	i := s.index(w.at)
	if i == len(s.slots) {
		s.wave = nil
		if s.state == StateStarting {
			s.become(StateRunning, nil)
			close(s.up)
		}
		return true
	}
	c := s.slots[i]
	switch {
	case c.want != wantUp: // nobody waits for it
	case c.run != nil:
		if c.run.state != runUp {
			return false
		}
	case c.pending():
		return false
	default:
		ok, giveUp := c.mayStart()
		switch {
		case giveUp:
			s.stopAll(c.lastStuck())
			return false
		case ok:
			s.start(c)
			return true
		}
		s.hold(c, nil)
		// A run that nobody waited for ends soon, or is abandoned. That may
		// last for ever, and one-for-one means that others do not suffer.
		if s.grouped() || c.lastStuck() == nil {
			return false
		}
	}
	w.at = c.seq + 1
	return true
}

// regroup begins the restart of c and of those that depend on it. A wave that
// is under way becomes part of it: what it had already started counts as up,
// what it had stopped stays so.
func (s *Supervisor) regroup(c *slot, until time.Time, parked bool) {
	next := &wave{phase: waveStop, from: c.seq, at: s.seq + 1, until: until, parked: parked}
	if s.cfg.Strategy == OneForAll {
		next.from = 0
	}
	if w := s.wave; w != nil {
		s.cancelWave()
		if w.phase == waveDelay || w.phase == waveStop {
			next.from = min(next.from, w.from)
			next.parked = next.parked || w.parked
			if w.until.After(next.until) {
				next.until = w.until
			}
		}
	}
	s.wave = next
	// As in OTP, what had ended by itself comes back with its group; what a
	// call has stopped does not, unlike there.
	for _, o := range s.slots[s.index(next.from):] {
		if o.state == StateDone {
			o.want = wantUp
			s.set(o, StateWaiting, nil)
		}
	}
}

func (s *Supervisor) cancelWave() {
	if s.wave != nil && s.wave.timer != nil {
		s.wave.timer.Stop()
	}
	s.wave = nil
}
