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
	runStarting  runState = iota
	runUp                 // ready
	runStopping           // context cancelled, waited for
	runDetached           // context cancelled, not waited for
	runAbandoned          // outlived its timeout
	runEnded
)

// A run is one call of a child's Run. All fields are guarded by the
// supervisor's mu; number, gate and cancel never change.
type run struct {
	slot   *slot
	number uint64 // of the child's runs, tells their goroutines apart
	gate   Gate
	cancel context.CancelFunc
	state  runState
	ready  time.Time
	told   time.Time   // when the context was cancelled
	timer  *time.Timer // StartTimeout, then Shutdown
	cause  error       // it was told to stop because it failed
	excuse excuse      // of cause
	stuck  *StuckError // once abandoned
}

type lineageKey struct{}

// lineage stands in a child's context: who calls, and what is above. It is
// never changed, so that even an abandoned run may read it.
type lineage struct {
	scope *scope
	slot  *slot // spec and path only
	run   *run
}

// scope is what is the same for all children in one Run of a supervisor.
type scope struct {
	inherited
	sup *Supervisor
	up  *lineage        // of the supervisor itself
	ctx context.Context //nolint:containedctx // Run's values, without its end: for log records
}

// Labels of every goroutine that a run starts, directly or not.
const (
	labelPath = "supervise"
	labelRun  = "supervise-run"
)

// start begins a run of c, which has none.
func (s *Supervisor) start(c *slot) {
	c.cancelPending()
	if c.starts > 0 && !c.byCall {
		c.restarts++
	}
	c.byCall, c.ran = false, true
	c.starts++
	r := &run{slot: c, number: c.starts, gate: s.scope.gate}
	ctx := context.WithValue(s.base, lineageKey{}, &lineage{scope: s.scope, slot: c, run: r})
	ctx = pprof.WithLabels(ctx, pprof.Labels(labelPath, c.path, labelRun, strconv.FormatUint(r.number, 10)))
	ctx, r.cancel = context.WithCancel(ctx)
	c.run = r
	s.set(c, StateStarting, nil)
	if _, waits := c.spec.Runner.(ReadyRunner); !waits {
		s.markReady(r)
	} else if c.spec.StartTimeout != Infinite {
		r.timer = time.AfterFunc(c.spec.StartTimeout, func() { s.late(r) })
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
		out := outcome{ok: true}
		if !normal(err, ctx.Err() != nil) {
			out = outcome{err: err, excuse: excuseOf(r.gate, err)}
		}
		s.ended(r, out) //nolint:contextcheck // the next run has a context of its own
		r.cancel()
	}()
	if waits, ok := runner.(ReadyRunner); ok {
		err = waits.RunReady(ctx, func() { s.readied(r) })
	} else {
		err = runner.Run(ctx)
	}
}

// outcome is how a run ended. err is nil if and only if ok is true.
type outcome struct {
	ok     bool
	err    error
	excuse excuse
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
	// These may wrap a context error or ErrStop that is not the run's own end.
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
	c.resolve(callUp, r.number, nil)
}

// late is the end of StartTimeout.
func (s *Supervisor) late(r *run) {
	excuse := excuseOf(r.gate, ErrNotReady)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != runStarting {
		return
	}
	r.cause, r.excuse = ErrNotReady, excuse
	s.tell(r)
	s.advance()
}

// tell cancels r's context, once, and bounds the wait for its end. With NoWait
// the run is over at once as far as its slot is concerned.
func (s *Supervisor) tell(r *run) {
	if r.state != runStarting && r.state != runUp {
		return
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	c := r.slot
	limit := c.spec.Shutdown
	r.state, r.told = runStopping, time.Now()
	s.set(c, StateStopping, nil)
	r.cancel()
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
		s.over(r, outcome{ok: true})
	}
}

// ended is called by r's goroutine when nothing is left to do.
func (s *Supervisor) ended(r *run, out outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	was, c := r.state, r.slot
	r.state = runEnded
	switch was {
	case runDetached, runAbandoned:
		c.ghosts = slices.DeleteFunc(c.ghosts, func(g *run) bool { return g == r })
		s.freed(c, was)
	case runStopping:
		c.run = nil
		s.over(r, out)
	case runStarting, runUp, runEnded:
		c.run = nil
		s.exited(r, out)
	}
	s.advance()
}

// freed is called when a run that nobody waited for has ended after all.
func (s *Supervisor) freed(c *slot, was runState) {
	if was == runAbandoned {
		s.emit(Event{Time: time.Now(), Path: c.path, From: StateAbandoned, To: StateStopped})
	}
	if c.run != nil || c.state != StateAbandoned && c.state != StateStopping {
		return // the child has gone on without it
	}
	free, _ := c.mayStart()
	switch {
	case free && c.want == wantUp && s.active:
		s.kick(c, nil)
	case len(c.ghosts) > 0:
		s.hold(c, nil)
	case c.want == wantGone:
		s.remove(c, nil)
	case was == runAbandoned:
		c.state, c.since = StateStopped, time.Now() // the event is out
	default:
		s.set(c, StateStopped, nil)
	}
}

// over is called once for each run that was told to stop, when it has ended,
// is abandoned, or is not to be waited for. It decides what the child is next.
func (s *Supervisor) over(r *run, out outcome) {
	c := r.slot
	if r.cause != nil && s.active && c.want == wantUp {
		s.exited(r, outcome{err: r.cause, excuse: r.excuse})
		return
	}
	if r.state != runAbandoned {
		c.resolve(callDown, r.number, nil)
	}
	if s.final() && !out.ok {
		s.noteFailed(c, out.err)
	}
	switch {
	case c.want == wantGone, c.want == wantDown && c.spec.Restart == Temporary:
		s.remove(c, out.err)
	case c.want == wantUp && s.active:
		s.kick(c, out.err)
	default:
		s.rest(c, out.err)
	}
}

// rest leaves a child that is down, and stays so, as it is to be found.
func (s *Supervisor) rest(c *slot, err error) {
	c.cancelPending()
	switch {
	case c.run != nil || c.state == StateDone && err == nil:
	case len(c.ghosts) > 0:
		s.hold(c, err)
	case c.state != StateStopped || err != nil:
		s.set(c, StateStopped, err)
	}
}

// noteFailed keeps the error of a child that did not stop cleanly for the
// error of Run.
func (s *Supervisor) noteFailed(c *slot, err error) {
	below, only := err.(*ShutdownError) //nolint:errorlint // one that is wrapped says more than that
	if !only || below.GaveUp != nil {
		s.failed = append(s.failed, &ChildError{Path: c.path, Err: err})
		return
	}
	s.failed = append(s.failed, below.Failed...)
	if _, known := c.spec.Runner.(*Supervisor); !known {
		s.stuckBelow = append(s.stuckBelow, below.Stuck...) // else end asks it
	}
}
