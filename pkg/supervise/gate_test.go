package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

var errDisconnected = errors.New("not connected")

// loop works as long as the broker is there.
func loop(broker *supervise.Latch, working *atomic.Int64) supervise.RunnerFunc {
	return func(ctx context.Context) error {
		working.Add(1)
		defer working.Add(-1)
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				if !broker.Open() {
					return errDisconnected
				}
			}
		}
	}
}

func TestOutageSpendsNoBudget(t *testing.T) {
	t.Parallel()
	for _, strategy := range []supervise.Strategy{supervise.OneForOne, supervise.OneForAll, supervise.RestForOne} {
		t.Run(strategy.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var broker supervise.Latch
				var working atomic.Int64
				var loops []supervise.Child
				for i := range 50 {
					loops = append(loops, child(fmt.Sprintf("loop-%d", i), loop(&broker, &working)))
				}
				// The gate is given once, at the top.
				inner := mustNew(t, supervise.Config{Strategy: strategy}, loops...)
				sup := mustNew(t, supervise.Config{Gate: &broker}, supervise.Child{Name: "loops", Runner: inner})
				stop := begin(t, sup)
				pass(time.Minute)
				for outage := range 3 {
					broker.SetOpen(false)
					pass(10 * time.Minute)
					if n := working.Load(); n != 0 {
						t.Errorf("outage %d: %d loops work without a broker", outage, n)
					}
					st := sup.Status()
					if used := st.Find("root/loops").Supervisor.RestartsUsed + st.Supervisor.RestartsUsed; used != 0 {
						t.Errorf("outage %d: used %d of the budget", outage, used)
					}
					broker.SetOpen(true)
					pass(100 * time.Millisecond) // the first backoff
					if n := working.Load(); n != 50 {
						t.Errorf("outage %d: %d loops are back", outage, n)
					}
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A loop that gets an error before the gate is known to be closed, or after it
// has opened, is excused by the gate if that knows the error.
func TestGateBlames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		sup := mustNew(t, supervise.Config{Gate: &blamingGate{}, MaxRestarts: -1}, child("a", func(context.Context) error {
			runs++
			return fmt.Errorf("fetch: %w", errBlamed)
		}))
		stop := begin(t, sup)
		pass(10 * time.Minute)
		if runs < 10 || runs > 100 {
			t.Errorf("%d runs in 10 minutes: want it to be retried, but with a backoff", runs)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCrashBehindAnOpenGateCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{Gate: &blamingGate{}, MaxRestarts: -1},
			child("a", func(context.Context) error { return errBoom }))
		var gaveUp *supervise.IntensityError
		if err := sup.Run(t.Context()); !errors.As(err, &gaveUp) {
			t.Errorf("got %v", err)
		}
	})
}

// brokenGate is closed for ever and cannot wait.
type brokenGate struct{ asked atomic.Int64 }

func (*brokenGate) Open() bool                   { return false }
func (g *brokenGate) Wait(context.Context) error { g.asked.Add(1); return errBoom }

func TestGateThatCannotWaitIsNotAskedHot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gate brokenGate
		sup := mustNew(t, supervise.Config{Gate: &gate}, child("a", func(context.Context) error { return errBoom }))
		stop := begin(t, sup)
		pass(time.Minute)
		wantState(t, sup, "root/a", supervise.StateParked)
		if n := gate.asked.Load(); n > 601 {
			t.Errorf("asked %d times a minute", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRestartDoesNotWaitForTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gate supervise.Latch
		gate.SetOpen(false)
		runs := 0
		sup := mustNew(t, supervise.Config{Gate: &gate}, child("a", func(context.Context) error { runs++; return errBoom }))
		stop := begin(t, sup)
		pass(time.Hour)
		if err := sup.Restart(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if runs != 2 {
			t.Errorf("%d runs", runs)
		}
		wantState(t, sup, "root/a", supervise.StateParked)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestLatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l supervise.Latch
		if !l.Open() || l.Wait(t.Context()) != nil {
			t.Error("the zero value is not open")
		}
		l.SetOpen(false)
		l.SetOpen(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || l.Open() {
			t.Errorf("closed, but Wait returned %v", err)
		}
		waited := make(chan error)
		go func() { waited <- l.Wait(t.Context()) }()
		synctest.Wait()
		l.SetOpen(true)
		l.SetOpen(true)
		if err := <-waited; err != nil || !l.Open() {
			t.Errorf("Wait returned %v", err)
		}
	})
}
