package supervise

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Start adds a child behind all others, starts it in its turn, and waits until
// it is ready; a plain [Runner] is ready at once. If its first run fails before
// it is ready, Start returns a [ChildError] and the child is not added, as in
// OTP, unless it failed because of the gate. Other errors are those of an
// invalid specification, [ErrExists], [ErrNotRunning], [ErrStopped], and
// ctx's; with the last the child stays, and goes on starting.
//
// A child may call the methods of its own supervisor. If the call would have to
// wait for the caller itself (it stops its own child, or starts another whose
// turn is after its own before it is ready), it returns nil as soon as it is
// accepted, provided that ctx is the caller's or comes from it.
func (s *Supervisor) Start(ctx context.Context, child Child) error {
	spec, err := child.resolve(&s.cfg)
	if err != nil {
		return fmt.Errorf("supervise %s: start: %w", s.cfg.Name, err)
	}
	//nolint:contextcheck // the child's context comes from Run's, not from the call's
	return s.act(ctx, "start", spec.Name, callUp, func(c *slot) (*slot, error) {
		if c != nil {
			return nil, ErrExists
		}
		c = s.insert(spec, StateWaiting)
		c.fresh = true
		s.kick(c, nil)
		return c, nil
	})
}

// StartTemplate starts the child that [Config.Template] makes of name. Its
// errors are those of [Supervisor.Start] and the template's.
func (s *Supervisor) StartTemplate(ctx context.Context, name string) error {
	if s.cfg.Template == nil {
		return fmt.Errorf("supervise %s: start %s: Config.Template is nil", s.cfg.Name, name)
	}
	child, err := s.cfg.Template(name)
	if err != nil {
		return fmt.Errorf("supervise %s: start %s: template: %w", s.cfg.Name, name, err)
	}
	if child.Name == "" {
		child.Name = name
	}
	return s.Start(ctx, child)
}

// Stop stops a child and waits for it. It stays in the tree as [StateStopped]
// until [Supervisor.Restart] or [Supervisor.Remove]; a [Temporary] one leaves
// it. A child that is down already is no error. Errors are [ErrUnknown],
// [ErrNotRunning], a [StuckError] if the child was abandoned, and ctx's; with
// the last the child goes on stopping.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	return s.act(ctx, "stop", name, callDown, func(c *slot) (*slot, error) { return s.takeDown(c, wantDown) })
}

// Remove stops a child like [Supervisor.Stop] and takes it out of the tree. An
// abandoned child leaves when it ends; until then its name is taken.
func (s *Supervisor) Remove(ctx context.Context, name string) error {
	return s.act(ctx, "remove", name, callDown, func(c *slot) (*slot, error) { return s.takeDown(c, wantGone) })
}

func (s *Supervisor) takeDown(c *slot, to want) (*slot, error) {
	if c == nil {
		return nil, ErrUnknown
	}
	c.want = max(c.want, to)
	c.cancelPending()
	c.resolve(callUp, c.starts, ErrStopped)
	if c.run != nil {
		s.tell(c.run)
		if c.run == nil {
			return nil, nil // not waited for
		}
		return c, nil
	}
	stuck := c.lastStuck()
	switch {
	case c.want == wantGone || c.spec.Restart == Temporary:
		s.remove(c, nil)
	default:
		if c.state == StateDone {
			s.set(c, StateStopped, nil) // it does not come back with its group now
		}
		s.rest(c, nil)
	}
	if stuck != nil {
		return nil, stuck
	}
	return nil, nil
}

// Restart stops a child if it runs, starts it again without delay, and waits
// until it is ready. It uses no restart budget and touches no other child. It
// also starts a child that is stopped, done, waiting for its backoff or
// parked; one whose group is being restarted comes in its turn. Errors are
// [ErrUnknown], [ErrNotRunning], [ErrStopped], a [StuckError] if the old run
// was abandoned and may not be doubled, a [ChildError] if the new run failed
// before it was ready, and ctx's.
//
// A child of a supervisor below is named by its path from here, "calls/quote":
// the call is passed on to a child that has a Restart method like this one, as
// a *Supervisor does.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	if name, rest, nested := strings.Cut(name, "/"); nested {
		return s.restartBelow(ctx, name, rest)
	}
	//nolint:contextcheck // the child's context comes from Run's, not from the call's
	return s.act(ctx, "restart", name, callUp, func(c *slot) (*slot, error) {
		if c == nil || c.want == wantGone {
			return nil, ErrUnknown
		}
		if stuck := c.lastStuck(); stuck != nil && c.run == nil {
			ok, giveUp := c.mayStart()
			if !ok && !giveUp {
				c.want = wantUp // once the old run has ended
			}
			if !ok {
				return nil, stuck
			}
		}
		c.want, c.failures, c.byCall = wantUp, 0, true
		c.cancelPending()
		switch {
		case c.run == nil:
			s.kick(c, nil)
		case s.wave == nil || s.wave.phase == waveStart || !s.covered(c):
			c.run.cause = nil // the caller's wish replaces the verdict on it
			s.tell(c.run)
		}
		return c, nil
	})
}

func (s *Supervisor) restartBelow(ctx context.Context, name, rest string) error {
	var below interface {
		Restart(ctx context.Context, name string) error
	}
	s.mu.Lock()
	active, c := s.active, s.byName[name]
	if c != nil {
		below, _ = c.spec.Runner.(interface {
			Restart(ctx context.Context, name string) error
		})
	}
	s.mu.Unlock()
	err := ErrUnknown
	switch {
	case !active:
		err = ErrNotRunning
	case below != nil:
		return below.Restart(ctx, rest)
	}
	return fmt.Errorf("supervise %s: restart %s/%s: %w", s.cfg.Name, name, rest, err)
}

// act does one call: accept changes the state and returns the slot to wait
// for, or nil if there is nothing to wait for.
func (s *Supervisor) act(ctx context.Context, verb, name string, kind callKind, accept func(*slot) (*slot, error)) error {
	w := &call{kind: kind, done: make(chan struct{})}
	path, c, err := s.accept(ctx, name, w, accept)
	if err == nil && c != nil {
		select {
		case <-w.done:
			err = w.err
		case <-ctx.Done():
			err = ctx.Err()
			s.forget(c, w)
		}
	}
	if err != nil {
		return fmt.Errorf("supervise %s: %s %s: %w", path, verb, name, err)
	}
	return nil
}

func (s *Supervisor) accept(ctx context.Context, name string, w *call, accept func(*slot) (*slot, error)) (string, *slot, error) {
	if err := ctx.Err(); err != nil {
		return s.cfg.Name, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return s.path, nil, ErrNotRunning
	}
	caller, old := s.caller(ctx), s.byName[name]
	self := old != nil && caller != nil && old.run == caller
	if old != nil {
		w.after = old.starts
	}
	c, err := accept(old)
	switch {
	case err != nil || c == nil || self:
		c = nil
	case w.kind == callUp && c.run != nil && c.run.state == runUp && c.run.number > w.after:
		c = nil // up already
	case w.kind == callUp && !s.active: // it has just given up
		c, err = nil, ErrNotRunning
	case w.kind == callUp && caller != nil && caller.state == runStarting && s.covered(c):
		c = nil
	default:
		c.calls = append(c.calls, w)
	}
	s.advance()
	return s.path, c, err
}

// caller returns the run of a child of s from which ctx comes, directly or
// through supervisors below.
func (s *Supervisor) caller(ctx context.Context) *run {
	l, _ := ctx.Value(lineageKey{}).(*lineage)
	for ; l != nil; l = l.scope.up {
		if l.scope.sup == s {
			return l.run
		}
	}
	return nil
}

func (s *Supervisor) forget(c *slot, w *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.calls = slices.DeleteFunc(c.calls, func(o *call) bool { return o == w })
}
