package supervise

import (
	"errors"
	"slices"
	"time"
)

// State is where a child, or a supervisor, is in its life.
type State string

const (
	// StateIdle is a supervisor that was never run, and its children.
	StateIdle State = "idle"
	// StateWaiting is a child whose turn in an ordered start has not come.
	StateWaiting State = "waiting"
	// StateStarting is a run that is not ready yet.
	StateStarting State = "starting"
	// StateRunning is a run that is up.
	StateRunning State = "running"
	// StateBackoff is a child that failed and is restarted at NextRestart.
	StateBackoff State = "backoff"
	// StateParked is a child that waits for the gate.
	StateParked State = "parked"
	// StateStopping is a run whose context is cancelled, or a supervisor that
	// stops its children.
	StateStopping State = "stopping"
	// StateStopped is a child that was stopped by a call or by a shutdown.
	StateStopped State = "stopped"
	// StateDone is a child that ended by itself and is not restarted.
	StateDone State = "done"
	// StateAbandoned is a run that did not stop in time and goes on.
	StateAbandoned State = "abandoned"
	// StateFailed is a supervisor that gave up.
	StateFailed State = "failed"
	// StateRemoved ends the events of a child that left the tree.
	StateRemoved State = "removed"
)

// Status is a supervisor or a child at one moment, and what is below it. It
// is a plain value that shares nothing with the tree.
type Status struct {
	Name        string      `json:"name"`
	Path        string      `json:"path"`
	State       State       `json:"state"`
	Since       time.Time   `json:"since"`
	Restart     string      `json:"restart,omitempty"`      // class of a child
	Starts      uint64      `json:"starts"`                 // runs of a child, also in earlier Runs of its supervisor
	Restarts    uint64      `json:"restarts"`               // of these, by the supervisor
	NextRestart *time.Time  `json:"next_restart,omitempty"` // in state backoff
	LastError   *Failure    `json:"last_error,omitempty"`
	Abandoned   []Abandoned `json:"abandoned,omitempty"` // runs of a child that are still there

	Supervisor *SupervisorStatus `json:"supervisor,omitempty"` // nil for a plain child
	Children   []Status          `json:"children,omitempty"`   // in start order
}

// SupervisorStatus is what only a supervisor has.
type SupervisorStatus struct {
	Strategy       string        `json:"strategy"`
	RestartsUsed   int           `json:"restarts_used"` // of the budget, in the window that ends now
	MaxRestarts    int           `json:"max_restarts"`
	Period         time.Duration `json:"period_ns"`
	AbandonedTotal uint64        `json:"abandoned_total"` // runs ever abandoned
	AbandonedNow   int           `json:"abandoned_now"`   // of these, still there
	EventsDropped  uint64        `json:"events_dropped,omitempty"`
}

// Failure is how a run ended, when it did not end normally.
type Failure struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
	Stack string    `json:"stack,omitempty"` // of a panic, or of the goroutines of an abandoned run
}

// Abandoned is one run that outlived its shutdown timeout.
type Abandoned struct {
	Since      time.Time `json:"since"`
	Goroutines int       `json:"goroutines"`
	Stacks     string    `json:"stacks"`
}

// Find returns the node with the given path, or nil.
func (s *Status) Find(path string) *Status {
	if s.Path == path {
		return s
	}
	for i := range s.Children {
		if found := s.Children[i].Find(path); found != nil {
			return found
		}
	}
	return nil
}

func newFailure(now time.Time, err error) *Failure {
	f := &Failure{Time: now, Error: err.Error()}
	var panicked *PanicError
	var stuck *StuckError
	switch {
	case errors.As(err, &panicked):
		f.Stack = panicked.Stack
	case errors.As(err, &stuck):
		f.Stack = stuck.Stacks
	}
	return f
}

// Status returns the tree as it is now. It never waits for a child and may be
// called at any time, also before, after and during Run. Each supervisor is
// read at one moment, the whole tree is not.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	path := s.path
	s.mu.Unlock()
	return s.status(path)
}

// status copies under the lock and looks below after it, so that no two
// supervisors are ever locked at once. Above are those on the way here: a
// supervisor that was added below itself is not followed for ever.
func (s *Supervisor) status(path string, above ...*Supervisor) Status {
	st, runners := s.own(path)
	above = append(slices.Clip(above), s)
	for i, r := range runners {
		var below Status
		switch tree := r.(type) {
		case *Supervisor:
			if slices.Contains(above, tree) {
				continue
			}
			below = tree.status(st.Children[i].Path, above...)
		case Tree:
			below = tree.Status()
		default:
			continue
		}
		st.Children[i].Supervisor, st.Children[i].Children = below.Supervisor, below.Children
	}
	return st
}

// own is the status without what is below the children, and their runners.
func (s *Supervisor) own(path string) (Status, []Runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sup := &SupervisorStatus{
		Strategy: s.cfg.Strategy.String(), MaxRestarts: s.cfg.MaxRestarts, Period: s.cfg.Period,
		RestartsUsed: len(s.inWindow(time.Now())), AbandonedTotal: s.abandons, EventsDropped: s.events.lost(),
	}
	st := Status{Name: s.cfg.Name, Path: path, State: s.state, Since: s.since, Supervisor: sup}
	var runners []Runner
	if s.scope == nil { // never run
		for _, spec := range s.initial {
			st.Children = append(st.Children, Status{
				Name: spec.Name, Path: path + "/" + spec.Name, State: StateIdle, Restart: spec.Restart.String(),
			})
			runners = append(runners, spec.Runner)
		}
	}
	for _, c := range s.slots {
		child := c.status(path + "/" + c.spec.Name)
		sup.AbandonedNow += len(child.Abandoned)
		st.Children = append(st.Children, child)
		runners = append(runners, c.spec.Runner)
	}
	return st, runners
}

func (c *slot) status(path string) Status {
	st := Status{
		Name: c.spec.Name, Path: path, State: c.state, Since: c.since, Restart: c.spec.Restart.String(),
		Starts: c.starts, Restarts: c.restarts,
	}
	if !c.next.IsZero() {
		next := c.next
		st.NextRestart = &next
	}
	if c.last != nil {
		last := *c.last
		st.LastError = &last
	}
	for _, r := range c.ghosts {
		if r.state == runAbandoned {
			st.Abandoned = append(st.Abandoned, Abandoned{
				Since: r.told.Add(r.stuck.Waited), Goroutines: r.stuck.Goroutines, Stacks: r.stuck.Stacks,
			})
		}
	}
	return st
}
