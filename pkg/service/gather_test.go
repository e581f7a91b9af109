package service_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// collect runs a gathering and sorts what came of it.
func collect[Res any](ctx context.Context, cl *service.Client, target string, req any, opts ...service.CallOption) (from []string, results map[string]Res, errs map[string]error) {
	results, errs = map[string]Res{}, map[string]error{}
	for r, err := range service.Gather[Res](ctx, cl, target, req, opts...) {
		from = append(from, r.Instance)
		if err != nil {
			errs[r.Instance] = err
			continue
		}
		results[r.Instance] = r.Result
	}
	slices.Sort(from)
	return from, results, errs
}

// Every instance is asked at once, and says who it is; one that fails does not
// keep the others from answering.
func TestGather(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	for i, id := range []string{"a", "b", "c", "d"} {
		start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id, Logger: quiet()},
			service.Handle("load", func(context.Context, struct{}) (int, error) {
				if id == "c" {
					return 0, service.Errorf(service.CodeNotFound, "nothing here")
				}
				return 10 * i, nil
			}))
	}
	for name, cfg := range map[string]service.ClientConfig{
		"plain":       {Timeout: 10 * time.Second},
		"intercepted": {Timeout: 10 * time.Second, Interceptors: []service.Interceptor{func(next service.Invoker) service.Invoker { return next }}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newClient(t, srv.Connect(t), cfg)
			began := time.Now()
			from, results, errs := collect[int](t.Context(), cl, "billing.load", struct{}{}, service.Replies(4))
			if !slices.Equal(from, []string{"a", "b", "c", "d"}) || results["a"] != 0 || results["b"] != 10 || results["d"] != 30 {
				t.Errorf("got %v, %v, %v", from, results, errs)
			}
			if len(errs) != 1 || service.CodeOf(errs["c"]) != service.CodeNotFound || !service.IsRemote(errs["c"]) {
				t.Errorf("errors %v", errs)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("four replies came, and it went on for %v", took)
			}
			// Without a count the time is the end, and not an error.
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if from, _, errs = collect[int](ctx, cl, "billing.load", struct{}{}); len(from) != 4 || len(errs) != 1 {
				t.Errorf("got %v, %v", from, errs)
			}
		})
	}
}

func TestGatherEnds(t *testing.T) {
	srv := testserver.Start(t)
	// The quick one answers once the slow one runs: a cancel that overtakes its
	// request keeps the handler from running at all.
	running, canceled := make(chan string, 10), make(chan string, 10)
	for _, id := range []string{"quick", "slow"} {
		start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id},
			service.Handle("wait", func(ctx context.Context, _ int) (string, error) {
				if id == "slow" {
					running <- id
					<-ctx.Done()
					canceled <- id
					return "", ctx.Err()
				}
				<-running
				return id, nil
			}))
	}
	nc := srv.Connect(t)
	cl := newClient(t, nc, service.ClientConfig{Timeout: time.Minute})
	within := func(t *testing.T, d time.Duration) context.Context {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	awaitCancel := func(t *testing.T) {
		t.Helper()
		select {
		case <-canceled:
		case <-time.After(5 * time.Second):
			t.Error("the handler that still ran was not cancelled")
		}
	}
	t.Run("fewer than wanted", func(t *testing.T) {
		from, results, errs := collect[string](within(t, time.Second), cl, "billing.wait", 1, service.Replies(3))
		if results["quick"] != "quick" || service.CodeOf(errs[""]) != service.CodeDeadlineExceeded || len(results) != 1 {
			t.Errorf("got %v, %v, %v", from, results, errs)
		}
		awaitCancel(t)
	})
	t.Run("as many as wanted", func(t *testing.T) {
		_, results, errs := collect[string](t.Context(), cl, "billing.wait", 1, service.Replies(1))
		if results["quick"] != "quick" || len(errs) != 0 {
			t.Errorf("got %v, %v", results, errs)
		}
		awaitCancel(t)
	})
	t.Run("the consumer breaks", func(t *testing.T) {
		for r, err := range service.Gather[string](t.Context(), cl, "billing.wait", 1) {
			if err != nil || r.Instance != "quick" {
				t.Errorf("got %+v, %v", r, err)
			}
			break
		}
		awaitCancel(t)
	})
	t.Run("ctx is cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var last error
		for r, err := range service.Gather[string](ctx, cl, "billing.wait", 1) {
			if last = err; r.Instance == "quick" {
				cancel()
			}
		}
		cancel()
		if service.CodeOf(last) != service.CodeCanceled {
			t.Errorf("got %v", last)
		}
		awaitCancel(t)
	})
	t.Run("nobody there", func(t *testing.T) {
		_, _, errs := collect[string](t.Context(), cl, "billing.nothing", 1)
		if service.CodeOf(errs[""]) != service.CodeUnavailable || !errors.Is(errs[""], nats.ErrNoResponders) {
			t.Errorf("got %v", errs)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		sub, err := nc.SubscribeSync("rpc.mute.ask.all")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }()
		_, _, errs := collect[string](within(t, 100*time.Millisecond), cl, "mute.ask", 1)
		if service.CodeOf(errs[""]) != service.CodeDeadlineExceeded {
			t.Errorf("got %v", errs)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, opts := range [][]service.CallOption{
			{service.ToInstance("quick")},
			{service.ToSame(&service.Affinity{})},
			{service.Retry(0)},
			{service.Replies(0)},
		} {
			if _, _, errs := collect[string](t.Context(), cl, "billing.wait", 1, opts...); !errors.Is(errs[""], service.ErrTarget) {
				t.Errorf("got %v", errs)
			}
		}
	})
	t.Run("the client is closed", func(t *testing.T) {
		own, err := service.NewClient(srv.Connect(t), service.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		var last error
		for r, err := range service.Gather[string](t.Context(), own, "billing.wait", 1) {
			if last = err; r.Instance == "quick" {
				_ = own.Close(ended) // its context has ended: it does not wait
			}
		}
		if !errors.Is(last, service.ErrClosed) || service.CodeOf(last) != service.CodeCanceled {
			t.Errorf("got %v", last)
		}
	})
}

// A service that floods a gathering is cut off, and the client goes on.
func TestGatherIsBounded(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	flood := make(chan struct{})
	if _, err := nc.Subscribe("rpc.flood.ask.all", func(m *nats.Msg) {
		for i := range 6000 {
			_ = nc.Publish(m.Reply, []byte(strconv.Itoa(i)))
		}
		_ = nc.Flush()
		close(flood)
	}); err != nil {
		t.Fatal(err)
	}
	start(t, srv.Connect(t), service.Config{Name: "billing"}, service.Handle("quote", price))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	n := 0
	var last error
	for _, err := range service.Gather[int](t.Context(), cl, "flood.ask", nil) {
		if n == 0 {
			<-flood
			// Its own round trip shows that the replies before it were delivered.
			if _, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A"}); err != nil {
				t.Error(err)
			}
		}
		if last = err; err == nil {
			n++
		}
	}
	if n < 4096 || n > 4200 || service.CodeOf(last) != service.CodeResourceExhausted {
		t.Errorf("%d replies, then %v", n, last)
	}
}
