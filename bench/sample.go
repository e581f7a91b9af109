package main

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// sample is one measurement of one work by one contender.
type sample struct {
	ops      int
	took     time.Duration
	cpu      time.Duration // of this process, the server's is its own
	allocs   uint64
	bytes    uint64
	p50, p99 time.Duration // zero where single operations are not timed
}

func (s sample) rate() float64 { return float64(s.ops) / s.took.Seconds() }

func (s sample) perOp(total float64) float64 { return total / float64(s.ops) }

// settle is the quiet moment before the clock starts.
const settle = 50 * time.Millisecond

// meter measures from begin to end.
type meter struct {
	before  runtime.MemStats
	cpu     time.Duration
	started time.Time
}

// calm collects garbage and rests, so that the sample before costs this one
// nothing.
func calm(ctx context.Context) error {
	runtime.GC()
	return rest(ctx, settle)
}

func (m *meter) begin() {
	runtime.ReadMemStats(&m.before)
	m.cpu = cpuTime()
	m.started = time.Now()
}

func (m *meter) end(ops int) sample {
	s := sample{ops: ops, took: time.Since(m.started), cpu: cpuTime() - m.cpu}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	s.allocs = after.Mallocs - m.before.Mallocs
	s.bytes = after.TotalAlloc - m.before.TotalAlloc
	return s
}

// percentiles sorts the times and sets p50 and p99.
func (s *sample) percentiles(times []time.Duration) {
	slices.Sort(times)
	s.p50 = times[len(times)/2]
	s.p99 = times[len(times)*99/100]
}
