package supervise

import (
	"sync"
	"time"
)

// reporter collects the runs that are to be abandoned, so that one goroutine
// profile serves all that are overdue at the same time.
type reporter struct {
	mu   sync.Mutex
	runs []*run
	busy bool
}

// overdue is the end of a run's shutdown timeout.
func (s *Supervisor) overdue(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != runStopping && r.state != runDetached {
		return
	}
	s.abandon(r, &StuckError{Path: r.slot.path, Waited: time.Since(r.told)})
	s.advance()
}

func (s *Supervisor) abandon(r *run, stuck *StuckError) {
	c := r.slot
	was := r.state
	r.state, r.stuck = runAbandoned, stuck
	s.abandons++
	if was == runStopping {
		c.run = nil
		c.ghosts = append(c.ghosts, r)
	}
	if c.run == nil {
		s.set(c, StateAbandoned, stuck)
	}
	c.resolve(callDown, stuck)
	ok, giveUp := c.mayStart()
	if !ok {
		c.resolve(callUp, stuck)
	}
	if giveUp {
		s.stopAll(stuck)
	}
	if was == runStopping {
		s.over(c, r, nil, true)
	}
}

// stuckErr is what a call gets that meets r.
func (r *run) stuckErr() error { return r.stuckNow() }

func (r *run) stuckNow() *StuckError {
	if r.stuck != nil {
		return r.stuck
	}
	return &StuckError{Path: r.slot.path, Waited: time.Since(r.told)}
}

// stuckRuns returns the abandoned runs of this supervisor and those below.
func (s *Supervisor) stuckRuns() []*StuckError {
	s.mu.Lock()
	var found []*StuckError
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
	for _, sup := range below {
		found = append(found, sup.stuckRuns()...)
	}
	return found
}
