package service

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// inflight is one request from its arrival to its reply, and the context of
// its handler. It is a context of its own kind because the standard one costs
// a timer and an entry in its parent for every call, and a handler that asks
// for neither Done nor a child context needs neither: both are made when asked
// for. It is kept small, and never reused, since a handler may leak it.
type inflight struct {
	srv    *server
	data   []byte
	header nats.Header
	reply  string // inbox of the caller, empty for a cast
	// values holds what Value finds; it is never cancelled, so that the
	// standard library takes no cancellation from it past this context.
	values context.Context //nolint:containedctx // a context holds its parent

	// Times are since srv.born, which is cheaper than time.Time.
	received time.Duration
	deadline time.Duration
	took     time.Duration // from its start to its reply

	worker string // goroutine that runs it
	hung   bool   // it was given up; guarded by its pool's lock

	ended  atomic.Uint32 // an ending; 0 while it goes on
	waited bool          // in line, before a place was free
	hooks  atomic.Pointer[hooks]
}

// hooks are what wants to know the end of an inflight.
type hooks struct {
	mu    sync.Mutex
	done  chan struct{}
	fired bool
	timer *time.Timer
	after []*afterFunc
}

// afterFunc is one registration of [inflight.AfterFunc].
type afterFunc struct{ f func() }

// ending is why an inflight has ended.
type ending uint32

const (
	endReturned ending = iota + 1 // the handler returned, or will not run
	endCanceled                   // the caller gave up
	endDeadline                   // the time is up
	endStopped                    // the drain is at its end
)

func (e ending) err() error {
	switch e {
	case 0:
		return nil
	case endDeadline:
		return context.DeadlineExceeded
	case endReturned, endCanceled, endStopped:
	}
	return context.Canceled
}

var _ context.Context = (*inflight)(nil)

// Deadline is the caller's, or the endpoint's if that is nearer.
func (x *inflight) Deadline() (time.Time, bool) { return x.srv.born.Add(x.deadline), true }

// Value finds what the context of Run and the call's headers hold.
func (x *inflight) Value(key any) any { return x.values.Value(key) }

// Done is closed when the deadline has passed, the caller gave up, the drain
// ran out of time, or the handler has returned.
func (x *inflight) Done() <-chan struct{} {
	h := x.hooked()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done == nil {
		h.done = make(chan struct{})
		if h.fired {
			close(h.done)
		}
	}
	return h.done
}

// hooked makes the hooks, which need a timer, and fires them if x ended before
// they were there.
func (x *inflight) hooked() *hooks {
	h := x.hooks.Load()
	if h == nil {
		h = &hooks{}
		if !x.hooks.CompareAndSwap(nil, h) {
			h = x.hooks.Load()
		}
	}
	h.mu.Lock()
	if h.timer == nil && !h.fired && x.ended.Load() == 0 {
		h.timer = time.AfterFunc(x.deadline-time.Since(x.srv.born), func() { x.end(endDeadline) })
	}
	h.mu.Unlock()
	if x.ended.Load() != 0 {
		h.fire()
	}
	return h
}

// Err looks at the clock itself: without hooks there is no timer.
func (x *inflight) Err() error {
	e := ending(x.ended.Load())
	if e == 0 && time.Since(x.srv.born) >= x.deadline {
		x.end(endDeadline)
		e = ending(x.ended.Load())
	}
	return e.err()
}

// AfterFunc has the standard library's child contexts registered here instead
// of each starting a goroutine to watch Done (see [context.AfterFunc]).
func (x *inflight) AfterFunc(f func()) (stop func() bool) {
	h := x.hooked()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fired {
		go f()
		return func() bool { return false }
	}
	a := &afterFunc{f: f}
	h.after = append(h.after, a)
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		i := slices.Index(h.after, a)
		if i < 0 {
			return false
		}
		h.after = slices.Delete(h.after, i, i+1)
		return true
	}
}

// end ends the context unless it has ended. Either it sees the hooks, or who
// makes them sees that it has ended.
func (x *inflight) end(why ending) {
	if !x.ended.CompareAndSwap(0, uint32(why)) {
		return
	}
	if h := x.hooks.Load(); h != nil {
		h.fire()
	}
}

func (h *hooks) fire() {
	h.mu.Lock()
	if h.fired {
		h.mu.Unlock()
		return
	}
	h.fired = true
	if h.done != nil {
		close(h.done)
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	after := h.after
	h.after = nil
	h.mu.Unlock()
	for _, a := range after {
		a.f()
	}
}
