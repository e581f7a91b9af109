package service

import "time"

const (
	// switchCost is about what it costs to have a handler run on a goroutine
	// of its own while others wait: requests that take less run one after the
	// other. With nobody waiting, patience is the bound.
	switchCost = 20 * time.Microsecond
	patience   = 60 * time.Microsecond
	// watchEvery bounds how long a handler that blocks against expectation
	// keeps others waiting: at most twice this.
	watchEvery = time.Millisecond
)

// pace decides whether a worker keeps the baton while it runs a handler. All
// is under the pool's lock.
type pace struct {
	pool *pool
	// long and tooLong say what part of the last requests took longer than
	// switchCost and patience: moving averages, so that one request that lost
	// its CPU in between says little.
	long, tooLong share

	kept     *inflight // its worker has the baton; nil if none keeps it
	serial   uint64    // of kept
	seen     uint64    // serial at the last look
	watching bool
	timer    *time.Timer
}

// share is a moving average of yes and no over about the last 16.
type share float32

const (
	shareAll  share = 1
	shareMost share = 0.25 // beyond it, the answer is yes
)

func (s *share) note(yes bool) {
	if yes {
		*s += (1 - *s) / 16
	} else {
		*s -= *s / 16
	}
}

// surprise makes the next requests run apart, as do the first ones.
func (p *pace) surprise() { p.long, p.tooLong = shareAll, shareAll }

// keep tells the worker that is to run x whether it keeps the baton.
func (p *pace) keep(x *inflight) bool {
	expect := p.tooLong
	if len(p.pool.feed.in) > 0 {
		expect = p.long
	}
	if expect > shareMost {
		return false
	}
	p.kept = x
	p.serial++
	if !p.watching {
		p.watching = true
		if p.timer == nil {
			p.timer = time.AfterFunc(watchEvery, p.look)
		} else {
			p.timer.Reset(watchEvery)
		}
	}
	return true
}

// returned tells the worker that ran x whether it has the baton still.
func (p *pace) returned(x *inflight) bool {
	p.long.note(x.took > switchCost)
	p.tooLong.note(x.took > patience)
	if p.kept != x {
		return false
	}
	p.kept = nil
	return true
}

// look runs every watchEvery while batons are kept.
func (p *pace) look() {
	p.pool.mu.Lock()
	defer p.pool.mu.Unlock()
	switch {
	case p.serial != p.seen: // others came since
		p.seen = p.serial
		p.timer.Reset(watchEvery)
		return
	case p.kept != nil: // the same for a whole period
		p.kept = nil
		p.surprise()
		p.pool.passBaton()
	}
	p.watching = false
}
