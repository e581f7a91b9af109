package supervise

import (
	"context"
	"fmt"
	"slices"
)

// Start adds a child behind all others, starts it in its turn, and waits until
// it is ready; a plain [Runner] is ready at once. If its first run fails before
// it is ready, Start returns a [ChildError] and the child is not added, as in OTP. Other
// errors are those of an invalid specification, [ErrExists], [ErrNotRunning],
// [ErrStopped], and ctx's; with the last the child stays, and goes on
// starting.
//
// A child may call the methods of its own supervisor. If the call would have to
// wait for the caller itself (it stops its own child, or starts another before
// it is ready), it returns nil as soon as it is accepted, provided that ctx is
// the caller's or comes from it.
func (s *Supervisor) Start(ctx context.Context, child Child) error {
	spec, err := child.resolve(&s.cfg)
	if err != nil {
		return fmt.Errorf("supervise %s: start: %w", s.cfg.Name, err)
	}
	return s.act(ctx, "start", spec.Name, callUp, func(c *slot) (*slot, error) {
		if c != nil {
			return nil, ErrExists
		}
		c = s.insert(spec, StateWaiting)
		c.fresh = true
		s.kick(c)
		return c, nil
	})
}

// StartTemplate starts the child that [Config.Template] makes of name.
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
	if c.want != wantGone {
		c.want = to
	}
	c.cancelPending()
	c.resolve(callUp, ErrStopped)
	switch {
	case c.run != nil:
		s.tell(c.run)
	case len(c.ghosts) > 0:
		return c, c.ghosts[len(c.ghosts)-1].stuckErr()
	case c.want == wantGone || c.spec.Restart == Temporary:
		s.drop(c, nil)
	case c.state != StateStopped:
		s.set(c, StateStopped, nil)
	}
	if c.run == nil {
		return nil, nil
	}
	return c, nil
}

// Restart stops a child if it runs, starts it again without delay, and waits
// until it is ready. It uses no restart budget and touches no other child. It
// also starts a child that is stopped, done, waiting for its backoff or
// parked. Errors are [ErrUnknown], [ErrNotRunning], [ErrStopped], a
// [StuckError] if the old run was abandoned and may not be doubled, a [ChildError] if the
// new run failed before it was ready, and ctx's.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	return s.act(ctx, "restart", name, callUp, func(c *slot) (*slot, error) {
		switch {
		case c == nil || c.want == wantGone:
			return nil, ErrUnknown
		case c.run == nil && len(c.ghosts) > 0:
			if ok, _ := c.mayStart(); !ok {
				return nil, c.ghosts[len(c.ghosts)-1].stuckErr()
			}
		}
		c.want, c.failures = wantUp, 0
		c.cancelPending()
		if c.run == nil {
			s.kick(c)
		} else if s.wave == nil || s.wave.phase == waveStart || !s.covered(c) {
			s.tell(c.run)
		}
		return c, nil
	})
}

// act does one call: accept changes the state and returns the slot to wait
// for, or nil if there is nothing to wait for.
func (s *Supervisor) act(ctx context.Context, verb, name string, kind callKind, accept func(*slot) (*slot, error)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("supervise %s: %s %s: %w", s.cfg.Name, verb, name, err)
	}
	s.mu.Lock()
	path := s.path
	if !s.active {
		s.mu.Unlock()
		return fmt.Errorf("supervise %s: %s %s: %w", path, verb, name, ErrNotRunning)
	}
	w := &call{kind: kind, done: make(chan struct{})}
	c, err := accept(s.byName[name])
	s.await(ctx, c, w)
	s.advance()
	s.mu.Unlock()
	if err == nil {
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

// await adds w to the calls of c, unless it is answered already.
func (s *Supervisor) await(ctx context.Context, c *slot, w *call) {
	if c == nil || w.kind == callUp && c.run != nil && c.run.state == runUp || s.waitsForCaller(ctx, c) {
		close(w.done)
		return
	}
	c.calls = append(c.calls, w)
}

func (s *Supervisor) waitsForCaller(ctx context.Context, c *slot) bool {
	l, _ := ctx.Value(lineageKey{}).(*lineage)
	for ; l != nil; l = l.up {
		if l.sup == s {
			return l.slot == c || l.run.state == runStarting
		}
	}
	return false
}

func (s *Supervisor) forget(c *slot, w *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		c.calls = slices.DeleteFunc(c.calls, func(o *call) bool { return o == w })
	}
}
