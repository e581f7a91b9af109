package service

import (
	"context"
	"sync"
	"time"

	"github.com/agner-go/agner/internal/goroutine"
)

// inboxSize is the capacity of the channel between the connection and the
// workers. One worker always receives, so it fills only while the process gets
// no CPU; nats.go drops what it cannot hold and reports a slow consumer.
const inboxSize = 4096

// pool runs the requests of one endpoint during one Run: so many at once, so
// many more in line, the rest refused at once.
//
// Its workers receive from the subscriptions' channel themselves, so that a
// request passes no goroutine between the connection and its handler. One or
// two of them receive, the others run handlers or are parked; see pace for
// which. Workers are made when needed, at most two more than handlers may run,
// and kept until the end of the Run.
type pool struct {
	ep      *endpoint
	srv     *server
	feed    *feed
	workers sync.WaitGroup
	wake    chan struct{} // one for each parked worker that is to receive; closed at the end

	mu      sync.Mutex
	readers int         // workers that receive, or are about to
	parked  int         // workers that wait for wake and were not promised it
	running []*inflight // by place; nil is a free one
	free    []int       // places
	line    line
	early   earlyCancels
	hung    map[*inflight]struct{} // handlers that were given up and have not returned
	aborted bool                   // nothing is run any more
	over    bool                   // nothing can arrive any more
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
		hung:    map[*inflight]struct{}{},
		wake:    make(chan struct{}, ep.concurrency+maxReaders),
	}
	p.pace.look = p.look
	p.pace.surprise()
	for i := range p.free {
		p.free[i] = ep.concurrency - 1 - i
	}
	return p
}

func (p *pool) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addReader()
}

// addReader has one more worker receive. The lock is held.
func (p *pool) addReader() {
	if p.over {
		return
	}
	p.readers++
	if p.parked > 0 {
		p.parked--
		p.wake <- struct{}{}
		return
	}
	p.workers.Go(func() {
		w := goroutine.ID()
		if p.receive(w) {
			p.park(w)
		}
	})
}

// park waits to be a reader, again and again. w is the worker's goroutine.
func (p *pool) park(w string) {
	for range p.wake {
		if !p.receive(w) {
			return
		}
	}
}

// course is what a worker does after a request.
type course uint8

const (
	toRead course = iota // it is a reader again
	toPark               // it waits to be one
	toEnd                // it was given up while it ran: another has its place
)

// receive is what a reader does. It returns true when the worker is parked,
// and false when nothing can arrive any more, or the worker was given up.
func (p *pool) receive(w string) bool {
	for m := range p.feed.in {
		x := p.srv.accept(p.ep, m)
		if x == nil {
			continue
		}
		x.worker = w
		place, v := p.admit(x)
		switch v {
		case toRun:
			if c := p.run(x, place, w); c != toRead {
				return c == toPark
			}
		case toRefuse:
			p.srv.refuse(p.ep, x)
		case toDrop:
			p.ep.stats.canceled.Add(1)
		case toWait:
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers--
	if !p.over {
		p.over = true
		close(p.wake)
	}
	return false
}

// run serves x, and what is in line after it.
func (p *pool) run(x *inflight, place int, w string) (then course) {
	returned := false
	defer func() {
		// A handler that ends its goroutine (runtime.Goexit) takes this worker
		// with it, and nothing else.
		if !returned {
			done := x // so that x itself stays on the stack
			p.workers.Go(func() { p.resume(done, place) })
		}
	}()
	for x != nil {
		p.srv.serve(p.ep, x)
		x, then = p.next(x, place, w)
	}
	returned = true
	return then
}

// resume takes over from a worker whose handler ended its goroutine with the
// request done, or, with a nil one, hangs.
func (p *pool) resume(done *inflight, place int) {
	w := goroutine.ID()
	x, then := p.next(done, place, w)
	if x != nil {
		then = p.run(x, place, w)
	}
	if then == toPark || then == toRead && p.receive(w) {
		p.park(w)
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
	p.readers--
	if p.readers == 0 && !p.pace.alone(len(p.feed.in)) {
		p.addReader()
	}
	return place, toRun
}

// next ends the request that is done at place and returns the next in line to
// run there. Without one it gives the place back, and tells what the worker
// does then.
func (p *pool) next(done *inflight, place int, w string) (x *inflight, then course) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if done != nil {
		if done.hung {
			delete(p.hung, done)
			return nil, toEnd
		}
		p.pace.note(done.took)
	}
	for {
		x = p.line.pop()
		if x != nil && x.ended.Load() != 0 { // given up meanwhile
			continue
		}
		p.running[place] = x
		if x != nil {
			x.worker = w
			return x, toRead
		}
		p.free = append(p.free, place)
		if p.readers < p.pace.readers() {
			p.readers++
			return nil, toRead
		}
		p.parked++
		return nil, toPark
	}
}

// cancel ends the request with that reply inbox, or remembers the cancel for a
// request that is on its way or in line.
func (p *pool) cancel(inbox string, now time.Time) (found bool) {
	p.mu.Lock()
	x := p.find(inbox)
	if x == nil {
		p.early.add(inbox, now)
	}
	p.mu.Unlock()
	if x == nil {
		return false
	}
	p.ep.stats.canceled.Add(1)
	x.end(endCanceled)
	return true
}

// find looks among the few that run or are in line. The lock is held.
func (p *pool) find(inbox string) *inflight {
	for _, all := range [][]*inflight{p.running, p.line.waiting()} {
		for _, x := range all {
			if x != nil && x.reply == inbox {
				return x
			}
		}
	}
	return nil
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
