package supervise_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

func TestEventsComeInOrderFromTheWholeTree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log diary
		crashed := false
		inner := mustNew(t, supervise.Config{MaxRestarts: 1, Backoff: supervise.Backoff{Jitter: -1}}, supervise.Child{Name: "b", Runner: supervise.ReadyFunc(func(_ context.Context, ready func()) error { ready(); return errBoom })})
		sup := mustNew(t, supervise.Config{Name: "shop", OnEvent: func(e supervise.Event) {
			line := e.Path + " " + string(e.From) + ">" + string(e.To)
			if e.Err != nil {
				line += " !"
			}
			if e.Path == "shop/inner" && e.To == supervise.StateBackoff {
				crashed = errors.Is(e.Err, errBoom) && e.NextRestart.After(e.Time)
			}
			log.write(line)
		}}, child("a", idle), supervise.Child{Name: "inner", Runner: inner})
		stop := begin(t, sup)
		pass(100 * time.Millisecond)
		if err := stop(); err != nil {
			t.Error(err)
		}
		log.want(t,
			"shop idle>starting",
			"shop/a waiting>starting", "shop/a starting>running",
			"shop/inner waiting>starting",
			"shop/inner/b waiting>starting", "shop/inner/b starting>running",
			"shop/inner/b running>backoff !",
			"shop/inner starting>running",
			"shop starting>running",
			"shop/inner/b backoff>starting", "shop/inner/b starting>running",
			"shop/inner/b running>stopped !",
			"shop/inner running>stopping !",
			"shop/inner running>backoff !",
			"shop running>stopping",
			"shop/inner backoff>stopped",
			"shop/a running>stopping", "shop/a stopping>stopped",
			"shop stopping>stopped",
		)
		if !crashed {
			t.Error("the event of the crash does not say why, or what is next")
		}
	})
}

func TestHookMayCallTheSupervisor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sup *supervise.Supervisor
		called := false
		sup = mustNew(t, supervise.Config{OnEvent: func(e supervise.Event) {
			if e.Path == "root/a" && e.To == supervise.StateRunning && !called {
				called = true
				if err := errors.Join(sup.Stop(context.Background(), "a"), sup.Restart(context.Background(), "a")); err != nil {
					t.Error(err)
				}
			}
		}}, child("a", idle))
		stop := begin(t, sup)
		st := sup.Status()
		if a := st.Find("root/a"); a.State != supervise.StateRunning || a.Starts != 2 {
			t.Errorf("got %+v", a)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestLogRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
		release := make(chan struct{})
		inner := mustNewWithoutLogger(t, supervise.Config{}, child("bad", func(context.Context) error { panics(); return nil }))
		sup := mustNew(t, supervise.Config{Name: "shop", Logger: log, MaxRestarts: 1},
			child("hang", stuck(release)), supervise.Child{Name: "inner", Runner: inner})
		_ = sup.Run(t.Context())
		for _, want := range []string{
			`level=WARN msg="supervise: backoff" path=shop/inner/bad from=running to=backoff error="panic: boom" next_restart=`,
			`stack="goroutine `,
			`level=WARN msg="supervise: stopping" path=shop/inner from=running`,
			`level=ERROR msg="supervise: abandoned" path=shop/hang`,
			`stacks="1 goroutine of shop/hang:\n`,
			`level=ERROR msg="supervise: failed" path=shop from=stopping to=failed error="supervise shop: gave up`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s is not in\n%s", want, out.String())
			}
		}
		if strings.Contains(out.String(), "DEBUG") {
			t.Error("debug records were written")
		}
		close(release)
	})
}

func mustNewWithoutLogger(t *testing.T, cfg supervise.Config, children ...supervise.Child) *supervise.Supervisor {
	t.Helper()
	sup, err := supervise.New(cfg, children...)
	if err != nil {
		t.Fatal(err)
	}
	return sup
}
