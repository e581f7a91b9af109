package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

func TestCall(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	start(t, srv.Connect(t), service.Config{Name: "billing"}, service.Handle("quote", price))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})

	got, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A1", Qty: 3})
	if err != nil || got != (quote{SKU: "A1", Cents: 300}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	raw, err := service.Call[json.RawMessage](t.Context(), cl, "billing.quote", json.RawMessage(`{"sku":"B","qty":1,"more":[]}`))
	if err != nil || string(raw) != `{"sku":"B","cents":100}` {
		t.Fatalf("got %s, %v", raw, err)
	}
	_, err = service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{})
	if service.CodeOf(err) != service.CodeInvalidArgument || !service.IsRemote(err) {
		t.Fatalf("got %v", err)
	}
	_, err = service.Call[quote](t.Context(), cl, "billing.quote", "no object")
	if service.CodeOf(err) != service.CodeInvalidArgument || !service.IsRemote(err) {
		t.Fatalf("got %v", err)
	}
}

// Nobody there is an error at once, not after the timeout.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	start(t, nc, service.Config{Name: "billing"}, service.Handle("quote", price))
	cl := newClient(t, nc, service.ClientConfig{Timeout: time.Minute})
	for _, call := range []func() error{
		func() error { _, err := service.Call[quote](t.Context(), cl, "billing.nothing", nil); return err },
		func() error {
			_, err := service.Call[quote](t.Context(), cl, "billing.quote", nil, service.ToInstance("gone"))
			return err
		},
	} {
		began := time.Now()
		err := call()
		if service.CodeOf(err) != service.CodeUnavailable || service.IsRemote(err) || !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	for _, target := range []string{"", "billing", ".quote", "billing.", "billing.quote.x", "billing.all", "billing.cancel", "a b.c", "a.*", "a.>", "A.b"} {
		_, err := service.Call[quote](t.Context(), cl, target, nil)
		if !errors.Is(err, service.ErrTarget) || service.CodeOf(err) != service.CodeInvalidArgument {
			t.Errorf("%q: %v", target, err)
		}
	}
	for _, opts := range [][]service.CallOption{
		{service.ToInstance("all")},
		{service.ToInstance("cancel")},
		{service.ToInstance("a.b")},
		{service.ToAll()},
		{service.ToSame(&service.Affinity{}), service.ToInstance("x")},
		{service.Replies(2)},
		{service.Retry(-1)},
	} {
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", nil, opts...); !errors.Is(err, service.ErrTarget) {
			t.Errorf("got %v", err)
		}
	}
	if err := service.Cast(t.Context(), cl, "billing.quote", nil, service.ToAll(), service.ToInstance("x")); !errors.Is(err, service.ErrTarget) {
		t.Errorf("got %v", err)
	}
	if _, err := service.Call[quote](t.Context(), cl, "billing.quote", func() {}); service.CodeOf(err) != service.CodeInvalidArgument {
		t.Errorf("got %v", err)
	}
}

// What JSON calls null, and an empty body, are a zero value on the other side.
func TestEmptyArgumentsAndResults(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	start(t, nc, service.Config{Name: "billing"},
		service.Handle("pointer", func(_ context.Context, r *quoteRequest) (*quote, error) {
			if r != nil {
				t.Errorf("got %+v", r)
			}
			return nil, nil
		}),
		service.Handle("nothing", func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil }),
	)
	cl := newClient(t, nc, service.ClientConfig{})
	if q, err := service.Call[*quote](t.Context(), cl, "billing.pointer", nil); q != nil || err != nil {
		t.Errorf("got %+v, %v", q, err)
	}
	if _, err := service.Call[struct{}](t.Context(), cl, "billing.nothing", struct{}{}); err != nil {
		t.Error(err)
	}
	for _, endpoint := range []string{"pointer", "nothing"} {
		m, err := nc.RequestWithContext(t.Context(), "rpc.billing."+endpoint, nil)
		if err != nil || len(m.Data) == 0 || !json.Valid(m.Data) {
			t.Errorf("%s: %q, %v", endpoint, m.Data, err)
		}
	}
}

// Calls of one service are shared by its instances; one of them can be meant.
func TestInstances(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	whoami := func(id string) service.Part {
		return service.Handle("who", func(context.Context, struct{}) (string, error) { return id, nil })
	}
	for _, id := range []string{"a", "b"} {
		start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id}, whoami(id))
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	seen := map[string]int{}
	for range 200 {
		id, err := service.Call[string](t.Context(), cl, "billing.who", struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		seen[id]++
	}
	if seen["a"] < 20 || seen["b"] < 20 {
		t.Errorf("calls went to %v", seen)
	}
	for range 20 {
		for _, want := range []string{"a", "b"} {
			if id, err := service.Call[string](t.Context(), cl, "billing.who", struct{}{}, service.ToInstance(want)); err != nil || id != want {
				t.Fatalf("got %q, %v; want %q", id, err, want)
			}
		}
	}
}

func TestCast(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var mu sync.Mutex
	got := map[string]int{}
	note := func(id string) service.Part {
		return service.Handle("note", func(ctx context.Context, text string) (struct{}, error) {
			if d, _ := ctx.Deadline(); time.Until(d) < 30*time.Second {
				t.Errorf("a cast has the caller's deadline: %v", time.Until(d))
			}
			mu.Lock()
			defer mu.Unlock()
			got[text+" by "+id]++
			return struct{}{}, nil
		})
	}
	for _, id := range []string{"a", "b"} {
		start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id}, note(id))
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, err := range []error{
		service.Cast(ctx, cl, "billing.note", "any"),
		service.Cast(ctx, cl, "billing.note", "one", service.ToInstance("b")),
		service.Cast(ctx, cl, "billing.note", "each", service.ToAll()),
		service.Cast(ctx, cl, "nobody.there", "lost"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, 5*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return got["any by a"]+got["any by b"] == 1 && got["one by b"] == 1 && got["each by a"] == 1 && got["each by b"] == 1 && len(got) == 4
	}, "casts arrived as %v", got)
}

func TestNamespacesAreApart(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	start(t, nc, service.Config{Name: "billing", Namespace: "staging"}, service.Handle("quote", price))
	req := quoteRequest{SKU: "A", Qty: 1}
	if _, err := service.Call[quote](t.Context(), newClient(t, nc, service.ClientConfig{}), "billing.quote", req); service.CodeOf(err) != service.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if _, err := service.Call[quote](t.Context(), newClient(t, nc, service.ClientConfig{Namespace: "staging"}), "billing.quote", req); err != nil {
		t.Error(err)
	}
}

// Interceptors wrap calls on both sides, first is outermost, and headers that
// one adds are seen on the other side.
func TestInterceptors(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var mu sync.Mutex
	var order []string
	mark := func(name string, f func(*service.Request)) service.Interceptor {
		return func(next service.Invoker) service.Invoker {
			return func(ctx context.Context, r *service.Request) ([]byte, error) {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				f(r)
				return next(ctx, r)
			}
		}
	}
	auth := func(next service.Invoker) service.Invoker {
		return func(ctx context.Context, r *service.Request) ([]byte, error) {
			if r.Header.Get("Token") != "secret" {
				return nil, service.Errorf(service.CodeUnauthenticated, "no token")
			}
			return next(ctx, r)
		}
	}
	svc := start(t, srv.Connect(t), service.Config{
		Name: "billing",
		Interceptors: []service.Interceptor{
			mark("serve", func(r *service.Request) {
				if r.Service != "billing" || r.Endpoint != "quote" || len(r.Instance) == 0 || r.Cast {
					t.Errorf("served %+v", r)
				}
			}), auth,
		},
	}, service.Handle("quote", price))
	token := func(r *service.Request) { r.Header.Set("Token", "secret") }
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Interceptors: []service.Interceptor{
		mark("first", func(*service.Request) {}), mark("second", token),
	}})
	req := quoteRequest{SKU: "A", Qty: 1}
	if q, err := service.Call[quote](t.Context(), cl, "billing.quote", req); err != nil || q.Cents != 100 {
		t.Fatalf("got %+v, %v", q, err)
	}
	if got := strings.Join(order, " "); got != "first second serve" {
		t.Errorf("order %q", got)
	}
	plain := newClient(t, srv.Connect(t), service.ClientConfig{})
	if _, err := service.Call[quote](t.Context(), plain, "billing.quote", req); service.CodeOf(err) != service.CodeUnauthenticated {
		t.Errorf("got %v", err)
	}
	boom := newClient(t, srv.Connect(t), service.ClientConfig{Interceptors: []service.Interceptor{
		func(service.Invoker) service.Invoker {
			return func(context.Context, *service.Request) ([]byte, error) { return nil, context.Canceled }
		},
	}})
	var e *service.Error
	if _, err := service.Call[quote](t.Context(), boom, "billing.quote", req); !errors.As(err, &e) || e.Code != service.CodeCanceled {
		t.Errorf("got %v", err)
	}
	if st := svc.Status().Endpoints[0]; st.Requests != 2 || st.Errors != 1 {
		t.Errorf("counted %+v", st)
	}
}
