package supervise

import (
	"context"
	"errors"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"time"
)

type runState uint8

const (
	runStarting runState = iota
	runUp
	runStopping  // context cancelled, waited for
	runDetached  // context cancelled, not waited for
	runAbandoned // outlived its timeout
	runEnded
)

// A run is one call of a child's Run. Guarded by the supervisor's mu.
type run struct {
	slot   *slot
	number uint64 // of the child's runs, tells their goroutines apart
	state  runState
	cancel context.CancelFunc
	ready  time.Time
	told   time.Time   // when the context was cancelled
	timer  *time.Timer // StartTimeout, then Shutdown
	cause  error       // it was told to stop because it failed
	stuck  *StuckError // once abandoned
}

type lineageKey struct{}

// lineage stands in a child's context: who called, and what is above.
type lineage struct {
	sup  *Supervisor
	slot *slot
	run  *run
	up   *lineage
}

// Labels of every goroutine that a run starts, directly or not.
const (
	labelPath = "supervise"
	labelRun  = "supervise-run"
)

// start begins a run of c, which has none.
func (s *Supervisor) start(c *slot) {
	c.cancelPending()
	c.starts++
	r := &run{slot: c, number: c.starts}
	above, _ := s.base.Value(lineageKey{}).(*lineage)
	ctx := context.WithValue(s.base, lineageKey{}, &lineage{sup: s, slot: c, run: r, up: above})
	ctx = pprof.WithLabels(ctx, pprof.Labels(labelPath, c.path, labelRun, strconv.FormatUint(r.number, 10)))
	ctx, r.cancel = context.WithCancel(ctx)
	c.run = r
	s.set(c, StateStarting, nil)
	if _, waits := c.spec.Runner.(ReadyRunner); waits {
		if c.spec.StartTimeout != Infinite {
			r.timer = time.AfterFunc(c.spec.StartTimeout, func() { s.late(r) })
		}
	} else {
		s.markReady(r)
	}
	go s.perform(ctx, r, c.spec.Runner)
}

// perform is the goroutine of r. If Run leaves by runtime.Goexit, recover
// returns nil and err is still what it was set to first.
func (s *Supervisor) perform(ctx context.Context, r *run, runner Runner) {
	pprof.SetGoroutineLabels(ctx)
	err := ErrGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: string(debug.Stack())}
		}
		if normal(err, ctx.Err() != nil) {
			s.ended(r, err, true, false)
		} else {
			s.ended(r, err, false, s.blamesGate(err))
		}
		r.cancel()
	}()
	if waits, ok := runner.(ReadyRunner); ok {
		err = waits.RunReady(ctx, func() { s.readied(r) })
	} else {
		err = runner.Run(ctx)
	}
}

// normal reports whether err is a normal end; cancelled says whether the
// run's own context was.
func normal(err error, cancelled bool) bool {
	if err == nil {
		return true
	}
	var (
		panicked  *PanicError
		intensity *IntensityError
		shutdown  *ShutdownError
	)
	// These can wrap a context error that is not the run's own end.
	if errors.As(err, &panicked) || errors.As(err, &intensity) || errors.As(err, &shutdown) || errors.Is(err, ErrStuck) {
		return false
	}
	return errors.Is(err, ErrStop) ||
		cancelled && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

func (s *Supervisor) readied(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != runStarting {
		return
	}
	s.markReady(r)
	s.advance()
}

func (s *Supervisor) markReady(r *run) {
	c := r.slot
	if r.timer != nil {
		r.timer.Stop()
	}
	r.state, r.ready, c.fresh = runUp, time.Now(), false
	s.set(c, StateRunning, nil)
	c.resolve(callUp, nil)
}

// late is the end of StartTimeout.
func (s *Supervisor) late(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != runStarting {
		return
	}
	r.cause = ErrNotReady
	s.tell(r)
	s.advance()
}

// tell cancels r's context and sees to it that the wait for its end is
// bounded. With NoWait the run is over at once as far as c is concerned.
func (s *Supervisor) tell(r *run) {
	if r.state > runUp {
		return
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	c := r.slot
	r.state, r.told = runStopping, time.Now()
	s.set(c, StateStopping, nil)
	r.cancel()
	limit := c.spec.Shutdown
	if limit == NoWait {
		limit = defaultShutdown
		r.state = runDetached
		c.run = nil
		c.ghosts = append(c.ghosts, r)
	}
	if limit != Infinite {
		r.timer = time.AfterFunc(limit, func() { s.overdue(r) })
	}
	if r.state == runDetached {
		s.over(c, r, nil, true)
	}
}

// ended is called by r's goroutine when it has nothing left to do.
func (s *Supervisor) ended(r *run, err error, ok, blamesGate bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	was := r.state
	r.state = runEnded
	c := r.slot
	switch {
	case was == runDetached || was == runAbandoned:
		c.ghosts = slices.DeleteFunc(c.ghosts, func(g *run) bool { return g == r })
		s.freed(c, was)
	case was == runStopping:
		c.run = nil
		s.over(c, r, err, ok)
	default:
		c.run = nil
		s.exited(c, r, err, ok, blamesGate)
	}
	s.advance()
}

// freed is called when a run that nobody waited for has ended after all.
func (s *Supervisor) freed(c *slot, was runState) {
	if was == runAbandoned {
		s.emit(Event{Time: time.Now(), Path: c.path, From: StateAbandoned, To: StateStopped})
	}
	if c.run != nil || len(c.ghosts) > 0 {
		return
	}
	switch {
	case c.want == wantGone:
		s.drop(c, nil)
	case c.want == wantUp && s.active && !c.pending():
		s.kick(c)
	case c.state == StateAbandoned || c.state == StateStopping:
		c.state, c.since = StateStopped, time.Now()
	}
}

// over is called once for each run that was told to stop, when it has ended or
// was given up on; err is how.
func (s *Supervisor) over(c *slot, r *run, err error, ok bool) {
	if r.cause != nil && s.active && c.want == wantUp {
		s.exited(c, r, &ChildError{Path: c.path, Err: r.cause}, false, false)
		return
	}
	if !ok && s.wave != nil && s.wave.final {
		s.noteFailed(c, err)
	}
	s.settle(c, err, ok)
}

// settle decides what a child that was told to stop is to be next.
func (s *Supervisor) settle(c *slot, err error, ok bool) {
	if ok {
		err = nil
	}
	abandoned := len(c.ghosts) > 0 && c.ghosts[len(c.ghosts)-1].state == runAbandoned
	if !abandoned {
		c.resolve(callDown, nil)
	}
	rests := StateStopped
	switch {
	case len(c.ghosts) > 0:
		rests = c.state // stopping or abandoned, until it is freed
	case c.want == wantUp && s.active:
		rests = StateWaiting
	}
	if rests != c.state || err != nil {
		s.set(c, rests, err)
	}
	gone := c.want == wantGone || c.spec.Restart == Temporary && (c.want == wantDown || s.active && s.covered(c))
	switch {
	case gone && len(c.ghosts) == 0:
		s.drop(c, nil)
	case gone:
		c.want = wantGone
	case c.want == wantUp && s.active:
		s.kick(c)
	}
}

func (s *Supervisor) noteFailed(c *slot, err error) {
	var below *ShutdownError
	if !errors.As(err, &below) {
		s.failed = append(s.failed, &ChildError{Path: c.path, Err: err})
		return
	}
	s.failed = append(s.failed, below.Failed...)
}
