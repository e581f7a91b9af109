package supervise_test

import (
	"slices"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// This part of the model is what follows when a run ends.

func (m *mSup) ended(r *mRun, e mEnd) {
	k, was := r.kid, r.phase
	if was == mDetached || was == mAbandoned {
		k.ghosts = slices.DeleteFunc(k.ghosts, func(g *mRun) bool { return g == r })
		if k.want == 2 && k.run == nil && len(k.ghosts) == 0 {
			m.delete(k)
		}
		return
	}
	k.run = nil
	if was == mStopping {
		m.over(k, r, e)
		return
	}
	m.exited(k, r, e)
}

func (m *mSup) over(k *mKid, r *mRun, e mEnd) {
	switch {
	case r.failed && m.active && k.want == 0:
		m.exited(k, r, mEnd{closed: r.excuse})
		return
	case !m.active && m.running && !e.ok:
		m.note(e)
	}
	if k.want == 2 || k.want == 1 && k.restart == supervise.Temporary {
		m.leave(k)
	}
}

func (m *mSup) note(e mEnd) {
	if e.pure {
		m.failed += e.failed
	} else {
		m.failed++
	}
}

func (m *mSup) leave(k *mKid) {
	k.clear()
	k.want = 2
	if len(k.ghosts) == 0 {
		m.delete(k)
	}
}

func (m *mSup) delete(k *mKid) {
	m.kids = slices.DeleteFunc(m.kids, func(o *mKid) bool { return o == k })
}

func (m *mSup) exited(k *mKid, r *mRun, e mEnd) {
	if !m.active {
		if !e.ok {
			m.note(e)
		}
		return
	}
	excused := !e.ok && (e.closed || e.blamed)
	switch {
	case k.want == 2:
		m.leave(k)
	case m.job != nil && m.job.stop && m.covered(k):
	case k.restart == supervise.Temporary:
		m.retire(k)
		m.leave(k)
	case k.restart == supervise.Transient && e.ok:
		k.want, k.done = 1, true
		m.retire(k)
	case k.fresh && !e.ok && !excused:
		m.leave(k)
	default:
		m.incident(k, r, e.closed && !e.ok, excused)
	}
}

func (m *mSup) retire(k *mKid) {
	if !k.significant {
		return
	}
	if m.auto == supervise.AutoShutdownAll {
		for _, o := range m.kids {
			if o != k && o.significant && o.want == 0 {
				return
			}
		}
	}
	m.stopAll("")
}

func (m *mSup) incident(k *mKid, r *mRun, closed, excused bool) {
	now := m.world.now
	if !r.upSince.IsZero() && now.Sub(r.upSince) >= mBackoffReset {
		k.failures = 0
	}
	if !excused {
		m.window = append(m.window, now)
		if m.used() > m.max {
			m.stopAll("intensity")
			return
		}
	}
	if closed {
		m.park(k)
		return
	}
	delay := min(k.backoffMin<<min(k.failures, 20), mBackoffMax)
	k.failures++
	free, _ := k.mayStart()
	free = free || k.abandoned() == 0
	if m.grouped() {
		if free {
			k.label = supervise.StateBackoff
		}
		m.regroup(k, now.Add(delay), false)
	} else if free {
		k.due = now.Add(delay)
	}
}

func (m *mSup) park(k *mKid) {
	if m.grouped() {
		k.label = supervise.StateParked
		m.regroup(k, time.Time{}, true)
	} else {
		k.parked = true
	}
	if m.world.gateOpen { // again, since the failure
		m.gateOpened()
	}
}

func (m *mSup) used() int {
	n := 0
	for _, t := range m.window {
		if m.world.now.Sub(t) <= m.period {
			n++
		}
	}
	return n
}

func (m *mSup) regroup(k *mKid, until time.Time, parked bool) {
	j := &mJob{stop: true, from: k.seq, at: m.seq + 1, until: until, parked: parked}
	if m.strategy == supervise.OneForAll {
		j.from = 0
	}
	if o := m.job; o != nil && (o.stop || o.delayed) {
		j.from, j.parked = min(j.from, o.from), j.parked || o.parked
		if o.until.After(j.until) {
			j.until = o.until
		}
	}
	m.job = j
	for _, o := range m.kids {
		if o.seq >= j.from && o.done && o.want == 1 {
			o.want, o.done = 0, false
		}
	}
}
