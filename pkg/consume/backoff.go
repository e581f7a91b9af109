package consume

import (
	"math/rand/v2"
	"time"
)

// retryPolicy says how often and when a failing event is run again.
type retryPolicy struct {
	maxAttempts int
	first, most time.Duration
}

// ceiling is the greatest delay after the given run: doubling, bounded.
func (p retryPolicy) ceiling(attempt int) time.Duration {
	d := p.first
	for i := 1; i < attempt && d < p.most; i++ {
		d *= 2
	}
	return min(d, p.most)
}

// delay draws the wait after the given run. The jitter is full, so that events
// that failed together do not come back together, but the lower half of the
// range is kept free: delays then grow from run to run instead of merely on
// average, and no failing handler runs hot by bad luck.
func (p retryPolicy) delay(attempt int) time.Duration {
	c := p.ceiling(attempt)
	if c <= 0 {
		return 0
	}
	return c/2 + rand.N(c/2+1) //nolint:gosec // jitter needs no secrecy
}
