package supervise

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Restart says which ends of a child lead to its restart. An end is normal if
// Run returned nil, [ErrStop], or a context error while the child's own
// context was cancelled; an error, a stray deadline, a panic and a
// runtime.Goexit are abnormal.
type Restart uint8

const (
	// Permanent children are restarted however they end. The zero value.
	Permanent Restart = iota
	// Transient children are restarted after an abnormal end only. After a
	// normal one they stay in the tree as [StateDone].
	Transient
	// Temporary children are never restarted and leave the tree when they end.
	Temporary
)

// String returns OTP's word for r.
func (r Restart) String() string {
	switch r {
	case Permanent:
		return "permanent"
	case Transient:
		return "transient"
	case Temporary:
		return "temporary"
	default:
		return "Restart(" + strconv.Itoa(int(r)) + ")"
	}
}

// OnStuck says what follows when a child has outlived its shutdown timeout
// and was abandoned. A goroutine cannot be killed, so the old run goes on.
type OnStuck uint8

const (
	// StuckHold keeps the child's slot taken until the old run ends by itself;
	// then the child is restarted if that is still wanted. The zero value.
	StuckHold OnStuck = iota
	// StuckEscalate makes the supervisor stop all children and give up with a
	// [ShutdownError], so that in the end the process exits and the platform
	// starts a new one.
	StuckEscalate
	// StuckDouble allows a new run beside the abandoned one, for children that
	// are safe to run twice, such as those fenced by an epoch. Once
	// MaxAbandoned runs of the child are abandoned at the same time the
	// supervisor gives up as with StuckEscalate.
	StuckDouble
)

// String returns the policy in one word.
func (o OnStuck) String() string {
	switch o {
	case StuckHold:
		return "hold"
	case StuckEscalate:
		return "escalate"
	case StuckDouble:
		return "double"
	default:
		return "OnStuck(" + strconv.Itoa(int(o)) + ")"
	}
}

const (
	// Infinite is a [Child.Shutdown] or [Child.StartTimeout] without a limit.
	Infinite time.Duration = math.MaxInt64
	// NoWait is a [Child.Shutdown] that cancels the child and goes on at once.
	NoWait time.Duration = -1

	defaultShutdown     = 5 * time.Second
	defaultStartTimeout = time.Minute
	defaultMaxAbandoned = 3
)

// A Child is the specification of one child. It is a plain value: keep one
// without name and runner as a template and use [Child.With] to make children
// of it.
type Child struct {
	// Name is unique among the children of one supervisor and consists of
	// letters, digits and ". _ : -". If it is empty and Runner is a
	// *Supervisor, the supervisor's own name is used.
	Name string
	// Runner is the work. If it is a [ReadyRunner] the next child waits until
	// it is ready. One Runner must not be given to two children unless it may
	// run twice at once.
	Runner Runner
	// Restart is the restart class, [Permanent] by default.
	Restart Restart
	// StartTimeout limits the time until a [ReadyRunner] is ready; a run that
	// exceeds it is stopped and has failed with [ErrNotReady]. Default one
	// minute, for a [Tree] [Infinite]. Unused for other runners.
	StartTimeout time.Duration
	// Shutdown limits the time from the cancellation of the child's context
	// to the end of its run; a run that exceeds it is abandoned. Default five
	// seconds, for a [Tree] [Infinite]. With [NoWait] the supervisor cancels
	// and goes on at once; such a run may outlive [Supervisor.Run] for a
	// moment, and is reported as abandoned if it is still there five seconds
	// later. Either way a new run of the child waits for the end of the old.
	Shutdown time.Duration
	// Significant lets the end of this child shut its supervisor down, see
	// [AutoShutdown]. Not allowed for Permanent children.
	Significant bool
	// Backoff overrides, field by field, the supervisor's [Config.Backoff].
	Backoff Backoff
	// OnStuck says what follows when the child does not stop.
	OnStuck OnStuck
	// MaxAbandoned is used with [StuckDouble] only: that many abandoned runs
	// of the child at one time make the supervisor give up. Default 3.
	MaxAbandoned int
}

// With returns a copy of c, the template, with another name and runner.
func (c Child) With(name string, r Runner) Child {
	c.Name, c.Runner = name, r
	return c
}

// resolve checks c and fills in the defaults that its supervisor's cfg gives.
func (c Child) resolve(cfg *Config) (Child, error) {
	if c.Runner == nil {
		return c, fmt.Errorf("child %q: Runner is nil", c.Name)
	}
	if sup, ok := c.Runner.(*Supervisor); ok {
		if sup == nil {
			return c, fmt.Errorf("child %q: Runner is a nil *Supervisor", c.Name)
		}
		if c.Name == "" {
			c.Name = sup.cfg.Name
		}
	}
	if err := checkName(c.Name); err != nil {
		return c, fmt.Errorf("child %q: %w", c.Name, err)
	}
	if err := c.checkRules(cfg); err != nil {
		return c, fmt.Errorf("child %q: %w", c.Name, err)
	}
	_, tree := c.Runner.(Tree)
	c.Shutdown = defaulted(c.Shutdown, tree, defaultShutdown)
	c.StartTimeout = defaulted(c.StartTimeout, tree, defaultStartTimeout)
	if c.MaxAbandoned == 0 {
		c.MaxAbandoned = defaultMaxAbandoned
	}
	c.Backoff = c.Backoff.over(cfg.Backoff)
	if err := c.Backoff.check(); err != nil {
		return c, fmt.Errorf("child %q: %w", c.Name, err)
	}
	return c, nil
}

func (c Child) checkRules(cfg *Config) error {
	switch {
	case c.Restart > Temporary:
		return fmt.Errorf("unknown restart class %v", c.Restart)
	case c.OnStuck > StuckDouble:
		return fmt.Errorf("unknown OnStuck %v", c.OnStuck)
	case c.StartTimeout < 0:
		return fmt.Errorf("negative StartTimeout %v", c.StartTimeout)
	case c.Shutdown < 0 && c.Shutdown != NoWait:
		return fmt.Errorf("negative Shutdown %v: use NoWait not to wait", c.Shutdown)
	case c.OnStuck == StuckDouble && isSupervisor(c.Runner):
		return errors.New("a *Supervisor cannot run twice at once: StuckDouble is for other runners")
	case c.MaxAbandoned < 0:
		return fmt.Errorf("negative MaxAbandoned %d", c.MaxAbandoned)
	case c.Significant && c.Restart == Permanent:
		return errors.New("a permanent child cannot be significant: it is restarted whenever it ends")
	case c.Significant && cfg.AutoShutdown == AutoShutdownNever:
		return errors.New("a significant child needs Config.AutoShutdown")
	default:
		return nil
	}
}

func isSupervisor(r Runner) bool {
	_, ok := r.(*Supervisor)
	return ok
}

func defaulted(d time.Duration, tree bool, plain time.Duration) time.Duration {
	switch {
	case d != 0:
		return d
	case tree:
		return Infinite
	default:
		return plain
	}
}

// checkName keeps names safe for paths, subjects and labels.
func checkName(name string) error {
	if name == "" {
		return errors.New("name is empty")
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9',
			r == '.', r == '_', r == ':', r == '-':
		default:
			return fmt.Errorf("name %q may hold only letters, digits and . _ : -", name)
		}
	}
	return nil
}
