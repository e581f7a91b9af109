package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

func panics() { panic(errBoom) }

func TestRestartClasses(t *testing.T) {
	t.Parallel()
	ends := []struct {
		name   string
		run    supervise.RunnerFunc
		normal bool
	}{
		{"nil", func(context.Context) error { return nil }, true},
		{"ErrStop", func(context.Context) error { return fmt.Errorf("done: %w", supervise.ErrStop) }, true},
		{"error", func(context.Context) error { return errBoom }, false},
		{"stray deadline", func(context.Context) error { return context.DeadlineExceeded }, false},
		{"stray cancel", func(context.Context) error { return context.Canceled }, false},
		{"panic", func(context.Context) error { panics(); return nil }, false},
		{"panic with ErrStop", func(context.Context) error { panic(supervise.ErrStop) }, false},
		{"goexit", func(context.Context) error { runtime.Goexit(); return nil }, false},
	}
	for _, class := range []supervise.Restart{supervise.Permanent, supervise.Transient, supervise.Temporary} {
		for _, end := range ends {
			t.Run(class.String()+" "+end.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sup := mustNew(t, supervise.Config{}, supervise.Child{Name: "a", Runner: end.run, Restart: class})
					stop := begin(t, sup)
					want := supervise.StateBackoff
					switch {
					case class == supervise.Temporary:
						want = "none"
					case class == supervise.Transient && end.normal:
						want = supervise.StateDone
					}
					wantState(t, sup, "root/a", want)
					if err := stop(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestIntensityError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		inner := mustNew(t, supervise.Config{MaxRestarts: 2, Period: time.Hour}, child("a", func(context.Context) error {
			runs++
			panics()
			return nil
		}))
		sup := mustNew(t, supervise.Config{Name: "shop", MaxRestarts: 1, Period: time.Hour}, supervise.Child{Name: "db", Runner: inner})
		err := sup.Run(t.Context())
		if runs != 6 {
			t.Errorf("%d runs, want 6: 3 in each of 2 runs of the inner supervisor", runs)
		}
		var outer *supervise.IntensityError
		if !errors.As(err, &outer) || outer.Path != "shop" || outer.Child != "db" || outer.Restarts != 2 || outer.MaxRestarts != 1 {
			t.Fatalf("got %#v", err)
		}
		var nested *supervise.IntensityError
		if !errors.As(outer.Err, &nested) || nested.Path != "shop/db" || nested.Child != "a" || nested.Period != time.Hour {
			t.Fatalf("caused by %#v", outer.Err)
		}
		var panicked *supervise.PanicError
		if !errors.As(err, &panicked) || !errors.Is(err, errBoom) || !strings.Contains(panicked.Stack, "supervise_test.panics") {
			t.Errorf("the panic is lost: %v", err)
		}
		if st := sup.Status(); st.State != supervise.StateFailed {
			t.Errorf("state %s", st.State)
		}
	})
}

func TestWindowIncludesBothEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		second time.Duration // after the first failure
		gaveUp bool
	}{
		{"exactly one period", time.Minute, true},
		{"a nanosecond more", time.Minute + 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				crash := make(chan struct{})
				sup := mustNew(t, supervise.Config{MaxRestarts: 1, Period: time.Minute}, child("a", func(ctx context.Context) error {
					select {
					case <-crash:
						return errBoom
					case <-ctx.Done():
						return nil
					}
				}))
				stop := begin(t, sup)
				crash <- struct{}{}
				synctest.Wait()
				pass(tt.second)
				crash <- struct{}{}
				synctest.Wait()
				if err := stop(); (err != nil) != tt.gaveUp {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

func TestNoRestartsAllowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{MaxRestarts: -1}, child("a", func(context.Context) error { return nil }))
		err := sup.Run(t.Context())
		var gaveUp *supervise.IntensityError
		if !errors.As(err, &gaveUp) || gaveUp.Err != nil || gaveUp.MaxRestarts != 0 {
			t.Errorf("got %v", err)
		}
	})
}

func TestBackoffGrowsIsBoundedAndResets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Int64
		starts := make(chan time.Time, 1000)
		sup := mustNew(t,
			supervise.Config{MaxRestarts: 1000, Backoff: supervise.Backoff{Max: time.Second, Reset: time.Minute}},
			child("a", func(ctx context.Context) error {
				starts <- time.Now()
				select {
				case <-time.After(time.Duration(up.Load())):
				case <-ctx.Done():
				}
				return errBoom
			}))
		stop := begin(t, sup)
		pass(20 * time.Second)
		last, limit := <-starts, 100*time.Millisecond
		for len(starts) > 0 {
			start := <-starts
			if d := start.Sub(last); d < limit/2 || d > limit {
				t.Errorf("delay is %v, want one between %v and %v", d, limit/2, limit)
			}
			last, limit = start, min(2*limit, time.Second)
		}
		up.Store(int64(time.Minute)) // the next run stays up
		pass(time.Second)
		<-starts
		pass(time.Minute + 100*time.Millisecond)
		if len(starts) != 1 {
			t.Errorf("the first delay after a quiet period is not the least one")
		}
		_ = stop()
	})
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		strategy supervise.Strategy
		want     []string
	}{
		{supervise.OneForOne, []string{"start b"}},
		{supervise.SimpleOneForOne, []string{"start b"}},
		{supervise.RestForOne, []string{"stop d", "stop c", "start b", "start c"}},
		{supervise.OneForAll, []string{"stop d", "stop c", "stop a", "start a", "start b", "start c"}},
	} {
		t.Run(tt.strategy.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log diary
				crash := make(chan struct{})
				member := func(name string) supervise.Child {
					return supervise.Child{Name: name, Runner: supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
						log.write("start " + name)
						ready()
						var mine chan struct{}
						if name == "b" {
							mine = crash
						}
						select {
						case <-mine:
							return errBoom
						case <-ctx.Done():
							<-time.After(time.Millisecond)
							log.write("stop " + name)
							return ctx.Err()
						}
					})}
				}
				temporary := member("d")
				temporary.Restart = supervise.Temporary
				sup := mustNew(t, supervise.Config{Strategy: tt.strategy}, member("a"), member("b"), member("c"), temporary)
				stop := begin(t, sup)
				log.lines = nil
				crash <- struct{}{}
				pass(time.Second)
				log.want(t, tt.want...)
				st := sup.Status()
				if st.Supervisor.RestartsUsed != 1 {
					t.Errorf("one incident used %d of the budget", st.Supervisor.RestartsUsed)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestFinishedChildComesBackWithItsGroupAStoppedOneDoesNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		crash := make(chan struct{})
		once := child("once", func(context.Context) error { return nil })
		once.Restart = supervise.Transient
		runs := 0
		counted := once.With("counted", supervise.RunnerFunc(func(context.Context) error { runs++; return nil }))
		sup := mustNew(t, supervise.Config{Strategy: supervise.OneForAll}, once, counted, child("c", idle),
			child("d", func(context.Context) error { <-crash; return errBoom }))
		stop := begin(t, sup)
		if err := sup.Stop(t.Context(), "c"); err != nil {
			t.Error(err)
		}
		crash <- struct{}{}
		pass(time.Second)
		wantState(t, sup, "root/once", supervise.StateDone)
		wantState(t, sup, "root/c", supervise.StateStopped)
		if runs != 2 {
			t.Errorf("%d runs, want 2", runs)
		}
		close(crash)
		_ = stop()
	})
}

func TestAutoShutdown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		auto  supervise.AutoShutdown
		class supervise.Restart
		err   error
		ends  int // of two significant children
		stops bool
	}{
		{"any, first normal end", supervise.AutoShutdownAny, supervise.Transient, nil, 1, true},
		{"any, abnormal end of a transient", supervise.AutoShutdownAny, supervise.Transient, errBoom, 1, false},
		{"any, abnormal end of a temporary", supervise.AutoShutdownAny, supervise.Temporary, errBoom, 1, true},
		{"all, first", supervise.AutoShutdownAll, supervise.Transient, nil, 1, false},
		{"all, second", supervise.AutoShutdownAll, supervise.Transient, nil, 2, true},
		{"all, second temporary", supervise.AutoShutdownAll, supervise.Temporary, errBoom, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				important := supervise.Child{Restart: tt.class, Significant: true}
				run := supervise.RunnerFunc(func(ctx context.Context) error {
					select {
					case <-end:
						return tt.err
					case <-ctx.Done():
						return nil
					}
				})
				sup := mustNew(t, supervise.Config{AutoShutdown: tt.auto},
					child("a", idle), important.With("b", run), important.With("c", run))
				stop := begin(t, sup)
				for range tt.ends {
					end <- struct{}{}
					synctest.Wait()
				}
				if got := sup.Status().State == supervise.StateStopped; got != tt.stops {
					t.Errorf("stopped: %v, want %v", got, tt.stops)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestStartTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{MaxRestarts: -1}, supervise.Child{
			Name: "a", StartTimeout: 10 * time.Second,
			Runner: supervise.ReadyFunc(func(ctx context.Context, _ func()) error { return idle(ctx) }),
		}, child("b", func(context.Context) error { t.Error("started too early"); return nil }))
		began := time.Now()
		if err := sup.Run(t.Context()); !errors.Is(err, supervise.ErrNotReady) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
	})
}
