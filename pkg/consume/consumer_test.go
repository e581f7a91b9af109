package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

func TestEveryEventIsHandledOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 500)
	got := newTally()
	start(t, b.js, quick(), consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if e.Data.OrderID != "o-"+e.ID || e.Key != e.Data.OrderID || e.Delivery.Attempt != 1 {
			t.Errorf("event %+v", e)
		}
		got.add(e.ID)
		return nil
	}))
	eventually(t, func() error { return got.each(500, 1) })
	b.place2(t, 500, 600)
	eventually(t, func() error { return got.each(600, 1) })
	eventually(t, func() error { return b.idle(t, "EVENTS") })
}

// place2 stores the events from..to-1 one by one.
func (b *bundle) place2(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		id := strconv.Itoa(i)
		if _, err := b.js.PublishMsg(t.Context(), message(t, id, orderPlaced{OrderID: "o-" + id})); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFailingHandlerEndsInDead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 3)
	got := newTally()
	cfg := quick()
	cfg.MaxAttempts, cfg.FirstDelay = 4, 300*time.Millisecond
	start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if run := got.add(e.ID); run != e.Delivery.Attempt {
			t.Errorf("run %d is told to be attempt %d", run, e.Delivery.Attempt)
		}
		if e.Delivery.Stream != "EVENTS" || e.Delivery.Sequence == 0 || e.Delivery.Subject != "events.shop.order.placed.v1."+e.Key {
			t.Errorf("delivery %+v", e.Delivery)
		}
		return errors.New("no\nluck")
	}))
	eventually(t, func() error {
		if n := len(b.dead(t)); n != 3 {
			return fmt.Errorf("%d dead letters", n)
		}
		return nil
	})
	if err := got.each(3, 4); err != nil {
		t.Error(err)
	}
	// The wait after a run lies in the upper half of its range, and the ranges
	// double: no event is early, and load can only add.
	for id, at := range got.at {
		for i := 1; i < len(at); i++ {
			if waited, least := at[i].Sub(at[i-1]), cfg.FirstDelay<<(i-1)/2; waited < least {
				t.Errorf("event %s: run %d after %s, want at least %s", id, i+1, waited, least)
			}
		}
	}
	m := b.dead(t)[0]
	if string(m.Data) != `{"order_id":"o-0","cents":0}` && !strings.HasPrefix(string(m.Data), `{"order_id":"o-`) {
		t.Errorf("body %s", m.Data)
	}
	for name, want := range map[string]string{
		consume.HeaderDeadReason: "exhausted", consume.HeaderDeadError: "no%0Aluck", consume.HeaderDeadAttempts: "4",
		consume.HeaderDeadDurable: durableName, consume.HeaderDeadStream: "EVENTS", consume.HeaderDeadRound: "0",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(m.Subject, "dead.billing.shop.order.placed.v1.o-") || m.Header.Get("ce-type") != "shop.order.placed.v1" {
		t.Errorf("dead letter on %s with %v", m.Subject, m.Header)
	}
	eventually(t, func() error {
		return errors.Join(b.idle(t, "EVENTS"), b.idle(t, "RETRY_billing"))
	})
}

func TestDispositions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 6)
	got := newTally()
	cfg := quick()
	cfg.MaxAttempts = 2
	c, _ := start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		run := got.add(e.ID)
		switch e.ID {
		case "0":
			return consume.Discard(errors.New("not ours"))
		case "1":
			return fmt.Errorf("wrapped: %w", consume.DeadLetter(errors.New("hopeless")))
		case "2":
			if run == 1 {
				return consume.RetryAfter(time.Millisecond, errors.New("busy"))
			}
		case "3":
			if run == 1 {
				panic("boom")
			}
		case "4":
			if run == 1 {
				goexit()
			}
		}
		return nil
	}))
	eventually(t, func() error {
		s := c.Status().Subscriptions[0]
		if s.Handled != 4 || s.Discarded != 1 || s.Dead != 1 || s.Retried != 3 || s.Failed != 5 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if d := b.dead(t); len(d) != 1 || d[0].Header.Get(consume.HeaderDeadReason) != "rejected" || d[0].Header.Get("ce-id") != "1" {
		t.Errorf("dead letters %v", d)
	}
}

func TestStopGivesBackAndLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 400)
	var begun, finished atomic.Int32
	cfg := quick()
	cfg.AckWait = 30 * time.Second // what is given back must not wait for it
	cfg.Concurrency = 100
	once := newTally()
	release := make(chan struct{})
	_, stop := start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		begun.Add(1)
		<-release
		once.add(e.ID)
		finished.Add(1)
		return nil
	}))
	eventually(t, func() error {
		if begun.Load() != 100 {
			return fmt.Errorf("%d running", begun.Load())
		}
		return nil
	})
	time.AfterFunc(100*time.Millisecond, func() { close(release) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if begun.Load() != 100 || finished.Load() != 100 {
		t.Errorf("%d begun, %d finished", begun.Load(), finished.Load())
	}
	began := time.Now()
	start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if e.Delivery.Attempt != 1 {
			t.Errorf("a hand-back cost an attempt: %d", e.Delivery.Attempt)
		}
		once.add(e.ID)
		return nil
	}))
	eventually(t, func() error { return once.each(400, 1) })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the rest took %s", took)
	}
}

func TestDrainTimeoutNamesHandlers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 1)
	cfg := quick()
	cfg.DrainTimeout = 300 * time.Millisecond
	running, release := make(chan struct{}), make(chan struct{})
	var returned sync.WaitGroup
	returned.Add(1)
	c, err := consume.New(b.js, cfg, consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
		defer returned.Done()
		close(running)
		<-release // ignores its context
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-running
	began := time.Now()
	cancel()
	err = <-done
	var late *consume.DrainError
	if !errors.As(err, &late) || len(late.Handlers) != 1 || late.Handlers[0] != "shop-order-placed-v1: 0" {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if b.idle(t, "EVENTS") == nil {
		t.Error("the event is gone")
	}
	close(release)
	returned.Wait()
}

func TestHungHandlerIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 2)
	cfg := quick()
	cfg.AckWait, cfg.Concurrency, cfg.HandlerTimeout = time.Second, 1, 50*time.Millisecond
	release := make(chan struct{})
	got := newTally()
	cfg.MaxAttempts = 1
	c, _ := start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if got.add(e.ID) == 1 && e.ID == "0" {
			hang(release)
		}
		return nil
	}))
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Handled != 1 || s.Dead != 1 || s.Hung != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	stack, _ := envelope.UnescapeHeader(b.dead(t)[0].Header.Get(consume.HeaderDeadStack))
	if !strings.Contains(stack, "consume_test.hang") {
		t.Errorf("the stack does not name where it hangs: %s", stack)
	}
	if all := c.InFlight(); len(all) != 1 || !all[0].Hung || all[0].EventID != "0" || all[0].Attempt != 1 || all[0].Age < all[0].Timeout {
		t.Errorf("in flight: %+v", all)
	}
	close(release)
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Late != 1 || s.Hung != 0 || s.Handled != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if all := c.InFlight(); len(all) != 0 {
		t.Errorf("in flight: %+v", all)
	}
}

func TestGroupsAndInstancesShare(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 300)
	shared, other := newTally(), newTally()
	h := func(c *tally) consume.Subscription {
		return consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
			c.add(e.ID)
			return nil
		})
	}
	cfg := quick()
	start(t, b.js, cfg, h(shared))
	start(t, b.js, cfg, h(shared))
	cfg.Group = "notify"
	start(t, b.js, cfg, h(other))
	eventually(t, func() error { return errors.Join(shared.each(300, 1), other.each(300, 1)) })
}

func TestDurableOfAnotherIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	s, err := b.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: durableName, FilterSubject: "events.other.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := consume.New(b.js, quick(), consume.On(func(context.Context, envelope.Event[orderPlaced]) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); !errors.Is(err, consume.ErrDurableTaken) {
		t.Errorf("Run = %v, want ErrDurableTaken", err)
	}
	if i, err := theirs.Info(t.Context()); err != nil || i.Config.FilterSubject != "events.other.>" {
		t.Errorf("their durable was changed: %+v, %v", i, err)
	}
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c, stop := start(t, b.js, quick(), consume.On(func(context.Context, envelope.Event[orderPlaced]) error { return nil }))
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0].State; s != consume.StateRunning {
			return fmt.Errorf("state %s", s)
		}
		return nil
	})
	if err := c.Run(t.Context()); !errors.Is(err, consume.ErrRunning) {
		t.Errorf("second Run = %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Errorf("Run after Run: %v", err)
	}
}

func hang(release <-chan struct{}) { <-release }
