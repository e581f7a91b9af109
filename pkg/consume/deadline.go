package consume

import (
	"context"
	"sync"
	"time"
)

// deadline is the context of one attempt. It is context.WithDeadline made
// late: most handlers never ask whether their time is over, and a timer with
// what belongs to it would be a sixth of what the loop allocates for an event.
type deadline struct {
	base context.Context //nolint:containedctx // a context is what it is
	at   time.Time

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // the real one, once somebody asks
	cancel context.CancelFunc
	ended  bool
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} { return d.real().Done() }

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	ctx, ended := d.ctx, d.ended
	d.mu.Unlock()
	switch {
	case ctx != nil:
		return ctx.Err()
	case ended:
		return context.Canceled
	case d.base.Err() != nil:
		return d.base.Err()
	case !time.Now().Before(d.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. Once the real context exists it answers,
// so that package context finds it and needs no goroutine for what is derived.
func (d *deadline) Value(key any) any {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx != nil {
		return ctx.Value(key)
	}
	return d.base.Value(key)
}

func (d *deadline) real() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		d.ctx, d.cancel = context.WithDeadline(d.base, d.at)
		if d.ended {
			d.cancel()
		}
	}
	return d.ctx
}

// end cancels the context: the handler has returned.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.cancel != nil {
		d.cancel()
	}
}
