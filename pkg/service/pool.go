package service

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// inboxSize is the capacity of the channel between the connection and the
// workers. One worker always receives, so it fills only while the process gets
// no CPU; nats.go drops what it cannot hold and reports a slow consumer.
const inboxSize = 8192

// pool runs the requests of one endpoint during one Run: so many at once, so
// many more in line, the rest refused at once.
//
// Its workers receive from the subscriptions' channel themselves, so a request
// passes no goroutine between the connection and its handler. There is one
// worker more than handlers may run: one always receives, if only to put
// requests in line or to refuse them. Workers are made when needed and kept
// until the end of the Run.
type pool struct {
	ep      *endpoint
	srv     *server
	feed    *feed
	workers sync.WaitGroup

	mu      sync.Mutex
	count   int         // workers
	running []*inflight // by place; nil is a free one
	free    []int       // places
	line    line
	early   earlyCancels
	aborted bool
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
	}
	for i := range p.free {
		p.free[i] = ep.concurrency - 1 - i
	}
	return p
}

func (p *pool) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spawn(nil, 0)
}

// spawn adds a worker, which begins with x at its place unless x is nil. The
// lock is held.
func (p *pool) spawn(x *inflight, place int) {
	p.count++
	p.workers.Go(func() { p.work(x, place) })
}

// work receives until the subscriptions are gone and nothing is in line.
func (p *pool) work(x *inflight, place int) {
	returned := false
	defer func() {
		// A handler that ends its goroutine (runtime.Goexit) takes this worker
		// with it; another takes over.
		if !returned {
			next := p.next(place)
			p.mu.Lock()
			p.count--
			p.spawn(next, place)
			p.mu.Unlock()
		}
	}()
	for {
		for x != nil {
			p.srv.serve(p.ep, x)
			x = p.next(place)
		}
		m, ok := <-p.feed.in
		if !ok {
			break
		}
		x, place = p.receive(m)
	}
	returned = true
}

// receive takes one message; it returns the request if it is to run now.
func (p *pool) receive(m *nats.Msg) (x *inflight, place int) {
	x = p.srv.accept(p.ep, m)
	if x == nil {
		return nil, 0
	}
	place, v := p.admit(x)
	switch v {
	case toRun:
		return x, place
	case toRefuse:
		p.srv.refuse(p.ep, x)
	case toDrop:
		p.ep.stats.canceled.Add(1)
	case toWait:
	}
	return nil, 0
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
	if busy := len(p.running) - len(p.free); busy == p.count {
		p.spawn(nil, 0)
	}
	return place, toRun
}

// next ends the request at place and returns the next in line to run there, or
// gives the place back.
func (p *pool) next(place int) *inflight {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		x := p.line.pop()
		if x != nil && x.reply != "" && p.early.take(x.reply) {
			p.ep.stats.canceled.Add(1)
			continue
		}
		p.running[place] = x
		if x == nil {
			p.free = append(p.free, place)
		}
		return x
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
	x.cancel(context.Canceled)
	return true
}

// abort cancels what runs and returns what is in line; what comes later is
// refused.
func (p *pool) abort(err error) (waiting []*inflight) {
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
		x.cancel(err)
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

// line is a bounded queue, first in, first out.
type line struct {
	limit int
	buf   []*inflight
	head  int
}

func (l *line) len() int { return len(l.buf) - l.head }

func (l *line) push(x *inflight) bool {
	if l.len() >= l.limit {
		return false
	}
	if l.head > 0 && len(l.buf) == cap(l.buf) {
		n := copy(l.buf, l.buf[l.head:])
		clear(l.buf[n:])
		l.buf, l.head = l.buf[:n], 0
	}
	l.buf = append(l.buf, x)
	return true
}

func (l *line) pop() *inflight {
	if l.len() == 0 {
		return nil
	}
	x := l.buf[l.head]
	l.buf[l.head] = nil
	if l.head++; l.head == len(l.buf) {
		l.buf, l.head = l.buf[:0], 0
	}
	return x
}
