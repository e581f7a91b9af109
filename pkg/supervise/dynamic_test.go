package supervise_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

func TestCallsNeedARunningSupervisor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{}, child("a", func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(time.Second)
			return nil
		}))
		calls := map[string]func() error{
			"Start":   func() error { return sup.Start(t.Context(), child("b", idle)) },
			"Stop":    func() error { return sup.Stop(t.Context(), "a") },
			"Restart": func() error { return sup.Restart(t.Context(), "a") },
			"Remove":  func() error { return sup.Remove(t.Context(), "a") },
		}
		refused := func(when string) {
			for name, call := range calls {
				if err := call(); !errors.Is(err, supervise.ErrNotRunning) {
					t.Errorf("%s %s returned %v", name, when, err)
				}
			}
		}
		refused("before Run")
		stop := begin(t, sup)
		stopped := make(chan error)
		go func() { stopped <- stop() }()
		synctest.Wait()
		wantState(t, sup, "root", supervise.StateStopping)
		refused("during the shutdown")
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		refused("after Run")
	})
}

// A child below is named by its path.
func TestRestartBelow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := mustNew(t, supervise.Config{Name: "below"}, child("a", idle))
		sup := mustNew(t, supervise.Config{}, supervise.Child{Runner: below}, child("b", idle))
		ctx := t.Context()
		if err := sup.Restart(ctx, "below/a"); !errors.Is(err, supervise.ErrNotRunning) {
			t.Errorf("before Run: %v", err)
		}
		stop := begin(t, sup)
		synctest.Wait()
		if err := sup.Restart(ctx, "below/a"); err != nil {
			t.Error(err)
		}
		st := sup.Status()
		if a := st.Find("root/below/a"); a.Starts != 2 || a.Restarts != 0 {
			t.Errorf("%+v", a)
		}
		for _, name := range []string{"below/x", "x/a", "b/a", "below/a/a", "/a", "below/"} {
			if err := sup.Restart(ctx, name); !errors.Is(err, supervise.ErrUnknown) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCallsRefuseBadNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{}, child("a", idle))
		stop := begin(t, sup)
		ctx := t.Context()
		for name, tt := range map[string]struct{ got, want error }{
			"Start twice":     {sup.Start(ctx, child("a", idle)), supervise.ErrExists},
			"Stop unknown":    {sup.Stop(ctx, "x"), supervise.ErrUnknown},
			"Restart unknown": {sup.Restart(ctx, "x"), supervise.ErrUnknown},
			"Remove unknown":  {sup.Remove(ctx, "x"), supervise.ErrUnknown},
		} {
			if !errors.Is(tt.got, tt.want) {
				t.Errorf("%s returned %v, want %v", name, tt.got, tt.want)
			}
		}
		if err := sup.Start(ctx, supervise.Child{Name: "b"}); err == nil {
			t.Error("a child without a Runner was started")
		}
		if err := sup.StartTemplate(ctx, "b"); err == nil {
			t.Error("there is no template")
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := sup.Stop(ended, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("a call with an ended context returned %v", err)
		}
		wantState(t, sup, "root/a", supervise.StateRunning)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStartStopRestartRemove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{}, child("a", idle))
		stop := begin(t, sup)
		ctx := t.Context()
		for _, s := range []struct {
			name string
			call func() error
			want supervise.State
		}{
			{"start", func() error { return sup.Start(ctx, child("b", idle)) }, supervise.StateRunning},
			{"stop", func() error { return sup.Stop(ctx, "b") }, supervise.StateStopped},
			{"stop again", func() error { return sup.Stop(ctx, "b") }, supervise.StateStopped},
			{"restart a stopped one", func() error { return sup.Restart(ctx, "b") }, supervise.StateRunning},
			{"restart a running one", func() error { return sup.Restart(ctx, "b") }, supervise.StateRunning},
			{"remove", func() error { return sup.Remove(ctx, "b") }, "none"},
			{"start once more", func() error { return sup.Start(ctx, child("b", idle)) }, supervise.StateRunning},
		} {
			if err := s.call(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if got := stateOf(sup, "root/b"); got != s.want {
				t.Fatalf("%s: b is %s, want %s", s.name, got, s.want)
			}
		}
		st := sup.Status()
		if st.Supervisor.RestartsUsed != 0 {
			t.Errorf("calls used %d of the budget", st.Supervisor.RestartsUsed)
		}
		temporary := child("t", idle)
		temporary.Restart = supervise.Temporary
		if err := errors.Join(sup.Start(ctx, temporary), sup.Stop(ctx, "t")); err != nil {
			t.Error(err)
		}
		wantState(t, sup, "root/t", "none")
		if err := stop(); err != nil {
			t.Error(err)
		}
		stop = begin(t, sup)
		wantState(t, sup, "root/b", "none") // a new run begins with New's children
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStartWaitsUntilReady(t *testing.T) {
	t.Parallel()
	slow := func(d time.Duration, err error) supervise.Runner {
		return supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return ctx.Err()
			}
			if err != nil {
				return err
			}
			ready()
			return idle(ctx)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{})
		stop := begin(t, sup)
		began := time.Now()
		if err := sup.Start(t.Context(), supervise.Child{Name: "ok", Runner: slow(time.Second, nil)}); err != nil || time.Since(began) != time.Second {
			t.Errorf("Start returned %v after %v", err, time.Since(began))
		}
		var failed *supervise.ChildError
		err := sup.Start(t.Context(), supervise.Child{Name: "bad", Runner: slow(time.Second, errBoom)})
		if !errors.As(err, &failed) || failed.Path != "root/bad" || !errors.Is(err, errBoom) {
			t.Errorf("Start returned %v", err)
		}
		wantState(t, sup, "root/bad", "none") // as in OTP
		if used := sup.Status().Supervisor.RestartsUsed; used != 0 {
			t.Errorf("used %d of the budget", used)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = sup.Start(ctx, supervise.Child{Name: "late", Runner: slow(2*time.Second, nil)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start returned %v", err)
		}
		wantState(t, sup, "root/late", supervise.StateStarting)
		pass(time.Second)
		wantState(t, sup, "root/late", supervise.StateRunning)

		started := make(chan error)
		go func() {
			started <- sup.Start(t.Context(), supervise.Child{Name: "never", Runner: slow(time.Hour, nil), StartTimeout: supervise.Infinite})
		}()
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := <-started; !errors.Is(err, supervise.ErrNotRunning) {
			t.Errorf("Start returned %v after the shutdown", err)
		}
	})
}

func TestStopAnswersWhoWaitsForTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{})
		stop := begin(t, sup)
		never := supervise.Child{Name: "a", Runner: supervise.ReadyFunc(func(ctx context.Context, _ func()) error { return idle(ctx) })}
		started := make(chan error)
		go func() { started <- sup.Start(t.Context(), never) }()
		synctest.Wait()
		if err := sup.Remove(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if err := <-started; !errors.Is(err, supervise.ErrStopped) {
			t.Errorf("Start returned %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		worker := supervise.Child{Restart: supervise.Transient, Shutdown: time.Second}
		sup := mustNew(t, supervise.Config{
			Strategy: supervise.SimpleOneForOne,
			Template: func(name string) (supervise.Child, error) {
				if name == "bad" {
					return supervise.Child{}, errBoom
				}
				return worker.With("", supervise.RunnerFunc(idle)), nil
			},
		})
		stop := begin(t, sup)
		for _, name := range []string{"one", "two"} {
			if err := sup.StartTemplate(t.Context(), name); err != nil {
				t.Error(err)
			}
			wantState(t, sup, "root/"+name, supervise.StateRunning)
		}
		if err := sup.StartTemplate(t.Context(), "bad"); !errors.Is(err, errBoom) {
			t.Errorf("got %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSimpleOneForOneStopsAllAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{Strategy: supervise.SimpleOneForOne})
		stop := begin(t, sup)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			if err := sup.Start(t.Context(), child(name, func(ctx context.Context) error {
				<-ctx.Done()
				<-time.After(3 * time.Second)
				return nil
			})); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		if err := stop(); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("Run returned %v after %v", err, time.Since(began))
		}
	})
}

// A child may call its own supervisor, in every way, and nobody waits for
// himself.
func TestChildCallsItsOwnSupervisor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		call func(ctx context.Context, sup *supervise.Supervisor) error
		want supervise.State
	}{
		{"stops itself", func(ctx context.Context, s *supervise.Supervisor) error { return s.Stop(ctx, "me") }, supervise.StateStopped},
		{"restarts itself", func(ctx context.Context, s *supervise.Supervisor) error { return s.Restart(ctx, "me") }, supervise.StateRunning},
		{"removes itself", func(ctx context.Context, s *supervise.Supervisor) error { return s.Remove(ctx, "me") }, "none"},
		{"stops another", func(ctx context.Context, s *supervise.Supervisor) error { return s.Stop(ctx, "other") }, supervise.StateRunning},
		{"starts another", func(ctx context.Context, s *supervise.Supervisor) error { return s.Start(ctx, child("new", idle)) }, supervise.StateRunning},
	} {
		for _, when := range []string{"before it is ready", "when it is ready"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var sup *supervise.Supervisor
					first := true
					me := supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
						call := func() {
							if first {
								first = false
								if err := tt.call(ctx, sup); err != nil {
									t.Errorf("the call returned %v", err)
								}
							}
						}
						if when == "before it is ready" {
							call()
							ready()
						} else {
							ready()
							call()
						}
						return idle(ctx)
					})
					sup = mustNew(t, supervise.Config{}, supervise.Child{Name: "me", Runner: me}, child("other", idle))
					began := time.Now()
					stop := begin(t, sup)
					wantState(t, sup, "root/me", tt.want)
					if err := stop(); err != nil || !time.Now().Equal(began) {
						t.Errorf("%v after %v", err, time.Since(began))
					}
				})
			})
		}
	}
}

func TestGrandchildStopsItsBranch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sup *supervise.Supervisor
		inner := mustNew(t, supervise.Config{}, child("leaf", func(ctx context.Context) error {
			if err := sup.Stop(ctx, "branch"); err != nil {
				t.Errorf("Stop returned %v", err)
			}
			return idle(ctx)
		}))
		sup = mustNew(t, supervise.Config{}, supervise.Child{Name: "branch", Runner: inner}, child("other", idle))
		stop := begin(t, sup)
		wantState(t, sup, "root/branch", supervise.StateStopped)
		wantState(t, sup, "root/other", supervise.StateRunning)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// The call waits, the shutdown comes: neither waits for the other.
func TestCallsEndWithTheShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sup *supervise.Supervisor
		never := supervise.ReadyFunc(func(ctx context.Context, _ func()) error { return idle(ctx) })
		start := func() error { return sup.Start(t.Context(), supervise.Child{Name: "never", Runner: never}) }
		caller := child("caller", func(ctx context.Context) error {
			err := start() // not with ctx, which would end the call
			if !errors.Is(err, supervise.ErrNotRunning) {
				t.Errorf("Start returned %v", err)
			}
			return idle(ctx)
		})
		sup = mustNew(t, supervise.Config{}, caller)
		stop := begin(t, sup)
		began := time.Now()
		if err := stop(); err != nil || !time.Now().Equal(began) {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestSupervisorBelowItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := mustNew(t, supervise.Config{Name: "inner"})
		outer := mustNew(t, supervise.Config{Name: "outer"}, supervise.Child{Runner: inner})
		stop := begin(t, inner)
		if err := inner.Start(t.Context(), supervise.Child{Name: "me", Runner: inner}); !errors.Is(err, supervise.ErrRunning) {
			t.Errorf("Start returned %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := inner.Start(ctx, supervise.Child{Name: "outer", Runner: outer}) // which wants to run inner
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start returned %v", err)
		}
		st := inner.Status()
		if st.Find("inner/outer/inner") == nil || st.Find("inner/outer/inner/outer") != nil {
			t.Errorf("the status goes round: %+v", st)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
