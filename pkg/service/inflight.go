package service

import (
	"context"
	"slices"
	"sync"
	"time"
)

// inflight is one request from its arrival to its reply, and the context of
// its handler. It is a context of its own kind because the standard one costs
// a timer and an entry in its parent for every call, and a handler that asks
// for neither Done nor a child context needs neither: both are made when asked
// for. It is never reused, since a handler may leak it.
type inflight struct {
	request  Request
	reply    string    // inbox of the caller, empty for a cast
	received time.Time // when it reached this process
	deadline time.Time
	waited   bool // in line, before a place was free

	// values holds what Value finds; it is never cancelled, so that the
	// standard library takes no cancellation from it past this context.
	values context.Context //nolint:containedctx // a context holds its parent

	mu    sync.Mutex
	err   error
	done  chan struct{}
	timer *time.Timer
	after []*afterFunc
}

var _ context.Context = (*inflight)(nil)

// afterFunc is one registration of [inflight.AfterFunc].
type afterFunc struct{ f func() }

// Deadline is the caller's, or the endpoint's if that is nearer.
func (x *inflight) Deadline() (time.Time, bool) { return x.deadline, true }

// Value finds what the context of Run and the call's headers hold.
func (x *inflight) Value(key any) any { return x.values.Value(key) }

// Done is closed when the deadline has passed, the caller gave up, the drain
// ran out of time, or the handler has returned.
func (x *inflight) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.err != nil {
			close(x.done)
		}
		x.arm()
	}
	return x.done
}

// arm starts the timer; the lock is held.
func (x *inflight) arm() {
	if x.timer == nil && x.err == nil {
		x.timer = time.AfterFunc(time.Until(x.deadline), func() { x.cancel(context.DeadlineExceeded) })
	}
}

// Err looks at the clock itself: without a Done there is no timer.
func (x *inflight) Err() error {
	x.mu.Lock()
	err := x.err
	x.mu.Unlock()
	if err == nil && !time.Now().Before(x.deadline) {
		x.cancel(context.DeadlineExceeded)
		x.mu.Lock()
		err = x.err
		x.mu.Unlock()
	}
	return err
}

// AfterFunc has the standard library's child contexts registered here instead
// of each starting a goroutine to watch Done (see [context.AfterFunc]).
func (x *inflight) AfterFunc(f func()) (stop func() bool) {
	x.mu.Lock()
	if x.err != nil {
		x.mu.Unlock()
		go f()
		return func() bool { return false }
	}
	a := &afterFunc{f: f}
	x.after = append(x.after, a)
	x.arm()
	x.mu.Unlock()
	return func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		i := slices.Index(x.after, a)
		if i < 0 {
			return false
		}
		x.after = slices.Delete(x.after, i, i+1)
		return true
	}
}

// cancel ends the context with err unless it has ended.
func (x *inflight) cancel(err error) {
	x.mu.Lock()
	if x.err != nil {
		x.mu.Unlock()
		return
	}
	x.err = err
	if x.done != nil {
		close(x.done)
	}
	if x.timer != nil {
		x.timer.Stop()
	}
	after := x.after
	x.after = nil
	x.mu.Unlock()
	for _, a := range after {
		a.f()
	}
}
