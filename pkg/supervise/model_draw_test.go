package supervise_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/agner-go/agner/pkg/supervise"
)

// drawConfig makes a tree of one to three levels. Durations are all different,
// so that no two things happen at one instant, where their order would be
// open.
func drawConfig(rt *rapid.T) mConfig {
	d := &drawer{}
	return d.config(rt, "root", 0)
}

type drawer struct{ n int }

// odd returns a duration that no other call returns. It is scattered, so that
// sums of them do not meet either.
func (d *drawer) odd(base time.Duration) time.Duration {
	d.n++
	return base + time.Duration(d.n*2654435761%999983)
}

func (d *drawer) config(rt *rapid.T, name string, level int) mConfig {
	cfg := mConfig{
		name:     name,
		strategy: supervise.Strategy(rapid.IntRange(0, 3).Draw(rt, "strategy")),
		max:      rapid.SampledFrom([]int{0, 1, 3, 5}).Draw(rt, "max"),
		period:   rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(rt, "period"),
		auto:     supervise.AutoShutdown(rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(rt, "auto")),
		backoff:  d.odd(100 * time.Millisecond),
	}
	for i := range rapid.IntRange(level, 4).Draw(rt, "children") {
		cfg.kids = append(cfg.kids, d.kid(rt, fmt.Sprintf("c%d", i), level, cfg.auto))
	}
	return cfg
}

func (d *drawer) kid(rt *rapid.T, name string, level int, auto supervise.AutoShutdown) mSpec {
	k := mSpec{
		name:       name,
		restart:    supervise.Restart(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2}).Draw(rt, "restart")),
		backoffMin: d.odd(100 * time.Millisecond),
		shutdown:   supervise.Infinite,
		startLimit: supervise.Infinite,
	}
	k.significant = auto != 0 && k.restart != supervise.Permanent && rapid.Bool().Draw(rt, "significant")
	if level < 2 && rapid.IntRange(0, 5).Draw(rt, "kind") == 0 {
		sub := d.config(rt, name, level+1)
		k.sub = &sub
		return k
	}
	k.onStuck = supervise.OnStuck(rapid.SampledFrom([]int{0, 0, 1, 2, 2}).Draw(rt, "stuck"))
	k.shutdown = rapid.SampledFrom([]time.Duration{
		d.odd(time.Second), d.odd(time.Second), d.odd(5 * time.Second), supervise.NoWait, supervise.Infinite,
	}).Draw(rt, "shutdown")
	k.startLimit = rapid.SampledFrom([]time.Duration{0, 0, d.odd(2 * time.Second), d.odd(30 * time.Second)}).Draw(rt, "start")
	k.stopDelay = rapid.SampledFrom([]time.Duration{0, 0, d.odd(200 * time.Millisecond), d.odd(3 * time.Second)}).Draw(rt, "stop")
	return k
}

// dynamicSpec makes one of a few children that are added at run time.
func dynamicSpec(b int) mSpec {
	n := b % 6
	odd := time.Duration(b%9973) * 11 * time.Nanosecond
	k := mSpec{
		name:       fmt.Sprintf("d%d", n),
		restart:    supervise.Restart(b / 6 % 3),
		backoffMin: 150*time.Millisecond + odd,
		shutdown:   1500*time.Millisecond + odd,
		onStuck:    supervise.OnStuck(b / 18 % 3),
	}
	if b/54%2 == 0 {
		k.startLimit = 4*time.Second + odd
	}
	if b/108%3 == 0 {
		k.stopDelay = 700*time.Millisecond + odd
	}
	return k
}
