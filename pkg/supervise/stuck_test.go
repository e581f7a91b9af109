package supervise_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// waitInVain is what a stuck goroutine of a test is seen in.
func waitInVain(release chan struct{}) { <-release }

// stuck ignores its context and has a goroutine that does too.
func stuck(release chan struct{}) supervise.RunnerFunc {
	return func(context.Context) error {
		var helper sync.WaitGroup
		helper.Go(func() { waitInVain(release) })
		helper.Wait()
		return nil
	}
}

func TestStuckChildIsReportedWithItsStacks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var events []supervise.Event
		inner := mustNew(t, supervise.Config{}, child("hang", stuck(release)), child("ok", idle))
		sup := mustNew(t, supervise.Config{Name: "stuck-shop", OnEvent: func(e supervise.Event) { events = append(events, e) }},
			child("first", idle), supervise.Child{Name: "inner", Runner: inner})
		stop := begin(t, sup)
		began := time.Now()
		err := stop()
		var unclean *supervise.ShutdownError
		if !errors.As(err, &unclean) || len(unclean.Stuck) != 1 || len(unclean.Failed) != 0 {
			t.Fatalf("Run returned %v", err)
		}
		report := unclean.Stuck[0]
		if report.Path != "stuck-shop/inner/hang" || report.Goroutines != 2 || report.Waited != 5*time.Second || time.Since(began) != 5*time.Second {
			t.Errorf("got %+v", report)
		}
		for _, frame := range []string{"supervise_test.waitInVain", "sync.(*WaitGroup).Wait", "stuck_test.go:"} {
			if !strings.Contains(report.Stacks, frame) {
				t.Errorf("%s is not in\n%s", frame, report.Stacks)
			}
		}
		if strings.Contains(report.Stacks, "supervise_test.idle") {
			t.Errorf("others are in\n%s", report.Stacks)
		}
		var told *supervise.Event
		for i := range events {
			if events[i].To == supervise.StateAbandoned {
				told = &events[i]
			}
		}
		if told == nil || told.Path != report.Path || !errors.Is(told.Err, supervise.ErrStuck) {
			t.Errorf("event %+v", told)
		}

		st := sup.Status()
		node := st.Find(report.Path)
		if node.State != supervise.StateAbandoned || len(node.Abandoned) != 1 || node.Abandoned[0].Stacks != report.Stacks || node.LastError.Stack != report.Stacks {
			t.Errorf("status %+v", node)
		}
		if s := st.Find("stuck-shop/inner").Supervisor; s.AbandonedNow != 1 || s.AbandonedTotal != 1 {
			t.Errorf("counted %+v", s)
		}
		close(release)
		synctest.Wait()
		st = sup.Status()
		node = st.Find(report.Path)
		if s := st.Find("stuck-shop/inner").Supervisor; node.State != supervise.StateStopped || len(node.Abandoned) != 0 || s.AbandonedNow != 0 || s.AbandonedTotal != 1 {
			t.Errorf("freed: %+v", node)
		}
	})
}

func TestStuckChildIsNotDoubled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sup := mustNew(t, supervise.Config{}, child("a", stuck(release)), child("b", idle))
		stop := begin(t, sup)
		ctx := t.Context()
		var report *supervise.StuckError
		for name, call := range map[string]func(context.Context, string) error{"Restart": sup.Restart, "Stop": sup.Stop} {
			if err := call(ctx, "a"); !errors.As(err, &report) || report.Path != "root/a" {
				t.Errorf("%s returned %v", name, err)
			}
			wantState(t, sup, "root/a", supervise.StateAbandoned)
		}
		if err := sup.Remove(ctx, "a"); !errors.Is(err, supervise.ErrStuck) {
			t.Errorf("Remove returned %v", err)
		}
		if err := sup.Start(ctx, child("a", idle)); !errors.Is(err, supervise.ErrExists) {
			t.Errorf("Start returned %v: the name was given away", err)
		}
		if err := stop(); !errors.Is(err, supervise.ErrStuck) {
			t.Errorf("Run returned %v", err)
		}
		stop = begin(t, sup) // the next Run remembers it, and the others do not suffer
		wantState(t, sup, "root/a", supervise.StateAbandoned)
		wantState(t, sup, "root/b", supervise.StateRunning)
		close(release)
		synctest.Wait()
		wantState(t, sup, "root/a", supervise.StateBackoff) // it was started again, and ends at once now
		if err := stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestRestartAfterTheStuckRunHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sup := mustNew(t, supervise.Config{Strategy: supervise.RestForOne}, child("a", stuck(release)), child("b", idle))
		stop := begin(t, sup)
		if err := sup.Restart(t.Context(), "a"); !errors.Is(err, supervise.ErrStuck) {
			t.Errorf("Restart returned %v", err)
		}
		close(release) // now every run of a ends at once
		synctest.Wait()
		st := sup.Status()
		if a := st.Find("root/a"); a.Starts < 2 || len(a.Abandoned) != 0 {
			t.Errorf("not started again: %+v", a)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStuckEscalates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		inner := mustNew(t, supervise.Config{}, supervise.Child{Name: "a", Runner: stuck(release), OnStuck: supervise.StuckEscalate}, child("b", idle))
		sup := mustNew(t, supervise.Config{MaxRestarts: 3}, supervise.Child{Name: "inner", Runner: inner})
		done := make(chan error)
		go func() { done <- sup.Run(t.Context()) }()
		synctest.Wait()
		if err := inner.Restart(t.Context(), "a"); !errors.Is(err, supervise.ErrStuck) {
			t.Errorf("Restart returned %v", err)
		}
		err := <-done // each new run of inner meets the old a, until the root gives up
		var gaveUp *supervise.IntensityError
		var report *supervise.StuckError
		if !errors.As(err, &gaveUp) || gaveUp.Path != "root" || !errors.As(err, &report) || report.Path != "root/inner/a" {
			t.Errorf("Run returned %v", err)
		}
		close(release)
	})
}

func TestDoubleIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sup := mustNew(t, supervise.Config{Name: "doubles"}, supervise.Child{
			Name: "a", Runner: stuck(release), OnStuck: supervise.StuckDouble, MaxAbandoned: 2,
		})
		stop := begin(t, sup)
		if err := sup.Restart(t.Context(), "a"); err != nil {
			t.Errorf("the first restart returned %v", err)
		}
		st := sup.Status()
		if a := st.Find("doubles/a"); a.State != supervise.StateRunning || len(a.Abandoned) != 1 || a.Abandoned[0].Goroutines != 2 {
			t.Errorf("beside one abandoned run: %+v", a)
		}
		if err := sup.Restart(t.Context(), "a"); !errors.Is(err, supervise.ErrStuck) {
			t.Errorf("the second restart returned %v", err)
		}
		var unclean *supervise.ShutdownError
		if err := stop(); !errors.As(err, &unclean) || unclean.GaveUp == nil || len(unclean.Stuck) != 2 {
			t.Errorf("Run returned %v", err)
		}
		close(release)
	})
}

func TestNoWaitGoesOnAndReportsLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := child("hang", stuck(release))
		hang.Shutdown = supervise.NoWait
		quick := child("quick", idle)
		quick.Shutdown = supervise.NoWait
		sup := mustNew(t, supervise.Config{}, hang, quick, child("last", idle))
		stop := begin(t, sup)
		if err := sup.Stop(t.Context(), "hang"); err != nil {
			t.Errorf("Stop returned %v", err)
		}
		wantState(t, sup, "root/hang", supervise.StateStopping)
		pass(5 * time.Second)
		wantState(t, sup, "root/hang", supervise.StateAbandoned)
		began := time.Now()
		err := stop()
		if !errors.Is(err, supervise.ErrStuck) || !time.Now().Equal(began) {
			t.Errorf("Run returned %v after %v", err, time.Since(began))
		}
		close(release)
	})
}

func TestInfiniteWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		patient := child("a", func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(1000 * time.Hour)
			return nil
		})
		patient.Shutdown = supervise.Infinite
		if err := begin(t, mustNew(t, supervise.Config{}, patient))(); err != nil {
			t.Error(err)
		}
	})
}

// With many at once, every report names its own.
func TestManyStuckAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		release := make(chan struct{})
		sup := mustNew(t, supervise.Config{Name: "many", Strategy: supervise.SimpleOneForOne})
		stop := begin(t, sup)
		for i := range n {
			if err := sup.Start(t.Context(), child("w"+string(rune('a'+i%26))+strings.Repeat("x", i/26), stuck(release))); err != nil {
				t.Fatal(err)
			}
		}
		var unclean *supervise.ShutdownError
		if err := stop(); !errors.As(err, &unclean) || len(unclean.Stuck) != n {
			t.Fatalf("Run returned %.200v", err)
		}
		for _, report := range unclean.Stuck {
			if report.Goroutines != 2 {
				t.Errorf("%s has %d goroutines", report.Path, report.Goroutines)
			}
		}
		close(release)
	})
}
