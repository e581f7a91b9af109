package supervise

import (
	"slices"
	"time"
)

// exited is called when a run ended that was not told to stop, or that was
// because it failed to start in time. It is OTP's rule of what follows.
func (s *Supervisor) exited(r *run, out outcome) {
	c := r.slot
	c.resolve(callDown, r.number, nil)
	switch {
	case !s.active: // the end overtook the final stop, which has not come to c
		if !out.ok {
			s.noteFailed(c, out.err)
		}
		s.rest(c, out.err)
		return
	case c.want == wantGone:
		s.remove(c, out.err)
		return
	case s.wave != nil && s.wave.phase == waveStop && s.covered(c):
		s.kick(c, out.err) // part of the incident that began the wave
		return
	}
	neverReady := r.ready.IsZero()
	if neverReady && !out.ok && out.excuse == excuseNone {
		c.resolve(callUp, r.number, &ChildError{Path: c.path, Err: out.err})
	}
	switch {
	case c.spec.Restart == Temporary:
		s.retire(c)
		s.remove(c, out.err)
	case c.spec.Restart == Transient && out.ok:
		c.want = wantDown
		s.set(c, StateDone, nil)
		c.resolve(callUp, r.number, nil)
		s.retire(c)
	case c.fresh && !out.ok && out.excuse == excuseNone:
		s.remove(c, out.err)
	default:
		s.incident(r, out)
	}
}

// retire applies AutoShutdown to c, which ended by itself and stays down.
func (s *Supervisor) retire(c *slot) {
	if !c.spec.Significant {
		return
	}
	switch s.cfg.AutoShutdown {
	case AutoShutdownNever:
		return
	case AutoShutdownAll:
		if slices.ContainsFunc(s.slots, func(o *slot) bool {
			return o != c && o.spec.Significant && o.want == wantUp
		}) {
			return
		}
	case AutoShutdownAny:
	}
	s.stopAll(nil)
}

// incident counts and schedules one restart, of c alone or with its group.
func (s *Supervisor) incident(r *run, out outcome) {
	c, now := r.slot, time.Now()
	if !r.ready.IsZero() && now.Sub(r.ready) >= c.spec.Backoff.Reset {
		c.failures = 0
	}
	if out.excuse == excuseNone && !s.count(c, out.err, now) {
		return
	}
	if out.excuse == excuseClosed {
		s.park(c, out.err)
		return
	}
	delay := c.spec.Backoff.delay(c.failures)
	c.failures++
	free, _ := c.mayStart()
	switch {
	case !free && c.lastStuck() != nil:
		s.hold(c, out.err) // until its old run ends, which is later than the delay
		if s.grouped() {
			s.regroup(c, now.Add(delay), false)
		}
	case s.grouped():
		c.next = now.Add(delay)
		s.set(c, StateBackoff, out.err)
		s.regroup(c, c.next, false)
	default:
		s.schedule(c, delay, out.err)
	}
}

// count adds a restart to the window and reports whether it is allowed. If it
// is not, the supervisor gives up.
func (s *Supervisor) count(c *slot, err error, now time.Time) bool {
	s.window = append(s.inWindow(now), now)
	if len(s.window) <= s.cfg.MaxRestarts {
		return true
	}
	s.rest(c, err)
	s.stopAll(&IntensityError{
		Path: s.path, Child: c.spec.Name, Err: err,
		Restarts: len(s.window), MaxRestarts: s.cfg.MaxRestarts, Period: s.cfg.Period,
	})
	return false
}

// inWindow returns the restarts that are not older than the period. One that
// is exactly as old still counts, as in OTP.
func (s *Supervisor) inWindow(now time.Time) []time.Time {
	oldest := now.Add(-s.cfg.Period)
	i := 0
	for i < len(s.window) && s.window[i].Before(oldest) {
		i++
	}
	return s.window[i:]
}

// schedule restarts c alone after a delay.
func (s *Supervisor) schedule(c *slot, delay time.Duration, err error) {
	c.cancelPending()
	c.next = time.Now().Add(delay)
	s.set(c, StateBackoff, err)
	turn, gate := c.turn, s.scope.gate
	c.timer = time.AfterFunc(delay, func() { s.due(c, turn, isClosed(gate)) })
}

func (s *Supervisor) due(c *slot, turn uint64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.turn != turn || !s.active {
		return
	}
	c.cancelPending()
	if closed {
		s.park(c, nil)
	} else {
		s.kick(c, nil)
	}
	s.advance()
}
