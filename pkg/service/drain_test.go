package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
	"github.com/agner-go/agner/pkg/supervise"
)

// A stopping instance finishes the calls that it has, those in line too, and
// takes no new ones; it answers discovery until it is done.
func TestDrainFinishesCalls(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	block := make(chan struct{})
	svc := start(t, srv.Connect(t), service.Config{Name: "slow"},
		service.Handle("wait", func(ctx context.Context, i int) (int, error) {
			select {
			case <-block:
				return i, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}, service.WithConcurrency(5)))
	nc := srv.Connect(t)
	cl := newClient(t, nc, service.ClientConfig{Timeout: 20 * time.Second})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if got, err := service.Call[int](t.Context(), cl, "slow.wait", i); err != nil || got != i {
				t.Errorf("call %d: %d, %v", i, got, err)
			}
		})
	}
	testserver.Eventually(t, 5*time.Second, func() bool {
		e := svc.Status().Endpoints[0]
		return e.Running == 5 && e.Waiting == 15
	}, "calls are there")
	stopped := make(chan error, 1)
	go func() { stopped <- svc.stop() }()
	testserver.Eventually(t, 5*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := service.Call[int](ctx, cl, "slow.wait", -1)
		return errors.Is(err, nats.ErrNoResponders)
	}, "no new calls are taken")
	if st := svc.Status(); st.State != service.StateDraining {
		t.Errorf("state %s", st.State)
	}
	if ping := ask[micro.Ping](t, nc, micro.PingVerb, "slow", ""); ping.ID != svc.Instance() {
		t.Errorf("ping %+v", ping)
	}
	close(block)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if st := svc.Status(); st.State != service.StateIdle || st.Endpoints[0].Handled < 20 {
		t.Errorf("at the end %+v", st)
	}
}

// Near the end of DrainTimeout the handlers' contexts are cancelled; their
// callers, and those in line, learn it.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	svc := start(t, srv.Connect(t), service.Config{Name: "slow", DrainTimeout: 3 * time.Second, Logger: quiet()},
		service.Handle("wait", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, fmt.Errorf("broken off: %w", ctx.Err())
		}, service.WithConcurrency(2)))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Timeout: 20 * time.Second})
	codes := make(chan service.Code, 5)
	for range cap(codes) {
		go func() {
			_, err := service.Call[int](t.Context(), cl, "slow.wait", 1)
			codes <- service.CodeOf(err)
		}()
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().Endpoints[0].Waiting == 3 }, "calls are there")
	began := time.Now()
	err := svc.stop()
	if !errors.Is(err, service.ErrDrainTimeout) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took < 2*time.Second || took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	got := map[service.Code]int{}
	for range cap(codes) {
		got[<-codes]++
	}
	if got[service.CodeAborted] != 2 || got[service.CodeUnavailable] != 3 {
		t.Errorf("callers got %v", got)
	}
}

// A handler that ignores its context is named, with its stack, and Run returns.
func TestHungHandlerIsNamed(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	block := make(chan struct{})
	began := make(chan struct{})
	svc := start(t, srv.Connect(t), service.Config{Name: "slow", DrainTimeout: 200 * time.Millisecond, Logger: quiet()},
		service.Handle("hang", func(context.Context, int) (int, error) {
			close(began)
			<-block
			return 0, nil
		}))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	if err := service.Cast(t.Context(), cl, "slow.hang", 1); err != nil {
		t.Fatal(err)
	}
	<-began
	err := svc.stop()
	var stuck *supervise.StuckError
	if !errors.As(err, &stuck) || stuck.Path != "slow/calls/hang" {
		t.Errorf("got %v", err)
	}
	close(block)
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().Endpoints[0].Running == 0 }, "it returns")
}

// Rolling restarts under load: no caller sees an error.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	instance := func(id string) *running {
		return start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id}, service.Handle("quote",
			func(ctx context.Context, r quoteRequest) (quote, error) {
				<-time.After(time.Duration(r.Qty) * time.Millisecond)
				return price(ctx, r)
			}))
	}
	fleet := []*running{instance("i-0"), instance("i-1")}
	stop := make(chan struct{})
	var calls atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		cl := newClient(t, srv.Connect(t), service.ClientConfig{})
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A", Qty: (g + i) % 4}); err != nil {
					t.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for round := range 3 {
		for i, old := range fleet {
			before := calls.Load()
			fleet[i] = instance(fmt.Sprintf("i-%d-%d", i, round))
			if err := old.stop(); err != nil {
				t.Error(err)
			}
			testserver.Eventually(t, 5*time.Second, func() bool { return calls.Load() > before+50 || t.Failed() }, "calls go on")
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d calls", calls.Load())
}

func TestRunAgain(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	svc, err := service.New(nc, service.Config{Name: "billing"}, service.Handle("quote", price))
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, nc, service.ClientConfig{})
	for range 3 {
		r := run(t, svc)
		if err := svc.Run(t.Context()); !errors.Is(err, service.ErrRunning) {
			t.Errorf("a second Run: %v", err)
		}
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A"}); err != nil {
			t.Error(err)
		}
		if _, err := service.Call[quote](t.Context(), svc.Client(), "billing.quote", quoteRequest{SKU: "A"}); err != nil {
			t.Error(err)
		}
		old := svc.Client()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if _, err := service.Call[quote](t.Context(), old, "billing.quote", quoteRequest{SKU: "A"}); !errors.Is(err, service.ErrClosed) {
			t.Errorf("the client of the last Run: %v", err)
		}
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", nil); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("after Run: %v", err)
		}
	}
	if n := nc.NumSubscriptions(); n != 2 {
		t.Errorf("%d subscriptions are left, one is the client's and one nats.go's for the answers of JetStream", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := svc.Run(ended); err != nil {
		t.Errorf("with an ended context: %v", err)
	}
}
