package supervise

import "time"

// A wave is an ordered stop or start, or a stop, a delay and a start one after
// the other, of all children from a position on. There is at most one.
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

func (w *wave) drop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// covered reports whether the wave will still come to c.
func (s *Supervisor) covered(c *slot) bool {
	w := s.wave
	return w != nil && c.seq >= w.from && (w.phase != waveStart || c.seq >= w.at)
}

// kick starts c, which is meant to be up, now or in its turn.
func (s *Supervisor) kick(c *slot) {
	if s.covered(c) {
		if c.state != StateWaiting && !c.pending() {
			s.set(c, StateWaiting, nil)
		}
		return // the caller advances the wave
	}
	ok, giveUp := c.mayStart()
	switch {
	case giveUp:
		s.stopAll(c.ghosts[len(c.ghosts)-1].stuckNow())
	case ok:
		s.start(c)
	default:
		s.hold(c)
	}
}

// hold shows that c waits for an old run to end.
func (s *Supervisor) hold(c *slot) {
	state := StateStopping
	for _, r := range c.ghosts {
		if r.state == runAbandoned {
			state = StateAbandoned
		}
	}
	if c.state != state {
		s.set(c, state, nil)
	}
}

// advance moves the wave as far as it goes without waiting. Every event ends
// with it.
func (s *Supervisor) advance() {
	for s.wave != nil {
		w := s.wave
		var moved bool
		switch w.phase {
		case waveStop:
			moved = s.stopNext(w)
		case waveDelay:
			return
		case waveStart:
			moved = s.startNext(w)
		}
		if !moved && s.wave == w {
			return
		}
	}
}

// stopNext stops the last child that is not down and reports whether the wave
// moved.
func (s *Supervisor) stopNext(w *wave) bool {
	if w.final && s.cfg.Strategy == SimpleOneForOne && !w.toldAll {
		w.toldAll = true
		for i := len(s.slots) - 1; i >= 0; i-- {
			if r := s.slots[i].run; r != nil {
				s.tell(r)
			}
		}
	}
	i := s.index(w.at) - 1
	if i < 0 || s.slots[i].seq < w.from {
		s.stopped(w)
		return true
	}
	c := s.slots[i]
	if c.run != nil {
		s.tell(c.run)
		return c.run == nil
	}
	w.at = c.seq
	if w.final {
		s.rest(c)
	} else if c.spec.Restart == Temporary {
		s.dropTemporary(c)
	}
	return true
}

// rest leaves a child that is down as it is to be found after Run.
func (s *Supervisor) rest(c *slot) {
	c.cancelPending()
	c.resolve(callDown, nil)
	switch c.state {
	case StateDone, StateAbandoned, StateStopped, StateStopping:
	default:
		s.set(c, StateStopped, nil)
	}
}

func (s *Supervisor) dropTemporary(c *slot) {
	if len(c.ghosts) > 0 {
		c.want = wantGone
		return
	}
	s.drop(c, nil)
}

// stopped is called when all children of the wave are down.
func (s *Supervisor) stopped(w *wave) {
	switch {
	case w.final:
		s.wave = nil
		close(s.done)
	case w.parked || time.Now().Before(w.until):
		w.phase = waveDelay
		s.delayWave(w)
	default:
		w.phase, w.at = waveStart, w.from
	}
}

func (s *Supervisor) delayWave(w *wave) {
	if w.parked {
		return // the gate's waiter sets until
	}
	w.timer = time.AfterFunc(time.Until(w.until), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.wave != w || w.phase != waveDelay {
			return
		}
		w.phase, w.at = waveStart, w.from
		s.advance()
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
	case c.want != wantUp:
	case c.run != nil:
		if c.run.state != runUp {
			return false
		}
	case c.pending():
		return false
	default:
		ok, giveUp := c.mayStart()
		if giveUp {
			s.stopAll(c.ghosts[len(c.ghosts)-1].stuckNow())
			return false
		}
		if ok {
			s.start(c)
			return true
		}
		s.hold(c)
		if s.grouped() {
			return false // those behind c depend on it
		}
	}
	w.at = c.seq + 1
	return true
}

// grouped reports whether children depend on those before them.
func (s *Supervisor) grouped() bool {
	return s.cfg.Strategy == OneForAll || s.cfg.Strategy == RestForOne
}
