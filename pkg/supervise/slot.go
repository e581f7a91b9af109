package supervise

import (
	"slices"
	"sort"
	"time"
)

// want is what a slot's child is meant to be, apart from where it is.
type want uint8

const (
	wantUp   want = iota
	wantDown      // stopped by a call, or done
	wantGone      // leaves the tree once nothing of it runs
)

// A slot is the place of one child in its supervisor. All fields are guarded
// by the supervisor's mu; spec, seq and path never change.
type slot struct {
	spec Child
	seq  uint64
	path string

	want  want
	state State
	since time.Time
	run   *run // starting, running or stopping; nil if none
	calls []*call
	// ghosts are runs that still go on but no longer are the child: abandoned
	// ones, and those that nobody waits for.
	ghosts []*run
	fresh  bool // added by a call and never ready

	timer    *time.Timer // of a delayed restart
	turn     uint64      // tells that timer from an earlier one that fires late
	parked   bool        // until the gate opens
	next     time.Time
	failures int // in a row, for the backoff
	starts   uint64
	restarts uint64
	last     *Failure
}

// call is a method call that waits for a slot.
type call struct {
	kind callKind
	done chan struct{}
	err  error // set before done is closed
}

type callKind uint8

const (
	callUp   callKind = iota // waits for a run to be ready
	callDown                 // waits for the run to be over
)

// resolve answers all calls of one kind.
func (c *slot) resolve(kind callKind, err error) {
	c.calls = slices.DeleteFunc(c.calls, func(w *call) bool {
		if w.kind != kind {
			return false
		}
		w.err = err
		close(w.done)
		return true
	})
}

// pending reports whether a restart of c waits for its own time or gate.
func (c *slot) pending() bool { return c.timer != nil || c.parked }

// cancelPending makes a timer that fires at this moment miss: it finds another
// turn when it gets the lock.
func (c *slot) cancelPending() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.turn++
	c.parked = false
	c.next = time.Time{}
}

func (s *Supervisor) set(c *slot, to State, err error) {
	from := c.state
	c.state, c.since = to, time.Now()
	if err != nil {
		c.last = newFailure(c.since, err)
	}
	s.emit(Event{Time: c.since, Path: c.path, From: from, To: to, Err: err, NextRestart: c.next})
}

// index returns the position of the first slot with at least this seq.
func (s *Supervisor) index(seq uint64) int {
	return sort.Search(len(s.slots), func(i int) bool { return s.slots[i].seq >= seq })
}

// drop takes c out of the tree.
func (s *Supervisor) drop(c *slot, err error) {
	c.cancelPending()
	i := s.index(c.seq)
	s.slots = slices.Delete(s.slots, i, i+1)
	delete(s.byName, c.spec.Name)
	s.set(c, StateRemoved, err)
	c.resolve(callUp, ErrStopped)
	c.resolve(callDown, nil)
}

// mayStart reports whether nothing is left of earlier runs of c that forbids a
// new one, and whether that is a reason to give up.
func (c *slot) mayStart() (ok, giveUp bool) {
	abandoned := 0
	for _, r := range c.ghosts {
		if r.state == runAbandoned {
			abandoned++
		}
	}
	switch c.spec.OnStuck {
	case StuckEscalate:
		return len(c.ghosts) == 0, abandoned > 0
	case StuckDouble:
		return abandoned < c.spec.MaxAbandoned, abandoned >= c.spec.MaxAbandoned
	case StuckHold:
	}
	return len(c.ghosts) == 0, false
}
