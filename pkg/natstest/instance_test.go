package natstest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/natstest"
	"github.com/agner-go/agner/pkg/service"
)

// billing is an instance of group billing that handles orders with h.
func billing(h func(context.Context, envelope.Event[OrderPlaced]) error) func(context.Context, *nats.Conn) error {
	return func(ctx context.Context, nc *nats.Conn) error {
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		c, err := consume.New(js, consume.Config{Group: "billing", Concurrency: 4, MaxAttempts: 3}, consume.On(h))
		if err != nil {
			return err
		}
		return c.Run(ctx)
	}
}

func TestSettleWaitsForRetries(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, env *natstest.Env) {
		t.Helper()
		var runs atomic.Int64
		env.Start(billing(func(_ context.Context, e envelope.Event[OrderPlaced]) error {
			runs.Add(1)
			if e.Data.Cents == 0 || e.Delivery.Attempt < 2 {
				return errors.New("not yet")
			}
			return nil
		}))
		for range 5 {
			env.Publish(OrderPlaced{Cents: 500})
		}
		env.Publish(OrderPlaced{OrderID: "poison"})
		env.Settle("billing")
		if got := runs.Load(); got != 5*2+3 {
			t.Errorf("%d runs, want 13: two for each order, three for the poisoned one", got)
		}
		l := natstest.RequireDeadLetter(env, "billing", func(l *deadletter.Letter) bool { return l.Attempts == 3 })
		if l.Reason != "exhausted" || l.Error != "not yet" {
			t.Errorf("letter %+v", l)
		}
	})
}

// What a killed instance held comes to another one after AckWait; what it did
// after the kill reaches nobody.
func TestKillGivesItsEventsToAnother(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, env *natstest.Env) {
		t.Helper()
		held := make(chan struct{})
		first := env.Start(billing(func(ctx context.Context, _ envelope.Event[OrderPlaced]) error {
			close(held)
			<-ctx.Done() // and then says that it has handled the order
			return nil
		}))
		env.Publish(OrderPlaced{OrderID: "o-1"})
		<-held
		start := time.Now()
		first.Kill()

		var by atomic.Int64
		env.Start(billing(func(context.Context, envelope.Event[OrderPlaced]) error {
			by.Add(1)
			return nil
		}))
		env.Settle("billing")
		if by.Load() != 1 {
			t.Errorf("the second instance ran %d events, want the one of the first", by.Load())
		}
		if took := time.Since(start); took < consume.DefaultAckWait/2 {
			t.Errorf("the event moved after %s: the killed instance has given it back", took)
		}
	})
}

func TestStallAndCutAreOutlived(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, env *natstest.Env) {
		t.Helper()
		var runs atomic.Int64
		inst := env.Start(billing(func(context.Context, envelope.Event[OrderPlaced]) error {
			runs.Add(1)
			return nil
		}))
		env.Publish(OrderPlaced{OrderID: "o-1"})
		env.Settle("billing")

		inst.Cut()
		env.Publish(OrderPlaced{OrderID: "o-2"})
		env.Settle("billing")

		inst.Stall(true)
		env.Publish(OrderPlaced{OrderID: "o-3"})
		testserver.Eventually(t, time.Minute, func() bool { return !inst.Conn().IsConnected() }, "the pings find the stall")
		if runs.Load() != 2 {
			t.Errorf("%d runs during the stall, want 2", runs.Load())
		}
		inst.Stall(false)
		env.Settle("billing")
		if runs.Load() != 3 {
			t.Errorf("%d runs, want 3", runs.Load())
		}
		if err := inst.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
}

func TestServerRestarts(t *testing.T) {
	t.Parallel()
	env := natstest.New(t, natstest.Listen())
	inst := env.Start(func(ctx context.Context, nc *nats.Conn) error {
		svc, err := service.New(nc, service.Config{Name: "billing"},
			service.On(func(context.Context, envelope.Event[OrderPlaced]) error { return nil }))
		if err != nil {
			return err
		}
		return svc.Run(ctx)
	})
	env.Publish(OrderPlaced{OrderID: "o-1"})
	env.Settle("billing")
	env.RestartServer()
	env.Publish(OrderPlaced{OrderID: "o-2"})
	env.Settle("billing")
	if n := len(natstest.Published[OrderPlaced](env)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	if env.URL() == "" {
		t.Error("a server that listens has no URL")
	}
	if err := inst.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// What fails, fails the test: seen with a stand-in for testing.TB.
func TestFailuresFailTheTest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   func(env *natstest.Env)
		want string
	}{
		"nothing published": {
			func(env *natstest.Env) { natstest.RequirePublished[Receipt](env, nil) },
			"0 events of the type are stored",
		},
		"no dead letter": {
			func(env *natstest.Env) { natstest.RequireDeadLetter(env, "billing", nil) },
			"the group has 0 dead letters",
		},
		"a group that nobody runs": {
			func(env *natstest.Env) { env.Settle("billing") },
			"group billing has no subscription yet",
		},
		"attempt 0": {
			func(env *natstest.Env) { env.Handle(returns(nil), OrderPlaced{}, natstest.Attempt(0)) },
			"they count from 1",
		},
		"no port": {func(env *natstest.Env) { _ = env.URL() }, "natstest.Listen()"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{TB: t}
			env := natstest.New(r, natstest.WithPatience(50*time.Millisecond))
			r.run(func() { tt.do(env) })
			if !r.said(tt.want) {
				t.Errorf("the test did not fail with %q: %q", tt.want, r.failures())
			}
		})
	}
}
