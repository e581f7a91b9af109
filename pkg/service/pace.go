package service

import "time"

const (
	// maxReaders is how many workers receive while there is little to do: one
	// for the next request, one for the next after it.
	maxReaders = 2
	// switchCost is about what it costs to have a handler run on a goroutine
	// of its own while others wait.
	switchCost = 20 * time.Microsecond
	// watchEvery bounds how long a handler that blocks against expectation
	// keeps others waiting: at most twice this.
	watchEvery = time.Millisecond
)

// pace decides how many workers receive. All is under the pool's lock.
//
// Waking a goroutine costs more than a handler that returns within
// microseconds, and replies of one goroutine leave in larger writes. So:
//
//   - While requests come one by one, two workers receive: each request wakes
//     one, and while it runs the other is there for the next.
//   - While requests come faster than they are run, and handlers are short, one
//     worker receives and runs them one after the other, and nobody else
//     receives meanwhile. A watch looks every millisecond whether it still gets
//     on, and adds a reader if not. (A timer that is due so soon costs a
//     process that sleeps between requests more than the requests do; hence
//     the second reader of the case above.)
//   - While handlers take longer, a worker that is about to run one and leaves
//     no reader behind wakes another first.
type pace struct {
	long   share // of the last requests that took longer than switchCost
	single int   // requests in a row that found no other behind them

	look     func()
	timer    *time.Timer
	watching bool
	serial   uint64 // of the last request that ran without a reader beside it
	seen     uint64 // serial at the last look
}

// share is a moving average of yes and no over about the last 16, so that one
// request that lost its CPU in between says little.
type share float32

// much is the share beyond which handlers count as long.
const much share = 0.25

func (s *share) note(yes bool) {
	if yes {
		*s += (1 - *s) / 16
	} else {
		*s -= *s / 16
	}
}

// surprise makes the next handlers count as long, as do the first.
func (p *pace) surprise() { p.long = 1 }

func (p *pace) note(took time.Duration) { p.long.note(took > switchCost) }

// alone tells a worker that leaves no reader behind whether it may run its
// request all the same. behind is how many requests wait in the channel.
func (p *pace) alone(behind int) bool {
	if behind > 0 {
		p.single = 0
	} else {
		p.single++
	}
	if p.long > much || p.single > 1 {
		return false
	}
	p.serial++
	if !p.watching {
		p.watching = true
		p.watch()
	}
	return true
}

func (p *pace) watch() {
	if p.timer == nil {
		p.timer = time.AfterFunc(watchEvery, p.look)
	} else {
		p.timer.Reset(watchEvery)
	}
}

// stuck tells, at a look, whether the request that ran without a reader beside
// it is still the same.
func (p *pace) stuck(readers int) bool {
	switch {
	case readers > 0:
		p.watching = false
	case p.serial != p.seen:
		p.seen = p.serial
		p.watch()
	default:
		p.watching = false
		p.surprise()
		return true
	}
	return false
}

// readers is how many may receive.
func (p *pace) readers() int {
	if p.single > 0 {
		return maxReaders
	}
	return 1
}

// look is called by the watch.
func (p *pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pace.stuck(p.readers) {
		p.addReader()
	}
}
