package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/supervise"
)

// ErrNoSubscription reports a name that no subscription of the Consumer has.
var ErrNoSubscription = errors.New("no such subscription")

// Pause stops the delivery of a subscription's events and retries until a
// time, at all instances of the group and also at those that hang: the pause is
// the server's, and it outlives this process. What has been received already is
// still run. It needs the right to pause consumers.
func (c *Consumer) Pause(ctx context.Context, subscription string, until time.Time) error {
	return c.pause(ctx, "pause", subscription, until)
}

// Resume ends a pause before its time, at all instances.
func (c *Consumer) Resume(ctx context.Context, subscription string) error {
	// A pause that ends in the past is none.
	return c.pause(ctx, "resume", subscription, time.Unix(0, 0))
}

func (c *Consumer) pause(ctx context.Context, op, subscription string, until time.Time) error {
	if _, err := c.find(subscription); err != nil {
		return fmt.Errorf("consume: %s: %w", op, err)
	}
	ns := subject.Namespace(c.cfg.Namespace)
	name := subject.Durable(c.cfg.Group, subscription)
	for _, s := range []string{ns.Stream(stream.EventsName), stream.RetryName(ns, c.cfg.Group)} {
		if _, err := c.js.PauseConsumer(ctx, s, name, until); err != nil {
			return fmt.Errorf("consume: %s durable %s of stream %s: %w", op, name, s, err)
		}
	}
	return nil
}

// SetConcurrency changes how many handlers of a subscription run at once in
// this process, from now on and in later Runs. Handlers that run are left alone.
func (c *Consumer) SetConcurrency(subscription string, n int) error {
	i, err := c.find(subscription)
	if err == nil && n < 1 {
		err = fmt.Errorf("concurrency of %d is not at least 1: %w", n, ErrConfig)
	}
	if err != nil {
		return fmt.Errorf("consume: set concurrency: %w", err)
	}
	c.counts[i].change(func(f *flow) { f.concurrency = n })
	return nil
}

// SetRate bounds how many handlers of a subscription begin each second in this
// process, retries included, from now on and in later Runs. 0 means no bound.
// Short bursts of up to a tenth of a second's worth are let through.
func (c *Consumer) SetRate(subscription string, perSecond float64) error {
	i, err := c.find(subscription)
	if err == nil && perSecond < 0 {
		err = fmt.Errorf("rate of %g is negative: %w", perSecond, ErrConfig)
	}
	if err != nil {
		return fmt.Errorf("consume: set rate: %w", err)
	}
	c.counts[i].change(func(f *flow) { f.rate = perSecond })
	return nil
}

// Restart stops a subscription in this process, drain included, and starts it
// again. Its events stay the group's. Errors are ErrNoSubscription, those of
// [supervise.Supervisor.Restart], and supervise.ErrNotRunning outside of Run.
func (c *Consumer) Restart(ctx context.Context, subscription string) error {
	_, err := c.find(subscription)
	if err == nil {
		err = supervise.ErrNotRunning
		if tree := c.tree.Load(); tree != nil {
			err = tree.Restart(ctx, subscription)
		}
	}
	if err != nil {
		return fmt.Errorf("consume: restart: %w", err)
	}
	return nil
}

func (c *Consumer) find(subscription string) (int, error) {
	for i, s := range c.subs {
		if s.name == subscription {
			return i, nil
		}
	}
	return 0, fmt.Errorf("group %s: %w: %q", c.cfg.Group, ErrNoSubscription, subscription)
}

// flow is what may change while a subscription runs.
type flow struct {
	concurrency int
	rate        float64
}

// change alters the flow, in the running loop too.
func (k *counters) change(f func(*flow)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.flow)
	if k.loop != nil {
		k.loop.adjust(k.flow)
	}
}

// adjust takes over a flow.
func (l *loop) adjust(f flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = f.concurrency
	if l.fuse.blown.IsZero() && !l.fuse.trial {
		l.limit = f.concurrency
	}
	l.pace.resize(f.concurrency)
	switch {
	case f.rate <= 0:
		l.rate = nil
	case l.rate == nil:
		l.rate = rate.NewLimiter(rate.Limit(f.rate), burst(f.rate))
	default:
		l.rate.SetLimit(rate.Limit(f.rate))
		l.rate.SetBurst(burst(f.rate))
	}
	l.hireAll()
}

func burst(perSecond float64) int { return max(1, int(perSecond/10)) }

// allowed asks the rate whether a handler may begin now, with loop.mu held. If
// not, the workers are woken when it may.
func (l *loop) allowed() bool {
	if l.rate == nil {
		return true
	}
	now := time.Now()
	if l.rate.AllowN(now, 1) {
		return true
	}
	if !l.rateWait {
		r := l.rate.ReserveN(now, 1)
		delay := r.DelayFrom(now)
		r.CancelAt(now)
		l.rateWait = true
		time.AfterFunc(delay, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.rateWait = false
			l.wake.Broadcast()
		})
	}
	return false
}
