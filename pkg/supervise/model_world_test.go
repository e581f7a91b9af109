package supervise_test

import (
	"slices"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// This half of the model is its time and its calls, and what it expects to see.

// advance lets time pass, handling in order what is due.
func (w *mWorld) advance(d time.Duration) {
	target := w.now.Add(d)
	for {
		var at time.Time
		for _, m := range w.trees {
			if t := m.next(); at.IsZero() || !t.IsZero() && t.Before(at) {
				at = t
			}
		}
		if at.IsZero() || at.After(target) {
			break
		}
		w.now = at
		for _, m := range w.trees {
			m.fire()
		}
		w.settle()
	}
	w.now = target
}

func (w *mWorld) settle() {
	for w.root.settle() {
	}
}

// next returns when the next thing happens by itself, zero if nothing does.
func (m *mSup) next() time.Time {
	var first time.Time
	see := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if m.job != nil && m.job.delayed && !m.job.parked {
		see(m.job.until)
	}
	for _, k := range m.kids {
		see(k.due)
		for _, r := range k.runs() {
			see(r.startBy)
			see(r.stopBy)
			see(r.endBy)
		}
	}
	return first
}

func (k *mKid) runs() []*mRun {
	runs := slices.Clone(k.ghosts)
	if k.run != nil {
		runs = append(runs, k.run)
	}
	return runs
}

func (m *mSup) fire() {
	now := m.world.now
	if j := m.job; j != nil && j.delayed && !j.parked && !j.until.After(now) {
		if m.world.gateOpen {
			j.delayed, j.at = false, j.from
		} else {
			j.parked, j.until = true, time.Time{}
			m.relabel(supervise.StateBackoff, supervise.StateParked)
		}
	}
	for _, k := range slices.Clone(m.kids) {
		if k.due.Equal(now) {
			k.due = time.Time{}
			if !m.world.gateOpen {
				m.park(k)
			}
		}
		for _, r := range k.runs() {
			m.fireRun(r)
		}
	}
}

func (m *mSup) fireRun(r *mRun) {
	now := m.world.now
	switch {
	case r.endBy.Equal(now):
		r.endBy, r.stopBy = time.Time{}, time.Time{}
		m.ended(r, mEnd{ok: true})
	case r.startBy.Equal(now):
		r.failed, r.excuse = true, !m.world.gateOpen
		m.tell(r.kid)
	case r.stopBy.Equal(now):
		m.abandon(r)
	}
}

func (m *mSup) abandon(r *mRun) {
	k, was := r.kid, r.phase
	r.phase, r.stopBy = mAbandoned, time.Time{}
	if was == mStopping {
		k.run, k.ghosts = nil, append(k.ghosts, r)
	}
	if _, giveUp := k.mayStart(); giveUp {
		m.stopAll("stuck")
	}
	if was == mStopping {
		m.over(k, r, mEnd{ok: true})
	}
}

func (m *mSup) relabel(from, to supervise.State) {
	for _, k := range m.kids {
		if k.seq >= m.job.from && k.run == nil && k.label == from {
			k.label = to
		}
	}
}

func (m *mSup) gateOpened() {
	for _, k := range m.kids {
		if k.parked {
			k.parked, k.due = false, m.world.now.Add(k.backoffMin)
		}
	}
	if j := m.job; j != nil && j.parked {
		j.parked = false
		if until := m.world.now.Add(m.backoff); until.After(j.until) {
			j.until = until
		}
		m.relabel(supervise.StateParked, supervise.StateBackoff)
	}
}

// The calls.

func (m *mSup) callStart(spec mSpec) *mKid {
	if !m.active {
		return &mKid{boss: m} // nothing to wait for
	}
	k := m.add(spec)
	k.fresh = true
	return k
}

func (m *mSup) callStop(name string, want int) {
	k := m.find(name)
	if !m.active || k == nil {
		return
	}
	k.want, k.done = max(k.want, want), false
	k.clear()
	if k.run != nil {
		m.tell(k)
		return
	}
	if k.want == 2 || k.restart == supervise.Temporary {
		m.leave(k)
	}
}

func (m *mSup) callRestart(name string) {
	k := m.find(name)
	if !m.active || k == nil || k.want == 2 {
		return
	}
	ok, giveUp := k.mayStart()
	if k.run == nil && !ok && giveUp {
		return
	}
	k.want, k.done = 0, false
	if k.run == nil && !ok && k.abandoned() > 0 {
		return
	}
	k.failures = 0
	k.clear()
	if k.run != nil && (m.job == nil || !m.job.stop && !m.job.delayed || !m.covered(k)) {
		k.run.failed = false
		m.tell(k)
	}
}

func (k *mKid) abandoned() int {
	n := 0
	for _, g := range k.ghosts {
		if g.phase == mAbandoned {
			n++
		}
	}
	return n
}

// What is to be seen.

func (k *mKid) state() supervise.State {
	held := supervise.State("")
	if k.abandoned() > 0 {
		held = supervise.StateAbandoned
	} else if len(k.ghosts) > 0 {
		held = supervise.StateStopping
	}
	if k.run != nil {
		return []supervise.State{supervise.StateStarting, supervise.StateRunning, supervise.StateStopping}[k.run.phase]
	}
	free, _ := k.mayStart()
	switch {
	case k.want == 2:
		return held
	case k.done:
		return supervise.StateDone
	case (k.want == 1 || !k.boss.active) && held != "":
		return held
	case k.want == 1 || !k.boss.active:
		return supervise.StateStopped
	case !k.due.IsZero():
		return supervise.StateBackoff
	case k.parked:
		return supervise.StateParked
	case k.label != "":
		return k.label
	case !free:
		return held
	default:
		return supervise.StateWaiting
	}
}

func (m *mSup) state() supervise.State {
	switch {
	case m.running && !m.active:
		return supervise.StateStopping
	case m.running && !m.up:
		return supervise.StateStarting
	case m.running:
		return supervise.StateRunning
	case !m.ran:
		return supervise.StateIdle
	case m.cause != "":
		return supervise.StateFailed
	default:
		return supervise.StateStopped
	}
}
