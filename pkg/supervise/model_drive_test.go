package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

var (
	errCrash  = errors.New("crash")
	errBlamed = errors.New("connection closed")
)

// stage runs the real supervisor with children that do as they are told.
type stage struct {
	model *mWorld
	sup   *supervise.Supervisor
	gate  blamingGate

	mu      sync.Mutex
	runs    map[string][]*actor // by path, the youngest last
	doubles string
	log     map[string][]string // by path of the supervisor
	cancel  context.CancelFunc
	result  chan error
	waiting sync.WaitGroup
	calls   []*madeCall
	subs    map[string]*supervise.Supervisor
}

type blamingGate struct{ supervise.Latch }

func (*blamingGate) Blames(err error) bool { return errors.Is(err, errBlamed) }

// actor is one run of a child. Its fields are set while everything is quiet.
type actor struct {
	ready  chan struct{}
	finish chan func() error
	hang   bool
}

func newStage(cfg mConfig) (*stage, error) {
	st := &stage{
		model: newModel(cfg, time.Now()),
		runs:  map[string][]*actor{}, log: map[string][]string{}, subs: map[string]*supervise.Supervisor{},
	}
	var err error
	st.sup, err = st.build(cfg, cfg.name, true)
	return st, err
}

func (st *stage) build(cfg mConfig, path string, root bool) (*supervise.Supervisor, error) {
	children := make([]supervise.Child, 0, len(cfg.kids))
	for _, k := range cfg.kids {
		c, err := st.child(k, path)
		if err != nil {
			return nil, err
		}
		children = append(children, c)
	}
	config := supervise.Config{
		Name: cfg.name, Strategy: cfg.strategy, MaxRestarts: cfg.max, Period: cfg.period, AutoShutdown: cfg.auto,
		Backoff: supervise.Backoff{Min: cfg.backoff, Max: mBackoffMax, Jitter: -1, Reset: mBackoffReset},
	}
	if cfg.max == 0 {
		config.MaxRestarts = -1
	}
	if root {
		config.Gate, config.Logger, config.OnEvent = &st.gate, slog.New(slog.DiscardHandler), st.note
	}
	return supervise.New(config, children...)
}

func (st *stage) child(k mSpec, path string) (supervise.Child, error) {
	path += "/" + k.name
	c := supervise.Child{
		Name: k.name, Restart: k.restart, Significant: k.significant, Shutdown: k.shutdown,
		StartTimeout: k.startLimit, OnStuck: k.onStuck, MaxAbandoned: mMaxAbandoned,
		Backoff: supervise.Backoff{Min: k.backoffMin},
	}
	switch {
	case k.sub != nil:
		sub, err := st.build(*k.sub, path, false)
		if err != nil {
			return c, err
		}
		c.Runner, st.subs[path] = sub, sub
	case k.startLimit > 0:
		c.Runner = supervise.ReadyFunc(func(ctx context.Context, ready func()) error { return st.act(ctx, path, k, ready) })
	default:
		c.Runner = supervise.RunnerFunc(func(ctx context.Context) error { return st.act(ctx, path, k, func() {}) })
	}
	return c, nil
}

// act is the life of every child.
func (st *stage) act(ctx context.Context, path string, k mSpec, ready func()) error {
	a := &actor{ready: make(chan struct{}), finish: make(chan func() error)}
	st.mu.Lock()
	if n := len(st.runs[path]); n > 0 && k.onStuck != supervise.StuckDouble {
		st.doubles = fmt.Sprintf("%s was started while %d runs of it went on", path, n)
	}
	st.runs[path] = append(st.runs[path], a)
	st.mu.Unlock()
	defer func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.runs[path] = slices.DeleteFunc(st.runs[path], func(o *actor) bool { return o == a })
	}()
	cancelled := ctx.Done()
	var stopped <-chan time.Time
	for {
		select {
		case <-a.ready:
			ready()
		case f := <-a.finish:
			return f()
		case <-cancelled:
			cancelled = nil
			switch {
			case a.hang:
			case k.stopDelay == 0:
				return ctx.Err()
			default:
				stopped = time.After(k.stopDelay)
			}
		case <-stopped:
			return ctx.Err()
		}
	}
}

// note is the event hook.
func (st *stage) note(e supervise.Event) {
	told := e.To == supervise.StateStopping && (e.From == supervise.StateStarting || e.From == supervise.StateRunning)
	if e.To != supervise.StateStarting && !told || !strings.Contains(e.Path, "/") {
		return
	}
	boss := e.Path[:strings.LastIndex(e.Path, "/")]
	st.mu.Lock()
	defer st.mu.Unlock()
	st.log[boss] = append(st.log[boss], string(e.To)+" "+e.Path)
}

// A step is one thing that happens. Which child a, and with what b, is worked
// out modulo what there is.
type step struct{ op, a, b int }

// kids returns all children in the model's tree, in a fixed order.
func (m *mSup) all() (kids []*mKid, sups []*mSup) {
	sups = append(sups, m)
	for _, k := range m.kids {
		kids = append(kids, k)
		if k.tree != nil && (k.run != nil || k.tree.running) {
			kk, ss := k.tree.all()
			kids, sups = append(kids, kk...), append(sups, ss...)
		}
	}
	return kids, sups
}

// do carries out one step in the model and on the stage.
func (st *stage) do(s step) string {
	w := st.model
	st.pass(time.Duration(1+s.b%997) * time.Microsecond) // no two things at one instant
	kids, sups := w.root.all()
	var k *mKid
	if len(kids) > 0 {
		k = kids[s.a%len(kids)]
	}
	what := ""
	op := s.op % 32
	if !w.root.running && s.b%3 != 0 {
		op = 30 // nothing else happens until it runs again
	}
	switch op {
	case 0, 1, 2:
		what = st.pass(time.Duration(s.b%400) * time.Millisecond)
	case 3, 4:
		what = st.pass(time.Duration(s.b%5000) * time.Millisecond)
	case 5:
		what = st.pass(time.Duration(s.b%70000) * time.Millisecond)
	case 6, 7, 8, 9, 10, 11:
		what = st.finish(k, s.b)
	case 12, 13, 14, 15, 16:
		what = st.makeReady(k)
	case 17:
		what = st.hang(k)
	case 18:
		if what = st.hang(k); what != "" && s.b%2 == 0 {
			what += ", " + st.call(k, 26, s.b)
		}
	case 19, 20, 21:
		what = st.release(k, s.b)
	case 22, 23:
		what = st.start(sups[s.a%len(sups)], s.b)
	case 24, 25, 26, 27, 28:
		what = st.call(k, op, s.b)
	case 29:
		what = st.toggleGate()
	case 30, 31:
		what = st.turn(s.b)
	}
	w.settle()
	synctest.Wait()
	return what
}

func (st *stage) pass(d time.Duration) string {
	<-time.After(d)
	synctest.Wait()
	st.model.advance(d)
	if d == 0 {
		return ""
	}
	return "pass " + d.String()
}

// actor finds the real run that is r's.
func (st *stage) actor(r *mRun) *actor {
	st.mu.Lock()
	defer st.mu.Unlock()
	i := slices.Index(r.kid.runs(), r)
	if runs := st.runs[r.kid.path]; i >= 0 && i < len(runs) {
		return runs[i]
	}
	return nil
}

// finish ends the child's run in one of the ways a run can end.
func (st *stage) finish(k *mKid, how int) string {
	if k == nil || k.run == nil || k.tree != nil {
		return ""
	}
	return st.end(k.run, how)
}

func (st *stage) end(r *mRun, how int) string {
	a := st.actor(r)
	if a == nil {
		return "no real run for " + r.kid.path
	}
	e, name, f := mEnd{closed: !st.model.gateOpen}, "", func() error { return nil }
	told := r.phase > mUp
	switch how % 10 {
	case 0, 1:
		name, f = "error", func() error { return errCrash }
	case 2:
		name, f = "panic", func() error { panic("boom") }
	case 3:
		name, f = "goexit", func() error { runtime.Goexit(); return nil }
	case 4:
		name, f = "deadline", func() error { return fmt.Errorf("op: %w", context.DeadlineExceeded) }
		e.ok = told
	case 5:
		name, f = "canceled", func() error { return context.Canceled }
		e.ok = told
	case 6:
		name, f = "panic(canceled)", func() error { panic(context.Canceled) }
	case 7:
		name, f = "blamed", func() error { return errBlamed }
		e.blamed = true
	case 8:
		name, e.ok = "nil", true
	case 9:
		name, f = "stop", func() error { return fmt.Errorf("done: %w", supervise.ErrStop) }
		e.ok = true
	}
	a.finish <- f
	r.startBy, r.stopBy, r.endBy = time.Time{}, time.Time{}, time.Time{}
	r.kid.boss.ended(r, e)
	return name + " " + r.kid.path
}

func (st *stage) makeReady(k *mKid) string {
	if k == nil || k.run == nil || k.tree != nil || k.startLimit == 0 {
		return ""
	}
	a := st.actor(k.run)
	if a == nil {
		return "no real run for " + k.path
	}
	a.ready <- struct{}{}
	if k.run.phase == mStarting {
		k.boss.ready(k.run)
	}
	return "ready " + k.path
}

func (st *stage) hang(k *mKid) string {
	if k == nil || k.run == nil || k.tree != nil || k.run.phase > mUp {
		return ""
	}
	a := st.actor(k.run)
	if a == nil {
		return "no real run for " + k.path
	}
	a.hang, k.run.hang = true, true
	return "hang " + k.path
}

// release ends the oldest run that is being stopped or is abandoned.
func (st *stage) release(k *mKid, how int) string {
	if k == nil || k.tree != nil {
		return ""
	}
	for _, r := range k.runs() {
		if r.phase > mUp {
			return "release " + st.end(r, how)
		}
	}
	return ""
}

// madeCall is a call on the real supervisor that may have to wait.
type madeCall struct {
	what     string
	kid      *mKid
	up       bool // waits for the child to be up, else for it to be down
	starts   int  // of the child when the call was made
	returned bool // guarded by the stage's mu
}

// answered reports whether there is nothing left to wait for. (A call for a
// start is also answered by the failure of it, which is tested elsewhere.)
func (c *madeCall) answered() bool {
	k := c.kid
	switch {
	case !slices.Contains(k.boss.kids, k):
		return true
	case c.up:
		return !k.boss.active || k.want != 0 || k.run != nil && k.run.phase == mUp && k.starts > c.starts
	default:
		return k.run == nil || k.starts > c.starts
	}
}

// background makes a call. It has no deadline: it must return by itself.
func (st *stage) background(c *madeCall, call func(ctx context.Context) error) {
	st.mu.Lock()
	st.calls = append(slices.DeleteFunc(st.calls, func(o *madeCall) bool { return o.returned }), c)
	st.mu.Unlock()
	st.waiting.Go(func() {
		_ = call(context.Background())
		st.mu.Lock()
		defer st.mu.Unlock()
		c.returned = true
	})
}

func (st *stage) start(m *mSup, b int) string {
	spec := dynamicSpec(b)
	sup := st.real(m.path)
	if m.find(spec.name) != nil || sup == nil {
		return ""
	}
	c, err := st.child(spec, m.path)
	if err != nil {
		return err.Error()
	}
	made := &madeCall{what: "Start " + spec.name, up: true}
	st.background(made, func(ctx context.Context) error { return sup.Start(ctx, c) })
	synctest.Wait()
	made.kid = m.callStart(spec)
	return "start " + m.path + "/" + spec.name
}

func (st *stage) call(k *mKid, op, b int) string {
	if k == nil {
		return ""
	}
	sup := st.real(k.boss.path)
	if sup == nil {
		return ""
	}
	made := &madeCall{kid: k, starts: k.starts}
	switch op {
	case 24, 25:
		made.what = "Stop " + k.path
		st.background(made, func(ctx context.Context) error { return sup.Stop(ctx, k.name) })
		k.boss.callStop(k.name, 1)
	case 26, 27:
		made.what, made.up = "Restart "+k.path, true
		st.background(made, func(ctx context.Context) error { return sup.Restart(ctx, k.name) })
		k.boss.callRestart(k.name)
	default:
		if b%3 != 0 && k.tree != nil {
			return ""
		}
		made.what = "Remove " + k.path
		st.background(made, func(ctx context.Context) error { return sup.Remove(ctx, k.name) })
		k.boss.callStop(k.name, 2)
	}
	return made.what
}
