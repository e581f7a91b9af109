package supervise

import (
	"slices"
	"time"
)

// exited is called when a run ended that was not told to stop, or that failed
// to start in time. It is OTP's rule of what follows.
func (s *Supervisor) exited(c *slot, r *run, err error, ok, blamesGate bool) {
	c.resolve(callDown, nil)
	switch {
	case !s.active:
		// The end overtook the final stop, which has not come to c.
		if !ok {
			s.noteFailed(c, err)
		}
		s.set(c, StateStopped, failureOf(err, ok))
		return
	case c.want == wantGone:
		s.drop(c, failureOf(err, ok))
		return
	case s.wave != nil && s.wave.phase == waveStop && s.covered(c):
		s.set(c, StateWaiting, failureOf(err, ok)) // part of the incident that began the wave
		return
	}
	switch {
	case c.spec.Restart == Temporary:
		s.retire(c, err, ok)
		s.drop(c, failureOf(err, ok))
	case c.spec.Restart == Transient && ok:
		c.want = wantDown
		s.set(c, StateDone, nil)
		c.resolve(callUp, nil)
		s.retire(c, err, ok)
	case c.fresh && !blamesGate:
		c.resolve(callUp, err)
		s.drop(c, err)
	default:
		s.incident(c, r, failureOf(err, ok), blamesGate)
	}
}

func failureOf(err error, ok bool) error {
	if ok {
		return nil
	}
	return err
}

// retire applies AutoShutdown to the end of c, which is not restarted.
func (s *Supervisor) retire(c *slot, _ error, _ bool) {
	if !c.spec.Significant {
		return
	}
	switch s.cfg.AutoShutdown {
	case AutoShutdownNever:
		return
	case AutoShutdownAll:
		if slices.ContainsFunc(s.slots, func(o *slot) bool { return o.spec.Significant && o != c && o.run != nil }) {
			return
		}
	case AutoShutdownAny:
	}
	s.stopAll(nil)
}

// incident counts and schedules one restart.
func (s *Supervisor) incident(c *slot, r *run, err error, blamesGate bool) {
	now := time.Now()
	if !r.ready.IsZero() && now.Sub(r.ready) >= c.spec.Backoff.Reset {
		c.failures = 0
	}
	s.window = append(s.inWindow(now), now)
	if len(s.window) > s.cfg.MaxRestarts {
		if err != nil {
			c.last = newFailure(now, err)
		}
		s.stopAll(&IntensityError{
			Path: s.path, Child: c.spec.Name, Err: err,
			Restarts: len(s.window), MaxRestarts: s.cfg.MaxRestarts, Period: s.cfg.Period,
		})
		return
	}
	delay := c.spec.Backoff.delay(c.failures)
	c.failures++
	c.next = now.Add(delay)
	s.set(c, StateBackoff, err)
	turn := c.turn
	c.timer = time.AfterFunc(delay, func() { s.due(c, turn) })
}

// inWindow forgets the restarts that are older than the period. One that is
// exactly as old still counts, as in OTP.
func (s *Supervisor) inWindow(now time.Time) []time.Time {
	oldest := now.Add(-s.cfg.Period)
	i := 0
	for i < len(s.window) && s.window[i].Before(oldest) {
		i++
	}
	return s.window[i:]
}

func (s *Supervisor) due(c *slot, turn uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.turn != turn || !s.active {
		return
	}
	c.cancelPending()
	c.restarts++
	s.kick(c)
	s.advance()
}

func (s *Supervisor) blamesGate(err error) bool {
	_ = err
	return false
}
