package main

import (
	"context"
	"time"
)

// pace says how long a run takes.
type pace struct {
	quick    bool
	parallel int
	scale    int           // divisor of the number of events
	patience time.Duration // without a newly handled event, before a row is over
	turns    int           // the same in runs of the handler, where that is longer
	slow     int           // events of each slow worker
	rounds   int           // of a rolling restart
}

// full outwaits the 30 s after which the server gives an event again by
// default.
func full() pace {
	return pace{parallel: 4, scale: 1, patience: 45 * time.Second, turns: 20, slow: 4, rounds: 8}
}

func short() pace {
	return pace{quick: true, parallel: 16, scale: 5, patience: 8 * time.Second, turns: 6, slow: 2, rounds: 2}
}

// scenario is one kind of bad day.
type scenario struct {
	name string
	plan
	events   int
	rate     int // events a second; 0: a backlog
	twoEvery int // every so many events carry a header twice

	// ordered says that one worker of one instance handles everything, so
	// that events that do not fail should be handled in their order.
	ordered bool
	// mayRepeat says why even a correct group handles events twice here.
	mayRepeat string

	play func(ctx context.Context, r *field) error
}

func (s scenario) title() string { return s.name }

// Values of most scenarios. The delays of retries are the shortest that all
// contenders can keep.
const (
	ackWait      = 5 * time.Second
	shortAckWait = time.Second // of the slow handlers
	quickRun     = 5 * time.Millisecond
	attempts     = 5
	firstDelay   = 250 * time.Millisecond
	mostDelay    = time.Second
)

func newPlan(instances, workers int, takes time.Duration) plan {
	return plan{
		Instances: instances, Workers: workers, AckWait: ackWait, Takes: takes,
		Attempts: attempts, First: firstDelay, Most: mostDelay,
	}
}

func scenarios(p pace) []scenario {
	all := []scenario{
		order(p), rollingRestart(p), slowHandler(p, 1), slowHandler(p, 16),
		alwaysFailing(p, 1), alwaysFailing(p, 16), gracefulClose(p), twoValues(p), scaleUp(p),
		durableDeleted(p), instanceKilled(p),
	}
	return all
}

// order: one worker, and some events fail once.
func order(p pace) scenario {
	pl := newPlan(1, 1, time.Millisecond)
	pl.FailEvery, pl.FailRuns = 50, 1
	return scenario{name: "order", plan: pl, events: 2000 / p.scale, rate: 200, ordered: true, play: steady}
}

// rollingRestart: each of two instances is stopped and replaced, in turn.
func rollingRestart(p pace) scenario {
	return scenario{
		name: "rolling-restart", plan: newPlan(2, 4, quickRun), rate: 300,
		play: func(ctx context.Context, r *field) error {
			var two [2]*instance
			for i := range two {
				if err := r.start(ctx, &two[i]); err != nil {
					return err
				}
			}
			load := r.load(ctx)
			for range p.rounds {
				for i := range two {
					if err := r.rest(ctx, 500*time.Millisecond); err != nil {
						return err
					}
					if err := two[i].stop(); err != nil {
						return err
					}
					if err := r.start(ctx, &two[i]); err != nil {
						return err
					}
				}
			}
			return load.end()
		},
	}
}

// slowHandler: every run takes three times the acknowledgement deadline.
func slowHandler(p pace, workers int) scenario {
	pl := newPlan(1, workers, 3*shortAckWait)
	pl.AckWait = shortAckWait
	return scenario{name: workersName("slow-handler", workers), plan: pl, events: workers * p.slow, ordered: workers == 1, play: steady}
}

// alwaysFailing: one in 20 events fails for ever.
func alwaysFailing(p pace, workers int) scenario {
	pl := newPlan(1, workers, quickRun)
	pl.FailEvery = 20
	// Retries that sleep inside the handler must fit into it.
	pl.AckWait = 30 * time.Second
	return scenario{name: workersName("always-failing", workers), plan: pl, events: 400 / p.scale, rate: 50, ordered: workers == 1, play: steady}
}

func workersName(name string, workers int) string {
	if workers == 1 {
		return name + "-1-worker"
	}
	return name + "-16-workers"
}

// gracefulClose: an instance with a backlog closes with all its workers busy,
// and another one takes over.
func gracefulClose(p pace) scenario {
	events := 1500 / p.scale
	return scenario{
		name: "graceful-close", plan: newPlan(2, 16, 50*time.Millisecond), events: events,
		play: func(ctx context.Context, r *field) error {
			var first, second *instance
			if err := r.start(ctx, &first); err != nil {
				return err
			}
			load := r.load(ctx)
			if err := r.handled(ctx, events/10); err != nil {
				return err
			}
			if err := r.start(ctx, &second); err != nil {
				return err
			}
			if err := first.stop(); err != nil {
				return err
			}
			return load.wait()
		},
	}
}

// twoValues: one in 20 events has a header that stands twice.
func twoValues(p pace) scenario {
	pl := newPlan(1, 1, quickRun)
	return scenario{name: "two-value-header", plan: pl, events: 500 / p.scale, rate: 50, twoEvery: 20, ordered: true, play: steady}
}

// scaleUp: one instance falls behind; a second and a third one join.
func scaleUp(p pace) scenario {
	return scenario{
		name: "scale-up", plan: newPlan(3, 4, 20*time.Millisecond), events: 3000 / p.scale, rate: 400,
		play: func(ctx context.Context, r *field) error {
			var three [3]*instance
			if err := r.start(ctx, &three[0]); err != nil {
				return err
			}
			load := r.load(ctx)
			for i := range three[1:] {
				if err := r.rest(ctx, 1500*time.Millisecond/time.Duration(min(p.scale, 3))); err != nil {
					return err
				}
				if err := r.start(ctx, &three[i+1]); err != nil {
					return err
				}
			}
			return load.wait()
		},
	}
}

// durableDeleted: somebody deletes the durable under a running instance.
func durableDeleted(p pace) scenario {
	events := 3000 / p.scale
	return scenario{
		name: "durable-deleted", plan: newPlan(1, 4, quickRun), events: events, rate: 300,
		mayRepeat: "back to the saved floor",
		play: func(ctx context.Context, r *field) error {
			var one *instance
			if err := r.start(ctx, &one); err != nil {
				return err
			}
			load := r.load(ctx)
			if err := r.handled(ctx, events*7/10); err != nil {
				return err
			}
			if err := r.deleteDurable(ctx); err != nil {
				return err
			}
			return load.wait()
		},
	}
}

// instanceKilled: one of two instances dies by SIGKILL and is replaced.
func instanceKilled(p pace) scenario {
	events := 2000 / p.scale
	return scenario{
		name: "instance-killed", plan: newPlan(2, 4, quickRun), events: events, rate: 300,
		mayRepeat: "what the dead process had handled and not yet acknowledged",
		play: func(ctx context.Context, r *field) error {
			var two [2]*instance
			for i := range two {
				if err := r.start(ctx, &two[i]); err != nil {
					return err
				}
			}
			load := r.load(ctx)
			if err := r.handled(ctx, events*4/10); err != nil {
				return err
			}
			two[0].kill()
			if err := r.start(ctx, &two[0]); err != nil {
				return err
			}
			return load.wait()
		},
	}
}

// steady: one instance, and nothing happens to it.
func steady(ctx context.Context, r *field) error {
	var one *instance
	if err := r.start(ctx, &one); err != nil {
		return err
	}
	return r.load(ctx).wait()
}
