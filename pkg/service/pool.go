package service

import (
	"context"
	"slices"
	"sync"
	"time"
)

// inboxSize is the capacity of the channel between the connection and the
// workers. One worker always receives, so it fills only while the process gets
// no CPU; nats.go drops what it cannot hold and reports a slow consumer.
const inboxSize = 2048

// pool runs the requests of one endpoint during one Run: so many at once, so
// many more in line, the rest refused at once.
//
// Its workers receive from the subscriptions' channel themselves, one at a
// time: the one that holds the baton. Before it runs a handler it hands the
// baton to another, so that there is always one that receives, if only to put
// requests in line or to refuse them. While handlers return within
// microseconds it keeps the baton and runs them itself, one after the other:
// the switch to another goroutine, and the smaller writes that follow from it,
// would cost more than the handler. A watch takes the baton from a worker
// whose handler does not return after all.
//
// Workers are made when needed, at most one more than handlers may run, and
// kept until the end of the Run.
type pool struct {
	ep      *endpoint
	srv     *server
	feed    *feed
	workers sync.WaitGroup
	baton   chan struct{} // holds it while nobody does; room for one

	mu      sync.Mutex
	parked  int         // workers that wait for the baton and were not promised it
	running []*inflight // by place; nil is a free one
	free    []int       // places
	line    line
	early   earlyCancels
	aborted bool
	pace    pace
}

// verdict is what becomes of a request that arrived.
type verdict uint8

const (
	toRun verdict = iota
	toWait
	toRefuse
	toDrop // cancelled before it came
)

func newPool(srv *server, ep *endpoint) *pool {
	p := &pool{
		ep:      ep,
		srv:     srv,
		feed:    newFeed(srv.nc, inboxSize),
		running: make([]*inflight, ep.concurrency),
		free:    make([]int, ep.concurrency),
		line:    line{limit: ep.queue},
		baton:   make(chan struct{}, 1),
	}
	p.pace.pool = p
	p.pace.surprise()
	for i := range p.free {
		p.free[i] = ep.concurrency - 1 - i
	}
	return p
}

func (p *pool) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passBaton()
}

// passBaton lets another worker receive. The lock is held, and the baton was
// the caller's.
func (p *pool) passBaton() {
	if p.parked > 0 {
		p.parked--
	} else {
		p.workers.Go(p.work)
	}
	p.baton <- struct{}{}
}

// work receives and runs until the subscriptions are gone and nothing is in
// line.
func (p *pool) work() {
	for {
		if _, ok := <-p.baton; !ok || !p.receive() {
			return
		}
	}
}

// receive holds the baton. It is true when the baton has gone to another and
// the worker is parked, and false when nothing can arrive any more.
func (p *pool) receive() bool {
	for m := range p.feed.in {
		x := p.srv.accept(p.ep, m)
		if x == nil {
			continue
		}
		place, v := p.admit(x)
		switch v {
		case toRun:
			if !p.run(x, place) {
				return true
			}
		case toRefuse:
			p.srv.refuse(p.ep, x)
		case toDrop:
			p.ep.stats.canceled.Add(1)
		case toWait:
		}
	}
	close(p.baton) // ends those that wait for it
	return false
}

// run serves x, and what is in line after it. It is true if the worker has the
// baton still.
func (p *pool) run(x *inflight, place int) (baton bool) {
	returned := false
	defer func() {
		// A handler that ends its goroutine (runtime.Goexit) takes this worker
		// with it, and nothing else.
		if !returned {
			p.workers.Go(func() { p.resume(place) })
		}
	}()
	for x != nil {
		p.srv.serve(p.ep, x)
		x, baton = p.next(place)
	}
	returned = true
	return baton
}

// resume takes over from a worker whose handler ended its goroutine.
func (p *pool) resume(place int) {
	x, baton := p.next(place)
	if x != nil {
		baton = p.run(x, place)
	}
	if !baton || p.receive() {
		p.work()
	}
}

// admit decides what becomes of x. Under the same lock as the cancels, so that
// a cancel finds the request or the request finds the cancel.
func (p *pool) admit(x *inflight) (place int, v verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case x.reply != "" && p.early.take(x.reply):
		return 0, toDrop
	case p.aborted:
		return 0, toRefuse
	case len(p.free) == 0:
		x.waited = true
		if p.line.push(x) {
			return 0, toWait
		}
		return 0, toRefuse
	}
	place = p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.running[place] = x
	if !p.pace.keep(x) {
		p.passBaton()
	}
	return place, toRun
}

// next ends the request at place and returns the next in line to run there.
// Without one it gives the place back, and the worker is parked unless it has
// the baton still.
func (p *pool) next(place int) (x *inflight, baton bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	baton = p.pace.returned(p.running[place])
	for {
		x = p.line.pop()
		if x != nil && x.reply != "" && p.early.take(x.reply) {
			p.ep.stats.canceled.Add(1)
			continue
		}
		p.running[place] = x
		switch {
		case x != nil && baton: // in line, so that it waited for a slow one
			p.passBaton()
			return x, false
		case x == nil:
			p.free = append(p.free, place)
			if !baton {
				p.parked++
			}
		}
		return x, baton
	}
}

// cancel ends the request with that reply inbox, or remembers the cancel for a
// request that is on its way or in line.
func (p *pool) cancel(inbox string, now time.Time) (found bool) {
	p.mu.Lock()
	i := slices.IndexFunc(p.running, func(x *inflight) bool { return x != nil && x.reply == inbox })
	if i < 0 {
		p.early.add(inbox, now)
		p.mu.Unlock()
		return false
	}
	x := p.running[i]
	p.mu.Unlock()
	p.ep.stats.canceled.Add(1)
	x.end(endCanceled)
	return true
}

// abort cancels what runs and returns what is in line; what comes later is
// refused.
func (p *pool) abort() (waiting []*inflight) {
	p.mu.Lock()
	p.aborted = true
	for x := p.line.pop(); x != nil; x = p.line.pop() {
		waiting = append(waiting, x)
	}
	var running []*inflight
	for _, x := range p.running {
		if x != nil {
			running = append(running, x)
		}
	}
	p.mu.Unlock()
	for _, x := range running {
		x.end(endStopped)
	}
	return waiting
}

// load tells how many requests run and wait.
func (p *pool) load() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.running) - len(p.free), p.line.len()
}

// finish waits until all workers have ended, or ctx has; then it is false.
func (p *pool) finish(ctx context.Context) bool {
	done := make(chan struct{})
	go func() {
		p.workers.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
