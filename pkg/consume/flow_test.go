package consume_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

const subscriptionName = "shop-order-placed-v1"

func TestConcurrencyChangesAtRunTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 100)
	var running, most atomic.Int32
	release := make(chan struct{})
	cfg := quick()
	cfg.Concurrency = 2
	c, _ := start(t, b.js, cfg, consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
		n := running.Add(1)
		for old := most.Load(); n > old; old = most.Load() {
			if most.CompareAndSwap(old, n) {
				break
			}
		}
		<-release
		running.Add(-1)
		return nil
	}))
	now := func(n int32) func() error {
		return func() error {
			if r := running.Load(); r != n {
				return fmt.Errorf("%d running, want %d", r, n)
			}
			return nil
		}
	}
	eventually(t, now(2))
	if err := c.SetConcurrency(subscriptionName, 7); err != nil {
		t.Fatal(err)
	}
	eventually(t, now(7))
	if err := c.SetConcurrency(subscriptionName, 1); err != nil {
		t.Fatal(err)
	}
	most.Store(0)
	close(release)
	eventually(t, func() error { return b.idle(t, "EVENTS") })
	if most.Load() > 2 { // the six that ran on were not counted anew
		t.Errorf("%d ran at once after the limit was lowered", most.Load())
	}
	for err, want := range map[error]error{
		c.SetConcurrency("other", 1):          consume.ErrNoSubscription,
		c.SetConcurrency(subscriptionName, 0): consume.ErrConfig,
		c.SetRate(subscriptionName, -1):       consume.ErrConfig,
	} {
		if !errors.Is(err, want) {
			t.Errorf("%v is not %v", err, want)
		}
	}
}

func TestRateAndPause(t *testing.T) { //nolint:paralleltest // bubbles must not overlap
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := &bundle{js: s.JetStream(t)}
		b.streams(t)
		b.place(t, 100)
		cfg := quick()
		cfg.AckWait = 30 * time.Second
		last := make(chan time.Time, 1000)
		c, stop := start(t, b.js, cfg, consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
			last <- time.Now()
			return nil
		}, consume.WithRate(10)))
		first := <-last
		for range 98 {
			<-last
		}
		if took := (<-last).Sub(first); took < 9800*time.Millisecond || took > 10100*time.Millisecond {
			t.Errorf("100 events at 10/s took %s", took)
		}
		if err := c.SetRate(subscriptionName, 0); err != nil {
			t.Error(err)
		}
		if err := c.Pause(t.Context(), subscriptionName, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		b.place2(t, 100, 120)
		paused := time.Now()
		if at := <-last; at.Sub(paused) < 59*time.Second {
			t.Errorf("an event after %s of a pause of a minute", at.Sub(paused))
		}
		for range 19 {
			<-last
		}
		if err := c.Pause(t.Context(), subscriptionName, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		b.place2(t, 120, 121)
		if err := c.Resume(t.Context(), subscriptionName); err != nil {
			t.Fatal(err)
		}
		paused = time.Now()
		if at := <-last; at.Sub(paused) > 10*time.Second {
			t.Errorf("resumed after %s", at.Sub(paused))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
