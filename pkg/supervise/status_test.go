package supervise_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// What humans and programs see of a tree is this JSON; changing a name in it
// is a breaking change.
func TestStatusJSON(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := mustNew(t, supervise.Config{Strategy: supervise.RestForOne, Backoff: supervise.Backoff{Jitter: -1}}, child("b", func(context.Context) error { return errBoom }))
		done := child("done", func(context.Context) error { return nil })
		done.Restart = supervise.Transient
		sup := mustNew(t, supervise.Config{Name: "shop", Backoff: supervise.Backoff{Jitter: -1}},
			child("a", idle), done, supervise.Child{Name: "inner", Runner: inner})
		stop := begin(t, sup)
		text, err := json.MarshalIndent(sup.Status(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		const start = `"2000-01-01T00:00:00Z"`
		want := `{
 "name": "shop",
 "path": "shop",
 "state": "running",
 "since": START,
 "starts": 0,
 "restarts": 0,
 "supervisor": {
  "strategy": "one-for-one",
  "restarts_used": 0,
  "max_restarts": 5,
  "period_ns": 60000000000,
  "abandoned_total": 0,
  "abandoned_now": 0
 },
 "children": [
  {
   "name": "a",
   "path": "shop/a",
   "state": "running",
   "since": START,
   "restart": "permanent",
   "starts": 1,
   "restarts": 0
  },
  {
   "name": "done",
   "path": "shop/done",
   "state": "done",
   "since": START,
   "restart": "transient",
   "starts": 1,
   "restarts": 0
  },
  {
   "name": "inner",
   "path": "shop/inner",
   "state": "running",
   "since": START,
   "restart": "permanent",
   "starts": 1,
   "restarts": 0,
   "supervisor": {
    "strategy": "rest-for-one",
    "restarts_used": 1,
    "max_restarts": 5,
    "period_ns": 60000000000,
    "abandoned_total": 0,
    "abandoned_now": 0
   },
   "children": [
    {
     "name": "b",
     "path": "shop/inner/b",
     "state": "backoff",
     "since": START,
     "restart": "permanent",
     "starts": 1,
     "restarts": 0,
     "next_restart": "2000-01-01T00:00:00.1Z",
     "last_error": {
      "time": START,
      "error": "boom"
     }
    }
   ]
  }
 ]
}`
		if want = strings.ReplaceAll(want, "START", start); string(text) != want {
			t.Errorf("got %s", text)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusBeforeRun(t *testing.T) {
	t.Parallel()
	inner := mustNew(t, supervise.Config{}, child("b", idle))
	sup := mustNew(t, supervise.Config{Name: "shop"}, supervise.Child{Name: "inner", Runner: inner})
	st := sup.Status()
	if b := st.Find("shop/inner/b"); b == nil || b.State != supervise.StateIdle {
		t.Errorf("got %+v", st)
	}
	if st.Find("shop/x") != nil {
		t.Error("found what is not there")
	}
}

func TestStatusOfAPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sup := mustNew(t, supervise.Config{}, child("a", func(context.Context) error { panics(); return nil }))
		stop := begin(t, sup)
		st := sup.Status()
		if f := st.Find("root/a").LastError; f.Error != "panic: boom" || !strings.Contains(f.Stack, "supervise_test.panics") {
			t.Errorf("got %+v", f)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A type that embeds a supervisor is shown like one, and a supervisor that a
// plain child runs knows its path.
func TestSupervisorsInDisguise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type service struct{ *supervise.Supervisor }
		embedded := service{mustNew(t, supervise.Config{}, child("b", idle))}
		release := make(chan struct{})
		hidden := mustNew(t, supervise.Config{Name: "hidden"}, child("c", stuck(release)))
		sup := mustNew(t, supervise.Config{Name: "shop"}, supervise.Child{Name: "svc", Runner: embedded},
			supervise.Child{Name: "plain", Runner: supervise.RunnerFunc(hidden.Run), Shutdown: time.Minute})
		stop := begin(t, sup)
		wantState(t, sup, "shop/svc/b", supervise.StateRunning)
		wantState(t, hidden, "shop/plain/hidden/c", supervise.StateRunning)
		var unclean *supervise.ShutdownError
		if err := stop(); !errors.As(err, &unclean) || len(unclean.Stuck) != 1 || unclean.Stuck[0].Path != "shop/plain/hidden/c" {
			t.Errorf("Run returned %v", err)
		}
		close(release)
	})
}
