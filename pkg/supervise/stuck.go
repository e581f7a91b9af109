package supervise

import (
	"slices"
	"sync"
	"time"
)

// reporter collects the runs that are to be abandoned, so that one goroutine
// profile, which stops the world, serves all that are overdue at one time.
type reporter struct {
	mu   sync.Mutex
	runs []*run
	busy bool
}

// overdue is the end of a run's shutdown timeout.
//
// The profile is taken without s.mu, because it takes milliseconds with many
// goroutines. The run may end meanwhile: then ended has got the lock first,
// the state says so, and it was not stuck after all. A run that is overdue
// while another one's profile is taken is left to the goroutine that takes
// it, which comes back for a new one: a profile is always younger than the
// timeouts that it serves.
func (s *Supervisor) overdue(r *run) {
	rep := &s.stuck
	rep.mu.Lock()
	rep.runs = append(rep.runs, r)
	if rep.busy {
		rep.mu.Unlock()
		return
	}
	rep.busy = true
	for len(rep.runs) > 0 {
		batch := rep.runs
		rep.runs = nil
		rep.mu.Unlock()
		p := takeProfile()
		s.mu.Lock()
		for _, r := range batch {
			if r.state == runStopping || r.state == runDetached {
				s.abandon(r, p)
			}
		}
		s.advance()
		s.mu.Unlock()
		rep.mu.Lock()
	}
	rep.busy = false
	rep.mu.Unlock()
}

// abandon gives up waiting for r. Its slot stays taken until it ends, unless
// the specification allows a double.
func (s *Supervisor) abandon(r *run, p profile) {
	c, was := r.slot, r.state
	stuck := &StuckError{Path: c.path, Waited: time.Since(r.told)}
	stuck.Goroutines, stuck.Stacks = p.of(c.path, r.number)
	r.state, r.stuck = runAbandoned, stuck
	s.abandons++
	if was == runStopping {
		c.run = nil
		c.ghosts = append(c.ghosts, r)
	}
	if c.run == nil && c.state == StateStopping {
		s.set(c, StateAbandoned, stuck)
	} else { // the child has gone on without it
		c.last = newFailure(time.Now(), stuck)
		s.emit(Event{Time: time.Now(), Path: c.path, From: StateStopping, To: StateAbandoned, Err: stuck})
	}
	c.resolve(callDown, r.number, stuck)
	ok, giveUp := c.mayStart()
	if !ok {
		c.resolve(callUp, c.starts, stuck)
	}
	if giveUp {
		s.stopAll(stuck)
	}
	if was == runStopping {
		s.over(r, outcome{ok: true})
	}
}

// stuckRuns returns the abandoned runs of this supervisor and of those below.
// It locks one supervisor at a time.
func (s *Supervisor) stuckRuns(above ...*Supervisor) []*StuckError {
	s.mu.Lock()
	found := slices.Clone(s.stuckBelow)
	var below []*Supervisor
	for _, c := range s.slots {
		for _, r := range c.ghosts {
			if r.state == runAbandoned {
				found = append(found, r.stuck)
			}
		}
		if sup, ok := c.spec.Runner.(*Supervisor); ok {
			below = append(below, sup)
		}
	}
	s.mu.Unlock()
	above = append(slices.Clip(above), s)
	for _, sup := range below {
		if !slices.Contains(above, sup) {
			found = append(found, sup.stuckRuns(above...)...)
		}
	}
	return found
}
