package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// The model has no two things happen at one instant, so that their order is
// known. Here everything falls on a few instants, on many goroutines at once:
// ends, timers, calls, the gate, the shutdown. What has to hold in any order
// is checked; the race detector does the rest.
func TestStorm(t *testing.T) {
	t.Parallel()
	seed := uint64(setting(t, "AGNER_STORM_SEED", int(time.Now().UnixNano())))
	t.Logf("AGNER_STORM_SEED=%d", seed)
	for round := range setting(t, "AGNER_STORM_ROUNDS", 6) {
		synctest.Test(t, func(t *testing.T) {
			(&storm{rand: rand.New(rand.NewPCG(seed, uint64(round)))}).run(t)
		})
	}
}

const tick = 50 * time.Millisecond

type storm struct {
	mu      sync.Mutex
	rand    *rand.Rand
	running sync.Map // path: *atomic.Int64
	gate    supervise.Latch
	sups    []*supervise.Supervisor
}

func (s *storm) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

func (s *storm) ticks(n int) <-chan time.Time { return time.After(time.Duration(s.n(n)) * tick) }

func (s *storm) child(t *testing.T, id, name string) supervise.Child {
	t.Helper()
	c := supervise.Child{
		Name: name, Restart: supervise.Restart(s.n(3)), Shutdown: 2 * tick, StartTimeout: 2 * tick,
		OnStuck: supervise.StuckHold, Backoff: supervise.Backoff{Min: tick, Max: 2 * tick, Jitter: -1},
	}
	count, _ := s.running.LoadOrStore(id, new(atomic.Int64))
	c.Runner = supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
		if n := count.(*atomic.Int64).Add(1); n > 1 {
			t.Errorf("%s runs %d times at once", id, n)
		}
		defer count.(*atomic.Int64).Add(-1)
		<-s.ticks(4)
		ready()
		select {
		case <-s.ticks(12):
			return []error{nil, errBoom, context.Canceled}[s.n(3)]
		case <-ctx.Done():
			<-s.ticks(4) // sometimes longer than its timeout
			return ctx.Err()
		}
	})
	return c
}

func (s *storm) tree(t *testing.T, id string, depth int) *supervise.Supervisor {
	t.Helper()
	var children []supervise.Child
	for i := range 2 + s.n(4) {
		name := fmt.Sprintf("c%d", i)
		if depth > 0 && i == 1 {
			children = append(children, supervise.Child{Name: name, Runner: s.tree(t, id+"/"+name, depth-1)})
			continue
		}
		children = append(children, s.child(t, id+"/"+name, name))
	}
	sup := mustNew(t, supervise.Config{
		Name: "s", Strategy: supervise.Strategy(s.n(4)), MaxRestarts: 5 + s.n(30), Period: 10 * tick,
		Gate: &s.gate, OnEvent: func(supervise.Event) { s.sups[0].Status() },
		Backoff: supervise.Backoff{Min: tick, Max: 2 * tick, Jitter: -1},
	}, children...)
	s.sups = append(s.sups, sup)
	return sup
}

func (s *storm) run(t *testing.T) {
	t.Helper()
	root := s.tree(t, "s", 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() { s.call(t, ctx) })
	}
	for runs := range 4 {
		runCtx, stop := context.WithTimeout(ctx, time.Duration(10+s.n(40))*tick)
		err := root.Run(runCtx)
		stop()
		var gaveUp *supervise.IntensityError
		var unclean *supervise.ShutdownError
		if err != nil && !errors.As(err, &gaveUp) && !errors.As(err, &unclean) && !errors.Is(err, supervise.ErrRunning) {
			t.Errorf("run %d: %v", runs, err)
		}
		<-s.ticks(3)
	}
	cancel()
	callers.Wait()
	<-time.After(10 * tick)
	synctest.Wait()
	s.running.Range(func(id, n any) bool {
		if left := n.(*atomic.Int64).Load(); left != 0 {
			t.Errorf("%s: %d runs are left", id, left)
		}
		return true
	})
	for _, sup := range s.sups {
		if st := sup.Status(); st.Supervisor.AbandonedNow != 0 {
			t.Errorf("%s: %d ended runs are still abandoned", st.Path, st.Supervisor.AbandonedNow)
		}
	}
	st := root.Status()
	if st.State != supervise.StateStopped && st.State != supervise.StateFailed {
		t.Errorf("root is %s", st.State)
	}
}

// call makes calls until ctx ends. None has a deadline of its own.
func (s *storm) call(t *testing.T, ctx context.Context) {
	t.Helper()
	for ctx.Err() == nil {
		<-s.ticks(3)
		sup := s.sups[s.n(len(s.sups))]
		name := fmt.Sprintf("c%d", s.n(6))
		var err error
		switch s.n(7) {
		case 0:
			err = sup.Stop(ctx, name)
		case 1:
			err = sup.Restart(ctx, name)
		case 2:
			err = sup.Remove(ctx, name)
		case 3:
			id := fmt.Sprintf("%p/%d", sup, s.n(3))
			err = sup.Start(ctx, s.child(t, id, "d"+id[len(id)-1:]))
		case 4:
			s.gate.SetOpen(s.n(3) > 0)
		case 5:
			if st := sup.Status(); st.Supervisor == nil {
				t.Error("no status")
			}
		case 6:
			err = func() error {
				short, cancel := context.WithTimeout(ctx, 3*tick)
				defer cancel()
				return sup.Run(short)
			}()
		}
		known := []error{
			supervise.ErrNotRunning, supervise.ErrRunning, supervise.ErrUnknown, supervise.ErrExists, supervise.ErrStopped,
			supervise.ErrStuck, supervise.ErrNotReady, errBoom, context.Canceled,
		}
		if err != nil && !isAny(err, known) {
			t.Errorf("a call returned %v", err)
		}
	}
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	var gaveUp *supervise.IntensityError
	return errors.As(err, &gaveUp)
}
