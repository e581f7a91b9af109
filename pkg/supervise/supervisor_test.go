package supervise_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

var errBoom = errors.New("boom")

// diary collects lines from many goroutines.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("got  %q\nwant %q", d.lines, want)
	}
}

// idle waits for the end of its context.
func idle(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func child(name string, run supervise.RunnerFunc) supervise.Child {
	return supervise.Child{Name: name, Runner: run}
}

func mustNew(t *testing.T, cfg supervise.Config, children ...supervise.Child) *supervise.Supervisor {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	sup, err := supervise.New(cfg, children...)
	if err != nil {
		t.Fatal(err)
	}
	return sup
}

// begin runs sup until stop is called, which returns what Run returned. It
// needs a bubble, and returns when nothing moves any more.
func begin(t *testing.T, sup *supervise.Supervisor) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sup.Run(ctx) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-done
	}
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func stateOf(sup *supervise.Supervisor, path string) supervise.State {
	st := sup.Status()
	if found := st.Find(path); found != nil {
		return found.State
	}
	return "none"
}

func wantState(t *testing.T, sup *supervise.Supervisor, path string, want supervise.State) {
	t.Helper()
	if got := stateOf(sup, path); got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

func TestOrderedStartAndReverseStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log diary
		slow := func(name string) supervise.Child {
			return supervise.Child{Name: name, Runner: supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
				log.write("start " + name)
				<-time.After(time.Second)
				ready()
				<-ctx.Done()
				<-time.After(time.Second)
				log.write("stop " + name)
				return ctx.Err()
			})}
		}
		sup := mustNew(t, supervise.Config{}, slow("a"), slow("b"), slow("c"))
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		if err := sup.RunReady(ctx, cancel); err != nil {
			t.Fatal(err)
		}
		log.want(t, "start a", "start b", "start c", "stop c", "stop b", "stop a")
		if d := time.Since(began); d != 6*time.Second {
			t.Errorf("took %v, want 6s: three starts and three stops, one after the other", d)
		}
	})
}

func TestEachChildIsCancelledInItsTurnUnderItsOwnTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log diary
		var ended time.Time
		release := make(chan struct{})
		stubborn := func(name string, limit time.Duration) supervise.Child {
			return supervise.Child{Name: name, Shutdown: limit, Runner: supervise.RunnerFunc(func(ctx context.Context) error {
				<-ctx.Done()
				log.write(name + " cancelled after " + time.Since(ended).String())
				<-release
				return nil
			})}
		}
		sup := mustNew(t, supervise.Config{Name: "shop"},
			stubborn("db", 3*time.Second), stubborn("cache", 0), stubborn("web", 2*time.Second))
		stop := begin(t, sup)
		ended = time.Now()
		err := stop()
		log.want(t, "web cancelled after 0s", "cache cancelled after 2s", "db cancelled after 7s")
		var unclean *supervise.ShutdownError
		if !errors.As(err, &unclean) || len(unclean.Stuck) != 3 || !errors.Is(err, supervise.ErrStuck) {
			t.Fatalf("Run returned %v", err)
		}
		for i, path := range []string{"shop/db", "shop/cache", "shop/web"} {
			if unclean.Stuck[i].Path != path || !strings.Contains(err.Error(), path) {
				t.Errorf("stuck child %d is %s, want %s", i, unclean.Stuck[i].Path, path)
			}
		}
		close(release)
	})
}

func TestContextOfAChild(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		sup := mustNew(t, supervise.Config{}, child("a", func(ctx context.Context) error {
			if ctx.Value(key{}) != "v" {
				t.Error("the value of Run's context is not there")
			}
			if _, has := ctx.Deadline(); has {
				t.Error("the deadline of Run's context would end all children at once")
			}
			return idle(ctx)
		}))
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Second)
		defer cancel()
		if err := sup.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		sup := mustNew(t, supervise.Config{}, child("a", func(ctx context.Context) error { starts++; return idle(ctx) }))
		stop := begin(t, sup)
		if err := sup.Run(t.Context()); !errors.Is(err, supervise.ErrRunning) {
			t.Errorf("the second Run at one time returned %v", err)
		}
		for range 3 {
			if err := stop(); err != nil {
				t.Error(err)
			}
			stop = begin(t, sup)
		}
		if err := stop(); err != nil || starts != 4 {
			t.Errorf("after %d starts: %v", starts, err)
		}
	})
}

func TestRunWithAnEndedContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sup := mustNew(t, supervise.Config{}, child("a", func(context.Context) error {
		t.Error("was started")
		return nil
	}))
	if err := sup.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNestedSupervisorIsReadyAndStopsAsAWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log diary
		worker := func(name string) supervise.Child {
			return supervise.Child{Name: name, Runner: supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
				<-time.After(time.Minute / 2)
				log.write("up " + name)
				ready()
				<-ctx.Done()
				<-time.After(4 * time.Second)
				log.write("down " + name)
				return nil
			})}
		}
		inner := mustNew(t, supervise.Config{Name: "inner"}, worker("a"), worker("b"), worker("c"))
		sup := mustNew(t, supervise.Config{}, supervise.Child{Runner: inner}, worker("d"))
		stop := begin(t, sup)
		pass(3 * time.Minute)
		if err := stop(); err != nil { // 12 s inside: no timeout of its own
			t.Error(err)
		}
		log.want(t, "up a", "up b", "up c", "up d", "down d", "down c", "down b", "down a")
	})
}

func TestErrorWhileStoppingIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := mustNew(t, supervise.Config{}, child("drain", func(ctx context.Context) error {
			<-ctx.Done()
			return errBoom
		}))
		sup := mustNew(t, supervise.Config{Name: "shop"}, supervise.Child{Name: "inner", Runner: inner}, child("ok", idle))
		err := begin(t, sup)()
		var unclean *supervise.ShutdownError
		if !errors.As(err, &unclean) || len(unclean.Failed) != 1 || unclean.Failed[0].Path != "shop/inner/drain" || !errors.Is(err, errBoom) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ok := supervise.RunnerFunc(idle)
	var none *supervise.Supervisor
	for _, tt := range []struct {
		name     string
		cfg      supervise.Config
		children []supervise.Child
		want     string
	}{
		{"no runner", supervise.Config{}, []supervise.Child{{Name: "a"}}, "Runner is nil"},
		{"nil supervisor", supervise.Config{}, []supervise.Child{{Name: "a", Runner: none}}, "nil *Supervisor"},
		{"no name", supervise.Config{}, []supervise.Child{{Runner: ok}}, "name is empty"},
		{"bad name", supervise.Config{}, []supervise.Child{{Name: "a/b", Runner: ok}}, `"a/b"`},
		{"bad own name", supervise.Config{Name: "a b"}, nil, `"a b"`},
		{"same name", supervise.Config{}, []supervise.Child{{Name: "a", Runner: ok}, {Name: "a", Runner: ok}}, "used twice"},
		{"class", supervise.Config{}, []supervise.Child{{Name: "a", Runner: ok, Restart: 9}}, "restart class Restart(9)"},
		{"stuck", supervise.Config{}, []supervise.Child{{Name: "a", Runner: ok, OnStuck: 9}}, "OnStuck(9)"},
		{"shutdown", supervise.Config{}, []supervise.Child{{Name: "a", Runner: ok, Shutdown: -2}}, "NoWait"},
		{"start", supervise.Config{}, []supervise.Child{{Name: "a", Runner: ok, StartTimeout: -1}}, "StartTimeout"},
		{"abandoned", supervise.Config{}, []supervise.Child{{Name: "a", Runner: ok, MaxAbandoned: -1}}, "MaxAbandoned"},
		{
			"significant but permanent",
			supervise.Config{AutoShutdown: supervise.AutoShutdownAny},
			[]supervise.Child{{Name: "a", Runner: ok, Significant: true}},
			"permanent",
		},
		{
			"significant for nothing",
			supervise.Config{},
			[]supervise.Child{{Name: "a", Runner: ok, Restart: supervise.Transient, Significant: true}},
			"AutoShutdown",
		},
		{
			"double supervisor",
			supervise.Config{},
			[]supervise.Child{{Name: "a", Runner: mustNew(t, supervise.Config{}), OnStuck: supervise.StuckDouble}},
			"twice",
		},
		{"strategy", supervise.Config{Strategy: 9}, nil, "Strategy(9)"},
		{"auto", supervise.Config{AutoShutdown: 9}, nil, "AutoShutdown 9"},
		{"period", supervise.Config{Period: -1}, nil, "period"},
		{"backoff", supervise.Config{Backoff: supervise.Backoff{Min: 2, Max: 1}}, nil, "Min"},
		{"factor", supervise.Config{Backoff: supervise.Backoff{Factor: 0.5}}, nil, "Factor"},
		{"jitter", supervise.Config{Backoff: supervise.Backoff{Jitter: 2}}, nil, "Jitter"},
		{"reset", supervise.Config{Backoff: supervise.Backoff{Reset: -1}}, nil, "Reset"},
		{
			"child's backoff",
			supervise.Config{},
			[]supervise.Child{{Name: "a", Runner: ok, Backoff: supervise.Backoff{Factor: 0.1}}},
			`child "a"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := supervise.New(tt.cfg, tt.children...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
		})
	}
}
