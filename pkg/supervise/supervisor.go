package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A Supervisor runs children, restarts them by their specification, and stops
// them in reverse order. It is a [ReadyRunner] and a [Tree], so it can be the
// child of another. Make one with [New]. All methods are safe for concurrent
// use, also by its own children.
//
// There is no goroutine that owns the state: each event (a run ended, a timer
// fired, a call came) takes mu, moves the state as far as it goes without
// waiting, and releases it. Nothing blocks while mu is held, and no code of
// the user's runs under it, so that Status always answers and a call can
// never wait for a shutdown that waits for the call.
type Supervisor struct {
	cfg     Config
	initial []Child

	mu     sync.Mutex
	busy   bool // from the beginning of a Run to its return
	active bool // children may be started: no final stop yet
	told   bool // to stop, by the end of its context
	nested bool // the supervisor above tells where it stands
	state  State
	since  time.Time
	path   string
	scope  *scope          // of the last Run; nil before the first
	base   context.Context //nolint:containedctx // parent of the children's contexts, lives as long as one Run
	quit   context.CancelFunc
	up     chan struct{} // closed when the first start is through
	done   chan struct{} // closed when the final stop is

	slots  []*slot // by seq
	byName map[string]*slot
	seq    uint64
	wave   *wave
	window []time.Time // of the restarts that count

	result     error         // why the supervisor gave up
	failed     []*ChildError // children that stopped with an error
	stuckBelow []*StuckError // told by children that are not supervisors
	abandons   uint64

	gateWaiting bool
	helpers     sync.WaitGroup
	events      queue
	stuck       reporter
}

// New checks the configuration and the children, whose order is the order of
// start, and starts nothing. The error names the child and the field.
func New(cfg Config, children ...Child) (*Supervisor, error) {
	resolved, err := cfg.resolve()
	if err != nil {
		return nil, fmt.Errorf("supervise: new %q: %w", cfg.Name, err)
	}
	s := &Supervisor{cfg: resolved, state: StateIdle, path: resolved.Name, events: queue{limit: maxEvents}}
	seen := make(map[string]bool, len(children))
	for _, c := range children {
		c, err := c.resolve(&s.cfg)
		if err == nil && seen[c.Name] {
			err = fmt.Errorf("child %q: name is used twice", c.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("supervise: new %q: %w", resolved.Name, err)
		}
		seen[c.Name] = true
		s.initial = append(s.initial, c)
	}
	return s, nil
}

// Run starts the children in order and supervises them until ctx ends. Then
// it stops them in reverse order, cancelling the context of each only in its
// turn and waiting for it up to its own [Child.Shutdown]; the context of a
// child carries ctx's values but not its end.
//
// It returns nil after a clean stop, also by [AutoShutdown]; a
// [ShutdownError] if a child was abandoned or stopped with an error; an
// [IntensityError] if it gave up; and [ErrRunning] if it is
// running already. It may be called again once it has returned. A new run
// begins, as in OTP, with the children given to [New] and an unused budget;
// abandoned runs are remembered and still not doubled.
func (s *Supervisor) Run(ctx context.Context) error {
	return s.RunReady(ctx, func() {})
}

// RunReady is [Supervisor.Run]; it calls ready when all children given to New
// have been started and are ready.
func (s *Supervisor) RunReady(ctx context.Context, ready func()) error {
	up, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	ended := ctx.Done()
	for running := true; running; {
		select {
		case <-up:
			up = nil
			ready()
		case <-ended:
			ended = nil
			s.mu.Lock()
			s.told = true
			s.stopAll(nil)
			s.advance()
			s.mu.Unlock()
		case <-done:
			running = false
		}
	}
	return s.end()
}

func (s *Supervisor) begin(ctx context.Context) (up, done chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return nil, nil, fmt.Errorf("supervise %s: run: %w", s.path, ErrRunning)
	}
	s.busy, s.active, s.told = true, true, false
	s.enter(ctx)
	s.base, s.quit = context.WithCancel(s.scope.ctx)
	s.window, s.result, s.failed, s.stuckBelow = nil, nil, nil, nil
	s.gateWaiting = false // the last Run has waited for the one who did
	s.up, s.done = make(chan struct{}), make(chan struct{})
	s.rebuild()
	s.become(StateStarting, nil)
	s.wave = &wave{phase: waveStart}
	if ctx.Err() != nil {
		s.told = true
		s.stopAll(nil)
	}
	s.advance()
	return s.up, s.done, nil
}

// inherited is what a supervisor takes from the one above if its own
// configuration leaves it open.
type inherited struct {
	gate Gate
	log  *slog.Logger
}

// enter finds the supervisor's place in the tree from the context.
func (s *Supervisor) enter(ctx context.Context) {
	sc := &scope{sup: s, ctx: context.WithoutCancel(ctx), inherited: inherited{gate: s.cfg.Gate, log: s.cfg.Logger}}
	s.path, s.scope, s.nested = s.cfg.Name, sc, false
	if l, ok := ctx.Value(lineageKey{}).(*lineage); ok {
		sc.up = l
		s.path = l.slot.path
		if _, s.nested = l.slot.spec.Runner.(Tree); !s.nested {
			s.path += "/" + s.cfg.Name // run by a plain child, perhaps beside others
		}
		if sc.gate == nil {
			sc.gate = l.scope.gate
		}
		if sc.log == nil {
			sc.log = l.scope.log
		}
	}
	if sc.log == nil {
		sc.log = slog.Default()
	}
}

// rebuild makes the slots of a new run. Children keep their history, and runs
// that an earlier Run left behind keep their slots taken.
func (s *Supervisor) rebuild() {
	old := s.slots
	s.slots, s.byName = make([]*slot, 0, len(s.initial)), make(map[string]*slot, len(s.initial))
	for _, spec := range s.initial {
		s.insert(spec, StateWaiting)
	}
	for _, o := range old {
		c := s.byName[o.spec.Name]
		if c == nil {
			if len(o.ghosts) == 0 {
				continue
			}
			c = s.insert(o.spec, o.state)
			c.want = wantGone
		}
		c.last, c.starts, c.restarts, c.byCall = o.last, o.starts, o.restarts, true
		c.ghosts = o.ghosts
		for _, r := range c.ghosts {
			r.slot = c
		}
		// Of one that was added by a call nothing is left but its ghosts.
		if ok, _ := c.mayStart(); !ok || c.want == wantGone {
			c.state = c.held()
		}
	}
}

// end is the last part of Run, after the last child.
func (s *Supervisor) end() error {
	s.quit()
	s.helpers.Wait()
	stuck := s.stuckRuns()
	s.mu.Lock()
	err := s.verdict(stuck)
	if s.result != nil {
		s.become(StateFailed, err)
	} else {
		s.become(StateStopped, err)
	}
	s.mu.Unlock()
	s.events.flush()
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
	return err
}

// verdict puts together why the supervisor gave up, if it did, and what went
// wrong when it stopped its children.
func (s *Supervisor) verdict(stuck []*StuckError) error {
	var unclean *ShutdownError
	if len(stuck)+len(s.failed) > 0 {
		unclean = &ShutdownError{Path: s.path, Stuck: stuck, Failed: s.failed}
	}
	switch why := s.result.(type) { //nolint:errorlint // it is set by stopAll, as it is
	case *IntensityError:
		told := *why // the original is in an event that may be read right now
		told.Unclean = unclean
		return &told
	case *StuckError:
		return &ShutdownError{Path: s.path, GaveUp: why, Stuck: stuck, Failed: s.failed}
	}
	if unclean == nil {
		return nil
	}
	return unclean
}

// stopAll prepares the final stop, once; the caller advances the wave. Cause is
// why the supervisor gives up, nil if it does not.
func (s *Supervisor) stopAll(cause error) {
	if !s.active {
		return
	}
	s.active = false
	s.result = cause
	s.become(StateStopping, cause)
	s.cancelWave()
	s.wave = &wave{phase: waveStop, final: true, at: s.seq + 1}
	for _, c := range s.slots {
		c.resolve(callUp, c.starts, ErrNotRunning)
		if c.run == nil {
			s.rest(c, nil)
		}
	}
}

// become moves the supervisor itself to another state. Below another one, that
// one tells of its start and its end, but does not know why it stops if it does
// so by itself.
func (s *Supervisor) become(to State, err error) {
	from := s.state
	s.state, s.since = to, time.Now()
	if !s.nested || to == StateStopping && !s.told {
		s.emit(Event{Time: s.since, Path: s.path, From: from, To: to, Err: err})
	}
}
