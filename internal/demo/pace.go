package demo

import "time"

// pace is how quickly the story goes: for somebody who reads along, or for a
// test.
type pace struct {
	orderEvery time.Duration // one order of the steady flow
	work       time.Duration // that billing spends on an order
	pause      time.Duration // between two steps, to read
	flow       int           // orders of the first step
	burst      int           // orders published at once before the kill
}

func paceFor(fast bool) pace {
	if fast {
		return pace{orderEvery: 40 * time.Millisecond, work: 20 * time.Millisecond, flow: 20, burst: 20}
	}
	return pace{
		orderEvery: 250 * time.Millisecond, work: 80 * time.Millisecond, pause: 3 * time.Second, flow: 20, burst: 20,
	}
}

// Settings of the shop's groups, shorter than the defaults so that the story
// can show what otherwise takes minutes.
const (
	ackWait     = 2 * time.Second // default 30 s
	maxAttempts = 3               // default 10
	firstDelay  = 300 * time.Millisecond
	concurrency = 4
)
