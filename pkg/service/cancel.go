package service

import "time"

const (
	// earlyFor is how long, at least, a cancel that matched nothing is kept
	// for a request that it overtook. Both travel over one connection of the
	// caller, so the gap is the time between two goroutines of this process.
	earlyFor = 3 * time.Second
	// earlyMax bounds the memory for cancels that match nothing, which is what
	// all instances but one see of every cancel.
	earlyMax = 1024
)

// earlyCancels remembers the last unmatched cancels in two generations, so
// that forgetting costs no timer and no scan.
type earlyCancels struct {
	young, old map[string]struct{}
	turned     time.Time
}

func (c *earlyCancels) add(inbox string, now time.Time) {
	if c.young == nil || len(c.young) >= earlyMax || now.Sub(c.turned) >= earlyFor {
		c.old = c.young
		c.young = make(map[string]struct{})
		c.turned = now
	}
	c.young[inbox] = struct{}{}
}

// take tells whether inbox was cancelled before its request came.
func (c *earlyCancels) take(inbox string) bool {
	if len(c.young) == 0 && len(c.old) == 0 {
		return false
	}
	for _, m := range []map[string]struct{}{c.young, c.old} {
		if _, ok := m[inbox]; ok {
			delete(m, inbox)
			return true
		}
	}
	return false
}
