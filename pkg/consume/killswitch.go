package consume

import (
	"context"
	"fmt"
	"time"
)

// KillSwitch pauses a subscription whose handler keeps failing, so that an
// outage of what the handler depends on does not pour a backlog into the dead
// letters. The pause is the server's consumer pause: all instances stop,
// whichever of them saw the failures. When it ends, one event is tried at each
// instance; if that fails too the pause is made again, twice as long, and if it
// succeeds the subscription goes on at full speed.
//
// The zero value is off: whether events may wait is the service's to say.
type KillSwitch struct {
	// Threshold is the share of runs that fail, above 0 and up to 1, from
	// which on the subscription is paused. 0 turns the switch off.
	Threshold float64
	// Runs is how many runs within Window the share is taken of, at least.
	// Default 50.
	Runs int
	// Window is the time over which runs are counted. Default 1 min.
	Window time.Duration
	// Pause is the first pause; it doubles, up to MaxPause, each time the tried
	// event fails. Defaults 30 s and 10 min. Other instances learn of a pause
	// within 5 s, so it is at least 10 s.
	Pause, MaxPause time.Duration
}

func (k KillSwitch) withDefaults() KillSwitch {
	if k.Runs == 0 {
		k.Runs = 50
	}
	if k.Window == 0 {
		k.Window = time.Minute
	}
	if k.Pause == 0 {
		k.Pause = 30 * time.Second
	}
	if k.MaxPause == 0 {
		k.MaxPause = max(10*time.Minute, k.Pause)
	}
	return k
}

func (k KillSwitch) check() error {
	switch {
	case k.Threshold < 0 || k.Threshold > 1:
		return fmt.Errorf("KillSwitch.Threshold must be between 0 and 1: %w", ErrConfig)
	case k.Threshold == 0:
		return nil
	case k.Runs < 1 || k.Window <= 0:
		return fmt.Errorf("KillSwitch.Runs and Window must be more than 0: %w", ErrConfig)
	case k.Pause < 2*observeEvery || k.MaxPause < k.Pause:
		return fmt.Errorf("KillSwitch.Pause must be at least %s, and MaxPause at least Pause: %w", 2*observeEvery, ErrConfig)
	}
	return nil
}

// fuse is the switch of one loop; all of it is guarded by loop.mu.
type fuse struct {
	KillSwitch
	slots [fuseSlots]struct {
		from         time.Time
		runs, failed int
	}
	blown time.Time     // end of the pause; zero while closed
	since time.Time     // its beginning
	trial bool          // the pause is over: one event at a time, until one succeeds
	pause time.Duration // of the next time
}

const fuseSlots = 10

// ran takes note of a run, and reports whether the subscription is to pause
// now.
func (f *fuse) ran(failed bool, now time.Time) (blow bool) {
	if f.Threshold == 0 || !f.blown.IsZero() {
		return false
	}
	if f.trial {
		f.trial = failed
		if !failed {
			f.reset()
		}
		return failed
	}
	slot := &f.slots[int(now.UnixNano()/int64(f.Window/fuseSlots))%fuseSlots]
	if now.Sub(slot.from) >= f.Window/fuseSlots {
		slot.from, slot.runs, slot.failed = now, 0, 0
	}
	slot.runs++
	if !failed {
		return false
	}
	slot.failed++
	var runs, bad int
	for i := range f.slots {
		if now.Sub(f.slots[i].from) < f.Window {
			runs += f.slots[i].runs
			bad += f.slots[i].failed
		}
	}
	return runs >= f.Runs && float64(bad) >= f.Threshold*float64(runs)
}

func (f *fuse) reset() {
	clear(f.slots[:])
	f.pause = f.Pause
}

// blow pauses the subscription, with loop.mu held: here at once, and at the
// server for all.
func (l *loop) blow(now time.Time) {
	f := &l.fuse
	d := f.pause
	f.pause = min(2*f.pause, f.MaxPause)
	l.hush(now.Add(d))
	l.counters.tripped.Add(1)
	l.log.Error("kill switch: too many runs fail; the subscription is paused", "for", d, "threshold", f.Threshold)
	l.background.Go(func() {
		ctx, cancel := context.WithTimeout(l.base, requestTimeout)
		defer cancel()
		for _, s := range []*source{l.main, l.lane} {
			if _, err := l.js.PauseConsumer(ctx, s.durable.stream, s.durable.config.Durable, now.Add(d)); err != nil {
				l.counters.setError(fmt.Errorf("kill switch: pause durable: %w", err))
				l.log.Error("kill switch: the durable could not be paused; only this instance stops", "stream", s.durable.stream, "error", err)
			}
		}
	})
}

// hush stops pulling until a time, gives back what has not begun, and lets one
// event at a time through afterwards. Called with loop.mu held.
func (l *loop) hush(until time.Time) {
	l.fuse.blown, l.fuse.since = until, time.Now()
	l.limit = 1
	l.main.notTill, l.lane.notTill = until, until
	for _, d := range l.clearQueue() {
		l.handBack(d)
	}
}

// rekindle is the keeper's look at the switch, with loop.mu held.
func (l *loop) rekindle(now time.Time) {
	f := &l.fuse
	switch {
	case f.Threshold == 0:
	case !f.blown.IsZero() && !now.Before(f.blown):
		f.blown, f.trial = time.Time{}, true
		l.log.Info("kill switch: the pause is over; one event is tried")
		l.hireAll()
	case f.blown.IsZero() && !f.trial && l.limit < l.wanted:
		l.limit = l.wanted
		l.log.Info("kill switch: the tried event succeeded; the subscription goes on")
		l.hireAll()
	}
}

// follow learns of a pause that another instance, or an operator, made or
// ended.
func (l *loop) follow(paused bool, remaining time.Duration) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &l.fuse
	switch {
	case f.Threshold == 0:
	case paused && remaining > 0 && f.blown.IsZero():
		l.hush(now.Add(remaining))
	case !paused && now.Sub(f.since) > observeEvery:
		// Resumed before its time. A pause of our own may be on its way to
		// the server still, hence the patience.
		f.blown = minTime(f.blown, now)
	}
}

func minTime(a, b time.Time) time.Time {
	if a.IsZero() || a.Before(b) {
		return a
	}
	return b
}
