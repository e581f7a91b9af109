package service_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
	"github.com/agner-go/agner/pkg/supervise"
)

type orderPlaced struct {
	OrderID string `json:"order_id"`
}

func (orderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e orderPlaced) EventKey() string { return e.OrderID }

type orderBilled struct {
	OrderID string `json:"order_id"`
	Cents   int    `json:"cents"`
}

func (orderBilled) EventType() string { return "shop.order.billed.v1" }

// An event, a call made by its handler, and an event published by the handler
// of that call are one chain, over three services.
func TestChain(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var pricing, billing *service.Service
	var err error
	pricing, err = service.New(srv.Connect(t), service.Config{Name: "pricing"},
		service.Handle("bill", func(ctx context.Context, o orderPlaced) (int, error) {
			_, err := pricing.Publisher().Publish(ctx, orderBilled{OrderID: o.OrderID, Cents: 500})
			return 500, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	billing, err = service.New(srv.Connect(t), service.Config{Name: "billing"},
		service.On(func(ctx context.Context, e envelope.Event[orderPlaced]) error {
			_, err := service.Call[int](ctx, billing.Client(), "pricing.bill", e.Data)
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	billed := make(chan envelope.Event[[]byte], 1)
	run(t, pricing)
	run(t, billing)
	notify := start(t, srv.Connect(t), service.Config{Name: "notify"},
		service.OnEvent("shop.order.billed.>", func(_ context.Context, e envelope.Raw) error {
			billed <- e
			return nil
		}, consume.WithName("billed")))

	ack, err := notify.Publisher().Publish(t.Context(), orderPlaced{OrderID: "o-1"}, publish.WithCorrelation("chain-1"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-billed:
		if e.CorrelationID != "chain-1" || e.CausationID != ack.ID || e.Source != "/pricing" {
			t.Errorf("got %+v, placed as %s", e.Attributes, ack.ID)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	st := billing.Status()
	if st.Events == nil || len(st.Events.Subscriptions) != 1 || st.Events.Subscriptions[0].Durable != "billing_shop-order-placed-v1" || st.Events.Instance != billing.Instance() {
		t.Errorf("status %+v", st.Events)
	}
}

// A cause that no event could carry does not make the handler's events invalid.
func TestForgedCauseIsLeftOut(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	start(t, nc, service.Config{Name: "billing"}, service.Handle("cause", func(ctx context.Context, _ struct{}) ([2]string, error) {
		correlation, causation := envelope.Cause(ctx)
		return [2]string{correlation, causation}, nil
	}))
	for _, tc := range []struct{ causation, correlation, want string }{
		{"e-1", "c-1", `["c-1","e-1"]`},
		{"e-1", "", `["e-1","e-1"]`},
		{"", "c-1", `["",""]`},
		{"a\x01b", "c", `["",""]`},
		{"a", "\xff", `["",""]`},
		{strings.Repeat("x", 5000), "c", `["",""]`},
	} {
		m := newRequest("rpc.billing.cause", service.HeaderCausation, tc.causation, service.HeaderCorrelation, tc.correlation)
		reply, err := nc.RequestMsgWithContext(t.Context(), m)
		if err != nil || string(reply.Data) != tc.want {
			t.Errorf("%.20q, %.20q: %s, %v", tc.causation, tc.correlation, reply.Data, err)
		}
	}
}

// child records its place in the order of things.
type child struct {
	name  string
	trace *trace
}

type trace struct {
	mu  sync.Mutex
	all []string
}

func (tr *trace) add(s string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.all = append(tr.all, s)
}

func (tr *trace) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.all, " ")
}

func (c child) Run(ctx context.Context) error { return c.RunReady(ctx, func() {}) }

func (c child) RunReady(ctx context.Context, ready func()) error {
	c.trace.add("+" + c.name)
	ready()
	<-ctx.Done()
	c.trace.add("-" + c.name)
	return ctx.Err()
}

// What the user added is there before the first call and after the last.
func TestChildrenFrameHandlers(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	var tr trace
	block, began := make(chan struct{}), make(chan struct{})
	svc := start(t, nc, service.Config{Name: "billing"},
		service.Handle("wait", func(context.Context, int) (int, error) {
			tr.add("call")
			close(began)
			<-block
			tr.add("answer")
			return 0, nil
		}),
		service.Add("first", child{"first", &tr}),
		service.Add("second", child{"second", &tr}),
	)
	cl := newClient(t, nc, service.ClientConfig{})
	if err := service.Cast(t.Context(), cl, "billing.wait", 1); err != nil {
		t.Fatal(err)
	}
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- svc.stop() }()
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().State == service.StateDraining }, "draining")
	close(block)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := tr.String(); got != "+first +second call answer -second -first" {
		t.Errorf("order: %s", got)
	}
}

// Calls and events stop at the same moment and drain side by side.
func TestEventsAndCallsDrainTogether(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	began, block := make(chan struct{}, 2), make(chan struct{})
	var finished atomic.Int64
	svc := start(t, nc, service.Config{Name: "billing", DrainTimeout: 10 * time.Second},
		service.Handle("wait", func(context.Context, int) (int, error) {
			began <- struct{}{}
			<-block
			finished.Add(1)
			return 1, nil
		}),
		service.On(func(context.Context, envelope.Event[orderPlaced]) error {
			began <- struct{}{}
			<-block
			finished.Add(1)
			return nil
		}))
	if _, err := svc.Publisher().Publish(t.Context(), orderPlaced{OrderID: "1"}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	cl := newClient(t, nc, service.ClientConfig{Timeout: 20 * time.Second})
	go func() {
		_, err := service.Call[int](t.Context(), cl, "billing.wait", 1)
		answered <- err
	}()
	<-began
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- svc.stop() }()
	testserver.Eventually(t, 5*time.Second, func() bool {
		st := svc.Status()
		return st.State == service.StateDraining && st.Events.Subscriptions[0].State == consume.StateDraining
	}, "events stop coming while a call is still at work")
	close(block)
	if err := errors.Join(<-stopped, <-answered); err != nil || finished.Load() != 2 {
		t.Errorf("%d finished, %v", finished.Load(), err)
	}
}

// A child that keeps failing ends the service with an error that names it.
func TestFailingChildEndsRun(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	broken := errors.New("broken")
	svc, err := service.New(srv.Connect(t), service.Config{
		Name: "billing", Logger: quiet(), Supervision: supervise.Config{MaxRestarts: 2},
	},
		service.Handle("quote", price), service.Add("bad", failing{broken}))
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Run(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("got %v", err)
	}
	if st := svc.Status(); st.State != service.StateIdle {
		t.Errorf("state %s", st.State)
	}
}

type failing struct{ err error }

func (f failing) Run(context.Context) error { return f.err }

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	ok := service.Config{Name: "billing"}
	h := service.Handle("quote", price)
	var nilHandler func(context.Context, int) (int, error)
	for name, build := range map[string]func() error{
		"no connection": func() error { _, err := service.New(nil, ok); return err },
		"no name":       func() error { _, err := service.New(nc, service.Config{}); return err },
		"bad name":      func() error { _, err := service.New(nc, service.Config{Name: "a.b"}); return err },
		"bad version":   func() error { _, err := service.New(nc, service.Config{Name: "a", Version: "v1"}); return err },
		"bad instance":  func() error { _, err := service.New(nc, service.Config{Name: "a", Instance: "A"}); return err },
		"instance all":  func() error { _, err := service.New(nc, service.Config{Name: "a", Instance: "all"}); return err },
		"bad namespace": func() error { _, err := service.New(nc, service.Config{Name: "a", Namespace: "x.y"}); return err },
		"bad drain":     func() error { _, err := service.New(nc, service.Config{Name: "a", DrainTimeout: -1}); return err },
		"bad timeout":   func() error { _, err := service.New(nc, service.Config{Name: "a", CallTimeout: -1}); return err },
		"bad source":    func() error { _, err := service.New(nc, service.Config{Name: "a", Source: " "}); return err },
		"other instance": func() error {
			_, err := service.New(nc, service.Config{Name: "a", Consume: consume.Config{Instance: "x"}})
			return err
		},
		"other namespace": func() error {
			_, err := service.New(nc, service.Config{Name: "a", Publish: publish.Config{Namespace: "x"}})
			return err
		},
		"empty part":      func() error { _, err := service.New(nc, ok, service.Part{}); return err },
		"twice":           func() error { _, err := service.New(nc, ok, h, service.Handle("quote", price)); return err },
		"endpoint all":    func() error { _, err := service.New(nc, ok, service.Handle("all", price)); return err },
		"endpoint cancel": func() error { _, err := service.New(nc, ok, service.Handle("cancel", price)); return err },
		"bad endpoint":    func() error { _, err := service.New(nc, ok, service.Handle("a_b", price)); return err },
		"nil handler":     func() error { _, err := service.New(nc, ok, service.Handle("a", nilHandler)); return err },
		"nil child":       func() error { _, err := service.New(nc, ok, service.Add("a", nil)); return err },
		"child of ours":   func() error { _, err := service.New(nc, ok, h, service.Add("calls", failing{})); return err },
		"no concurrency": func() error {
			_, err := service.New(nc, ok, service.Handle("a", price, service.WithConcurrency(0)))
			return err
		},
		"negative queue": func() error {
			_, err := service.New(nc, ok, service.Handle("a", price, service.WithQueue(-1)))
			return err
		},
		"no handler time": func() error {
			_, err := service.New(nc, ok, service.Handle("a", price, service.WithHandlerTimeout(0)))
			return err
		},
		"nil client":       func() error { _, err := service.NewClient(nil, service.ClientConfig{}); return err },
		"client namespace": func() error { _, err := service.NewClient(nc, service.ClientConfig{Namespace: "A"}); return err },
		"client timeout":   func() error { _, err := service.NewClient(nc, service.ClientConfig{Timeout: -1}); return err },
	} {
		if err := build(); err == nil || !strings.HasPrefix(err.Error(), "service: new") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, version := range []string{"0.0.0", "1.2.3", "1.2.3-rc.1", "1.2.3-0a+b.c", "10.20.30+001"} {
		if _, err := service.New(nc, service.Config{Name: "a", Version: version}); err != nil {
			t.Errorf("version %s: %v", version, err)
		}
	}
	for _, version := range []string{"1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", " 1.2.3", "1.2.3\n"} {
		if _, err := service.New(nc, service.Config{Name: "a", Version: version}); !errors.Is(err, service.ErrConfig) {
			t.Errorf("version %q: %v", version, err)
		}
	}
	if n := nc.NumSubscriptions(); n != 0 {
		t.Errorf("New subscribed %d times", n)
	}
}
