package supervise_test

import (
	"slices"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// The model says what a supervisor has to do, as a set of rules that are
// applied until none applies any more. It knows no goroutine, lock or timer:
// now is a variable, and next tells when something happens by itself.
//
//	order     a child starts when all before it are up; a group stops from the
//	          end, each child once all after it are down
//	ends      permanent: restart. transient: restart unless normal. temporary:
//	          gone. Told to stop: no restart is counted.
//	counting  one incident, one restart; those within the period, both ends
//	          included, must not exceed the maximum
//	escalate  one too many: stop everything, end with an error
//	groups    one-for-all, rest-for-one: stop, wait for the backoff, start;
//	          temporary children do not come back, finished ones do
//	shutdown  a child has its own timeout; then it is a ghost, and its place
//	          stays taken until it ends, unless doubles are allowed
//	gate      a failure while it is closed counts nothing and waits for it

type mSpec struct {
	name        string
	restart     supervise.Restart
	significant bool
	shutdown    time.Duration
	startLimit  time.Duration // 0: no readiness, up at once
	stopDelay   time.Duration // what the child takes to stop
	backoffMin  time.Duration
	onStuck     supervise.OnStuck
	sub         *mConfig // a supervisor
}

type mConfig struct {
	name     string
	strategy supervise.Strategy
	max      int
	period   time.Duration
	backoff  time.Duration
	auto     supervise.AutoShutdown
	kids     []mSpec
}

const (
	mBackoffMax   = 3 * time.Second
	mBackoffReset = 20 * time.Second
	mMaxAbandoned = 2
	mNoWaitLimit  = 5 * time.Second
)

type mPhase int

const (
	mStarting mPhase = iota
	mUp
	mStopping
	mDetached
	mAbandoned
)

type mRun struct {
	kid     *mKid
	phase   mPhase
	hang    bool // ignores its context
	upSince time.Time
	startBy time.Time
	stopBy  time.Time
	endBy   time.Time
	failed  bool // told to stop because it was not ready in time
	excuse  bool
}

type mKid struct {
	mSpec
	path string
	seq  int
	boss *mSup
	tree *mSup

	want     int // 0 up, 1 down, 2 gone
	done     bool
	run      *mRun
	ghosts   []*mRun
	due      time.Time
	parked   bool
	label    supervise.State // of the child whose failure began a group's restart
	fresh    bool
	ran      bool // in this Run
	starts   int
	failures int
}

type mJob struct {
	stop, final, delayed, parked bool
	from, at                     int
	until                        time.Time
}

type mEnd struct {
	ok, blamed    bool
	closed        bool // the gate was, when it failed
	pure          bool // only an unclean shutdown
	failed, stuck int
}

type mSup struct {
	mConfig
	world  *mWorld
	above  *mKid
	path   string
	kids   []*mKid
	seq    int
	window []time.Time
	job    *mJob

	ran, running, active, up bool
	cause                    string // why it gave up
	failed                   int
	end                      *mEnd // of the root's last Run
	log                      []string
}

// mWorld is what all supervisors of one tree share.
type mWorld struct {
	now      time.Time
	gateOpen bool
	root     *mSup
	trees    map[string]*mSup // by path: a Supervisor value remembers its ghosts
}

func newModel(cfg mConfig, now time.Time) *mWorld {
	w := &mWorld{now: now, gateOpen: true, trees: map[string]*mSup{}}
	w.root = &mSup{mConfig: cfg, world: w, path: cfg.name}
	w.trees[cfg.name] = w.root
	return w
}

func (m *mSup) add(spec mSpec) *mKid {
	m.seq++
	k := &mKid{mSpec: spec, path: m.path + "/" + spec.name, seq: m.seq, boss: m}
	if spec.sub != nil {
		if m.world.trees[k.path] == nil {
			m.world.trees[k.path] = &mSup{mConfig: *spec.sub, world: m.world, path: k.path}
		}
		k.tree = m.world.trees[k.path]
		k.tree.above = k
	}
	m.kids = append(m.kids, k)
	return k
}

func (m *mSup) find(name string) *mKid {
	for _, k := range m.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

func (m *mSup) begin() {
	old := m.kids
	m.kids, m.window, m.cause, m.failed, m.end = nil, nil, "", 0, nil
	m.ran, m.running, m.active, m.up = true, true, true, false
	for _, spec := range m.mConfig.kids {
		m.add(spec)
	}
	for _, o := range old {
		k := m.find(o.name)
		if k == nil {
			if len(o.ghosts) == 0 {
				continue
			}
			k = m.add(o.mSpec)
			k.want = 2
		}
		k.ghosts, k.starts = o.ghosts, o.starts
		for _, g := range k.ghosts {
			g.kid = k
		}
	}
	m.job = &mJob{}
}

func (m *mSup) finish() {
	m.running, m.job = false, nil
	e := mEnd{failed: m.failed, stuck: m.stuck(), pure: m.cause == ""}
	e.ok = e.pure && e.failed+e.stuck == 0
	e.closed = !m.world.gateOpen
	if m.above == nil {
		m.end = &e
		return
	}
	m.above.boss.ended(m.above.run, e)
}

// stuck counts the abandoned runs of the tree.
func (m *mSup) stuck() int {
	n := 0
	for _, k := range m.kids {
		for _, g := range k.ghosts {
			if g.phase == mAbandoned {
				n++
			}
		}
		if k.tree != nil {
			n += k.tree.stuck()
		}
	}
	return n
}

func (m *mSup) grouped() bool {
	return m.strategy == supervise.OneForAll || m.strategy == supervise.RestForOne
}

func (m *mSup) covered(k *mKid) bool {
	j := m.job
	return j != nil && k.seq >= j.from && (j.stop || j.delayed || k.seq >= j.at)
}

func (m *mSup) stopAll(cause string) {
	if !m.active {
		return
	}
	m.active, m.cause = false, cause
	if m.above != nil && m.above.run != nil && m.above.run.phase <= mUp { // not told to
		m.above.boss.log = append(m.above.boss.log, "stopping "+m.path)
	}
	m.job = &mJob{stop: true, final: true}
	for _, k := range m.kids {
		k.clear()
	}
	if m.strategy == supervise.SimpleOneForOne {
		for _, k := range slices.Backward(m.kids) {
			m.tell(k)
		}
	}
}

func (k *mKid) clear() { k.due, k.parked, k.label = time.Time{}, false, "" }

func (k *mKid) mayStart() (ok, giveUp bool) {
	abandoned := 0
	for _, g := range k.ghosts {
		if g.phase == mAbandoned {
			abandoned++
		}
	}
	switch k.onStuck {
	case supervise.StuckDouble:
		return abandoned < mMaxAbandoned, abandoned >= mMaxAbandoned
	case supervise.StuckEscalate:
		return len(k.ghosts) == 0, abandoned > 0
	default:
		return len(k.ghosts) == 0, false
	}
}

// settle applies the rules that need no event, one at a time.
func (m *mSup) settle() bool {
	for _, k := range m.kids {
		if k.tree != nil && k.tree.settle() {
			return true
		}
	}
	if !m.running {
		return false
	}
	for _, k := range m.kids {
		if k.want == 0 && k.run == nil && k.due.IsZero() && !k.parked && !m.covered(k) && m.tryStart(k) {
			return true
		}
	}
	switch {
	case m.job == nil || m.job.delayed:
		return false
	case m.job.stop:
		return m.stopRule()
	default:
		return m.startRule()
	}
}

func (m *mSup) stopRule() bool {
	j := m.job
	for _, k := range slices.Backward(m.kids) {
		switch {
		case k.seq < j.from || k.seq >= j.at && !j.final:
		case k.run != nil:
			return m.tell(k)
		case !j.final && k.restart == supervise.Temporary && k.want != 2 && k.ran:
			m.leave(k)
			return true
		}
	}
	switch {
	case j.final:
		m.finish()
	case j.parked || m.world.now.Before(j.until):
		j.stop, j.delayed = false, true
	default:
		j.stop, j.at = false, j.from
	}
	return true
}

func (m *mSup) startRule() bool {
	j := m.job
	for _, k := range m.kids {
		switch {
		case k.seq < j.at:
			continue
		case k.want != 0: // nobody waits for it
		case k.run != nil && k.run.phase == mUp:
		case k.run != nil || !k.due.IsZero() || k.parked:
			return false
		case m.tryStart(k):
			return true
		case m.grouped() || k.abandoned() == 0:
			return false
		}
		j.at = k.seq + 1
		return true
	}
	m.job = nil
	if !m.up {
		m.up = true
		if m.above != nil && m.above.run.phase == mStarting {
			m.above.boss.ready(m.above.run)
		}
	}
	return true
}

func (m *mSup) tryStart(k *mKid) bool {
	ok, giveUp := k.mayStart()
	if giveUp {
		m.stopAll("stuck")
		return true
	}
	if !ok || !m.active {
		k.label = ""
		return false
	}
	k.clear()
	k.starts, k.ran = k.starts+1, true
	k.run = &mRun{kid: k}
	m.log = append(m.log, "starting "+k.path)
	switch {
	case k.tree != nil:
		k.tree.begin()
	case k.startLimit == 0:
		m.ready(k.run)
	default:
		k.run.startBy = m.world.now.Add(k.startLimit)
	}
	return true
}

func (m *mSup) ready(r *mRun) {
	r.phase, r.upSince, r.startBy = mUp, m.world.now, time.Time{}
	r.kid.fresh = false
}

func (m *mSup) tell(k *mKid) bool {
	r := k.run
	if r == nil || r.phase > mUp {
		return false
	}
	r.phase, r.startBy = mStopping, time.Time{}
	m.log = append(m.log, "stopping "+k.path)
	if k.tree != nil {
		k.tree.stopAll("")
		return true
	}
	if !r.hang {
		r.endBy = m.world.now.Add(k.stopDelay)
	}
	switch k.shutdown {
	case supervise.Infinite:
	case supervise.NoWait:
		r.stopBy, r.phase = m.world.now.Add(mNoWaitLimit), mDetached
		k.ghosts, k.run = append(k.ghosts, r), nil
		m.over(k, r, mEnd{ok: true})
	default:
		r.stopBy = m.world.now.Add(k.shutdown)
	}
	if !r.hang && k.stopDelay == 0 {
		m.ended(r, mEnd{ok: true})
	}
	return true
}
