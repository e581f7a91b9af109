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
	seq  uint64 // grows in start order
	path string

	want  want
	state State // what Status shows; run, ghosts, timer and want decide
	since time.Time
	run   *run // starting, up or stopping; nil if none
	// ghosts are runs that go on but no longer are the child: abandoned ones,
	// and those that nobody waits for.
	ghosts []*run
	fresh  bool // added by a call and never ready
	ran    bool // started at least once in this Run
	byCall bool // the next start is not the supervisor's doing
	calls  []*call

	timer    *time.Timer // of a delayed restart
	turn     uint64      // tells that timer from an earlier one that fires late
	parked   bool        // until the gate opens
	next     time.Time
	failures int // in a row, for the backoff
	starts   uint64
	restarts uint64
	last     *Failure
}

func (s *Supervisor) insert(spec Child, state State) *slot {
	s.seq++
	c := &slot{spec: spec, seq: s.seq, path: s.path + "/" + spec.Name, state: state, since: time.Now()}
	s.slots = append(s.slots, c)
	s.byName[spec.Name] = c
	return c
}

// index returns the position of the first slot with at least this seq.
func (s *Supervisor) index(seq uint64) int {
	return sort.Search(len(s.slots), func(i int) bool { return s.slots[i].seq >= seq })
}

// set moves c to another state and tells everybody.
func (s *Supervisor) set(c *slot, to State, err error) {
	from := c.state
	c.state, c.since = to, time.Now()
	if err != nil {
		c.last = newFailure(c.since, err)
	}
	s.emit(Event{Time: c.since, Path: c.path, From: from, To: to, Err: err, NextRestart: c.next})
}

// remove takes c, which has no run, out of the tree, as soon as no earlier run
// of it goes on: a name whose run may still be at work is not given away.
func (s *Supervisor) remove(c *slot, err error) {
	c.cancelPending()
	c.want = wantGone
	c.resolve(callUp, c.starts, ErrStopped)
	if len(c.ghosts) > 0 {
		s.hold(c, err)
		return
	}
	c.resolve(callDown, c.starts, nil)
	i := s.index(c.seq)
	s.slots = slices.Delete(s.slots, i, i+1)
	delete(s.byName, c.spec.Name)
	s.set(c, StateRemoved, err)
}

// hold shows that c is down but an old run of it goes on.
func (s *Supervisor) hold(c *slot, err error) {
	if c.state == StateRunning || c.state == StateStarting {
		s.set(c, StateWaiting, err) // its run has ended and an older one goes on
		err = nil
	}
	if state := c.held(); c.state != state || err != nil {
		s.set(c, state, err)
	}
}

// held is the state of a child of which only ghosts are left.
func (c *slot) held() State {
	if c.lastStuck() != nil {
		return StateAbandoned
	}
	return StateStopping
}

// pending reports whether a restart of c waits for its own time or the gate.
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

// mayStart reports whether what is left of earlier runs allows a new one, and
// if not, whether that is a reason to give up.
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

// lastStuck returns the report of the run abandoned last, nil if there is none.
func (c *slot) lastStuck() *StuckError {
	for _, r := range slices.Backward(c.ghosts) {
		if r.state == runAbandoned {
			return r.stuck
		}
	}
	return nil
}

// call is a method call that waits for a slot.
type call struct {
	kind  callKind
	after uint64 // callUp: a run with a greater number is meant
	done  chan struct{}
	err   error // set before done is closed
}

type callKind uint8

const (
	callUp   callKind = iota // waits for a run to be ready
	callDown                 // waits for the run to be over
)

// resolve answers the calls of one kind that mean this run or one before it.
func (c *slot) resolve(kind callKind, number uint64, err error) {
	if len(c.calls) == 0 {
		return
	}
	c.calls = slices.DeleteFunc(c.calls, func(w *call) bool {
		if w.kind != kind || kind == callUp && err == nil && w.after >= number {
			return false
		}
		w.err = err
		close(w.done)
		return true
	})
}
