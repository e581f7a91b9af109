package group_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/group"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
)

// Each target, on a group that stands at 100 of 120 events: what the plan says
// is what happens.
func TestReset(t *testing.T) {
	t.Parallel()
	type want struct{ position, again, skipped uint64 }
	oldest, now := consume.FromOldest(), consume.FromNow()
	for name, to := range map[string]struct {
		target func(between time.Time) group.Target
		want
		start  consume.Start
		remade bool
	}{
		"start":        {func(time.Time) group.Target { return group.ToStart() }, want{1, 100, 0}, oldest, false},
		"end":          {func(time.Time) group.Target { return group.ToEnd() }, want{121, 0, 20}, consume.FromSequence(1), false},
		"back":         {func(time.Time) group.Target { return group.ToSequence(91) }, want{91, 10, 0}, consume.FromSequence(1), false},
		"forth":        {func(time.Time) group.Target { return group.ToSequence(111) }, want{111, 0, 10}, oldest, false},
		"time":         {group.ToTime, want{51, 50, 0}, oldest, false},
		"far time":     {func(at time.Time) group.Target { return group.ToTime(at.Add(time.Hour)) }, want{121, 0, 20}, oldest, false},
		"start of new": {func(time.Time) group.Target { return group.ToStart() }, want{1, 100, 0}, now, true},
		"end of new":   {func(time.Time) group.Target { return group.ToEnd() }, want{121, 0, 20}, now, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := setup(t)
			cfg := config()
			cfg.Start = to.start
			_, stop := start(t, b.js, cfg, b.count(nil))
			b.find(t) // made before the first event
			b.place(t, 50)
			at := time.Now()
			b.place(t, 50)
			eventually(t, func() error { return b.ran(1, 100, 1) })
			b.settled(t)
			stop()
			b.place(t, 20)
			eventually(t, func() error { // the server counts a moment after it has stored
				if s := b.find(t); s.Pending != 20 {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
			step, done := b.reset(t, to.target(at), group.KeepRetries)
			if got := (want{step.Position, step.Again, step.Skipped}); got != to.want || step.Floor != 100 || step.Next != 101 {
				t.Errorf("plan %+v, want %+v", step, to.want)
			}
			if step.Remade != to.remade || done.Generation != 1 || done.Position != to.position {
				t.Errorf("plan %+v, done %+v", step, done)
			}
			if s := b.find(t); s.Floor != to.position-1 || s.Saved != to.position-1 || s.Resets != 1 || s.ResetUnfinished {
				t.Errorf("after it: %+v", s)
			}
			start(t, b.js, cfg, b.count(nil))
			b.settled(t)
			for n := 1; n <= 120; n++ {
				times := 0
				if n <= 100 {
					times++
				}
				if uint64(n) >= to.position {
					times++
				}
				if err := b.ran(n, n, times); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A group is set while its instances run, back and forth; a durable that
// vanishes afterwards is made again where it stands then, not where it stood.
func TestResetOfRunningInstances(t *testing.T) {
	t.Parallel()
	for kind, first := range map[string]consume.Start{"all": consume.FromOldest(), "new": consume.FromNow()} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b, _ := setup(t)
			cfg := config()
			cfg.Start = first
			var all []*consume.Consumer
			for range 2 {
				c, _ := start(t, b.js, cfg, b.count(nil))
				all = append(all, c)
			}
			b.find(t)
			b.place(t, 300)
			eventually(t, func() error { return b.ran(1, 300, 1) })
			b.settled(t)
			began := time.Now()
			for round := 2; round <= 4; round++ {
				b.reset(t, group.ToSequence(101), group.KeepRetries)
				eventually(t, func() error { return errors.Join(b.ran(1, 100, 1), b.ran(101, 300, round)) })
				b.settled(t)
			}
			t.Logf("three resets by running instances in %s", time.Since(began))
			// The floor of after the reset is saved again, and by no older one.
			eventually(t, func() error {
				if s := b.find(t); s.Saved != 300 || s.Resets != 3 || s.ResetUnfinished {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
			if err := b.js.DeleteConsumer(t.Context(), "EVENTS", durable); err != nil {
				t.Fatal(err)
			}
			b.place(t, 10)
			eventually(t, func() error { return errors.Join(b.ran(1, 100, 1), b.ran(101, 300, 4), b.ran(301, 310, 1)) })
			eventually(t, func() error { // one of them has run all while the other was still healing
				for _, c := range all {
					if s := c.Status().Subscriptions[0]; s.Removed != 0 || s.State != consume.StateRunning {
						return fmt.Errorf("%+v", s)
					}
				}
				return nil
			})
		})
	}
}

// A reset that is interrupted between any two steps is mended by running it
// again, while the instances run on; and until then the durable is never made
// again anywhere but at the old or the new place.
func TestInterruptedReset(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at    string // the request that never arrives
		start consume.Start
		lost  bool // the durable is lost before anybody mends
	}{
		"before the durable is set":      {"$JS.API.CONSUMER.RESET.>", consume.FromOldest(), false},
		"and the durable is lost":        {"$JS.API.CONSUMER.RESET.>", consume.FromOldest(), true},
		"before it is marked":            {"$JS.API.CONSUMER.CREATE.>", consume.FromOldest(), false},
		"before it is deleted":           {"$JS.API.CONSUMER.DELETE.>", consume.FromNow(), false},
		"before it is made again":        {"$JS.API.CONSUMER.CREATE.EVENTS." + durable + ".>", consume.FromNow(), false},
		"marked, and the durable's lost": {"$JS.API.CONSUMER.CREATE.>", consume.FromOldest(), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := setup(t, testserver.Listen())
			cfg := config()
			cfg.Start = tc.start
			start(t, b.js, cfg, b.count(nil))
			b.find(t)
			b.place(t, 50)
			eventually(t, func() error { return b.ran(1, 50, 1) })
			b.settled(t)
			p, err := b.r.MakePlan(t.Context(), "billing", subName, group.ToSequence(31), group.KeepRetries)
			if err != nil {
				t.Fatal(err)
			}
			proxy := testserver.StartProxy(t, s.URL())
			lost := proxy.Inject(testserver.Fault{Match: testserver.Published(tc.at)})
			cut := group.NewReader(proxy.JetStream(t), "")
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-lost.Hit()
				cancel()
			}()
			if err := cut.Apply(ctx, p, func(group.Done) { t.Error("it was not interrupted") }); !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted: %v", err)
			}
			if tc.lost {
				if err := b.js.DeleteConsumer(t.Context(), "EVENTS", durable); err != nil {
					t.Fatal(err)
				}
				// It is made again at the new place: the reset is done.
				eventually(t, func() error {
					b.mu.Lock()
					defer b.mu.Unlock()
					if b.runs[31] < 2 || b.runs[50] < 2 || b.runs[30] != 1 {
						return fmt.Errorf("runs %d, %d, %d", b.runs[30], b.runs[31], b.runs[50])
					}
					return nil
				})
				b.settled(t)
			}
			b.find(t) // an instance makes a durable again that was deleted for it
			before := b.runsOf(50)
			_, done := b.reset(t, group.ToSequence(31), group.KeepRetries)
			eventually(t, func() error {
				if n := b.runsOf(50); n <= before {
					return fmt.Errorf("%d runs", n)
				}
				return b.ran(1, 30, 1)
			})
			if s := b.settled(t); s.ResetUnfinished || s.Resets != done.Generation {
				t.Errorf("%+v", s)
			}
		})
	}
}

func (b *bundle) runsOf(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs[n]
}

// The lane and the stream of dead letters know the ids of what failed before a
// reset. What fails again after it is retried and buried all the same, although
// the running instance has not heard of the reset.
func TestFailuresAfterAReset(t *testing.T) {
	t.Parallel()
	b, _ := setup(t)
	cfg := config()
	cfg.MaxAttempts = 2
	start(t, b.js, cfg, b.count(func(n, run int) error {
		if n == 1 || run%2 == 1 {
			return errAlways // 1 fails always, the others every other time
		}
		return nil
	}))
	b.place(t, 20)
	eventually(t, func() error { return b.ran(1, 20, 2) })
	if s := b.settled(t); s.Dead != 1 {
		t.Errorf("%+v", s)
	}
	for round := 2; round <= 3; round++ {
		b.reset(t, group.ToStart(), group.KeepRetries)
		eventually(t, func() error { return b.ran(1, 20, 2*round) })
		if s := b.settled(t); s.Dead != uint64(round) {
			t.Errorf("%+v", s)
		}
	}
}

// Retries of what runs again are dropped, others are kept, unless told.
func TestResetAndRetries(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		retries       group.Retries
		dropped, kept int
	}{"keep": {group.KeepRetries, 6, 4}, "drop": {group.DropRetries, 10, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := setup(t)
			cfg := config()
			cfg.FirstDelay, cfg.MaxDelay = time.Hour, time.Hour
			_, stop := start(t, b.js, cfg, b.count(func(n, run int) error {
				if n%2 == 1 && run == 1 {
					return errAlways
				}
				return nil
			}))
			b.place(t, 20)
			eventually(t, func() error {
				if s := b.find(t); s.RetriesWaiting != 10 || s.Floor != 20 {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
			stop()
			step, done := b.reset(t, group.ToSequence(9), tc.retries)
			if step.RetriesDropped != tc.dropped || done.RetriesDropped != tc.dropped || step.RetriesKept != tc.kept {
				t.Errorf("plan %+v, done %+v", step, done)
			}
			if s := b.find(t); s.RetriesWaiting != tc.kept || s.Pending != 12 {
				t.Errorf("%+v", s)
			}
			start(t, b.js, cfg, b.count(nil))
			eventually(t, func() error { return errors.Join(b.ran(1, 8, 1), b.ran(9, 20, 2)) })
		})
	}
}

func TestWhatCannotBeReset(t *testing.T) {
	t.Parallel()
	b, _ := setup(t)
	if _, err := b.r.List(t.Context(), ""); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: %v", err)
	}
	_, stop := start(t, b.js, config(), b.count(nil))
	b.find(t)
	stop()
	b.place(t, 5)
	for name, tc := range map[string]struct {
		group, sub string
		to         group.Target
		want       error
	}{
		"no group":        {"shipping", "", group.ToStart(), group.ErrNotFound},
		"no subscription": {"billing", "other", group.ToStart(), group.ErrNotFound},
		"not stored yet":  {"billing", "", group.ToSequence(7), group.ErrTarget},
		"no sequence":     {"billing", "", group.ToSequence(0), group.ErrTarget},
	} {
		if _, err := b.r.MakePlan(t.Context(), tc.group, tc.sub, tc.to, group.KeepRetries); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := b.r.MakePlan(t.Context(), "billing", "", group.ToStart(), group.KeepRetries)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	b.place(t, 1)
	if err := b.r.Apply(t.Context(), p, func(group.Done) {}); !errors.Is(err, group.ErrChanged) {
		t.Errorf("another stream: %v", err)
	}
}
