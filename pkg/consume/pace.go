package consume

import "time"

// Bounds of what a loop receives ahead of its workers.
const (
	// bufferAhead is how much work a loop holds besides what runs. Enough to
	// hide a round trip to the server, and little enough that a killed process
	// leaves few events to wait for AckWait, and none of them old.
	bufferAhead = 200 * time.Millisecond
	maxPrefetch = 2000
)

// pace sizes the prefetch of a loop by how long its handlers take: raw speed
// wants large batches (a batch of 500 gives 0.77 of the rate of 2,000), fair
// sharing among instances and a quick hand-over after a crash want small ones.
// Guarded by loop.mu.
type pace struct {
	workers  int
	batch    int // events that one worker takes at once
	prefetch int
	typical  time.Duration // of a handler: near its slow end
}

// newPace sizes for workers that take batches of a size each, 1 without batches.
func newPace(workers, batch int) pace {
	p := pace{batch: max(batch, 1)}
	p.resize(workers)
	return p
}

// ran takes note of one handler's time. It rises fast and falls slowly, so that
// the estimate stays near the slow end.
func (p *pace) ran(took time.Duration) {
	if took > p.typical {
		p.typical += (took - p.typical) / 4
	} else {
		p.typical -= (p.typical - took) / 64
	}
	ahead := maxPrefetch
	if p.typical > 0 {
		ahead = int(bufferAhead * time.Duration(p.workers) / p.typical)
	}
	want := min(p.workers*p.batch+max(ahead, 1), maxPrefetch)
	// Growing by doubling keeps one lucky first sample from filling the buffer.
	if want > p.prefetch {
		want = min(want, 2*p.prefetch)
	}
	p.prefetch = want
}

// resize follows a change of the concurrency.
func (p *pace) resize(workers int) {
	p.workers = workers
	p.prefetch = max(p.prefetch, min(2*workers*p.batch, maxPrefetch))
}
