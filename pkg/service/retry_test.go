package service_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// What an instance refuses has not run: another one takes it.
func TestRefusedCallIsTriedElsewhere(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var ran atomic.Int64
	full := func(n int) service.Part {
		return service.Handle("work", func(_ context.Context, i int) (int, error) {
			if ran.Add(1) <= int64(n) {
				return 0, service.Errorf(service.CodeUnavailable, "full")
			}
			return i, nil
		})
	}
	svc := start(t, srv.Connect(t), service.Config{Name: "billing"}, full(2))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	if got, err := service.Call[int](t.Context(), cl, "billing.work", 7); err != nil || got != 7 {
		t.Errorf("got %d, %v", got, err)
	}
	if e := svc.Status().Endpoints[0]; e.Requests != 3 {
		t.Errorf("it took %d requests, want 3", e.Requests)
	}
	once := newClient(t, srv.Connect(t), service.ClientConfig{Attempts: 1})
	ran.Store(0)
	if _, err := service.Call[int](t.Context(), once, "billing.work", 7); service.CodeOf(err) != service.CodeUnavailable {
		t.Errorf("without retries: %v", err)
	}
}

// A service that refuses everything gets a tenth more requests than there are
// calls, and no more.
func TestRetriesAreBudgeted(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	svc := start(t, srv.Connect(t), service.Config{Name: "billing"},
		service.Handle("work", func(context.Context, int) (int, error) {
			return 0, service.Errorf(service.CodeUnavailable, "full")
		}))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Attempts: 5})
	const calls = 1000
	for range calls {
		if _, err := service.Call[int](t.Context(), cl, "billing.work", 1); service.CodeOf(err) != service.CodeUnavailable {
			t.Fatal(err)
		}
	}
	if n := svc.Status().Endpoints[0].Requests; n < calls+calls/10 || n > calls+calls/10+10 {
		t.Errorf("%d calls came as %d requests", calls, n)
	}
	// The budget of one service is not another's.
	start(t, srv.Connect(t), service.Config{Name: "shipping"}, service.Handle("work", failFirst(1)))
	if _, err := service.Call[int](t.Context(), cl, "shipping.work", 1); err != nil {
		t.Error(err)
	}
}

// failFirst refuses the first n requests.
func failFirst(n int64) func(context.Context, int) (int, error) {
	var seen atomic.Int64
	return func(_ context.Context, i int) (int, error) {
		if seen.Add(1) <= n {
			return 0, service.Errorf(service.CodeUnavailable, "not yet")
		}
		return i, nil
	}
}

// mute takes calls of a service and never answers, as an instance does that
// dies while it runs them. It returns how many it took.
func mute(t *testing.T, nc *nats.Conn, subject string) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	if _, err := nc.QueueSubscribe(subject, "q", func(*nats.Msg) { n.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return &n
}

// An instance that dies with a call leaves its caller without an answer, as
// does a handler that hangs. With Retry, and only with it, the call is made again.
func TestRetryAfterSilence(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	idempotent := []service.EndpointOption{service.WithIdempotent()}
	for name, c := range map[string]struct {
		opts []service.EndpointOption
		call []service.CallOption
		time time.Duration
		want service.Code // 0: it succeeds
	}{
		"declared":     {idempotent, []service.CallOption{service.Retry(100 * time.Millisecond)}, 5 * time.Second, 0},
		"shared-out":   {idempotent, []service.CallOption{service.Retry(0)}, 3 * time.Second, 0},
		"not-declared": {nil, []service.CallOption{service.Retry(100 * time.Millisecond)}, 5 * time.Second, service.CodeFailedPrecondition},
		"not-asked":    {idempotent, nil, 300 * time.Millisecond, service.CodeDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ran atomic.Int64
			start(t, srv.Connect(t), service.Config{Name: name},
				service.Handle("work", func(ctx context.Context, i int) (int, error) {
					if ran.Add(1) == 1 {
						<-ctx.Done() // at the end of this attempt, not of the call
						return 0, ctx.Err()
					}
					return i, nil
				}, c.opts...))
			cl := newClient(t, srv.Connect(t), service.ClientConfig{Timeout: c.time})
			got, err := service.Call[int](t.Context(), cl, name+".work", 7, c.call...)
			if service.CodeOf(err) != c.want || c.want == 0 && got != 7 {
				t.Errorf("got %d, %v, want code %v", got, err, c.want)
			}
			// A machine without time may give an attempt up before it has run.
			if n := ran.Load(); c.want == 0 && n < 2 || c.want != 0 && n > 1 {
				t.Errorf("it ran %d times", n)
			}
		})
	}
}

// The last attempt has what is left of the call's time, and no call lasts
// longer than that.
func TestRetryKeepsTheDeadline(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	tries := mute(t, srv.Connect(t), "rpc.billing.work")
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := service.Call[int](ctx, cl, "billing.work", 1, service.Retry(30*time.Millisecond))
	if service.CodeOf(err) != service.CodeDeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took < 350*time.Millisecond || took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return tries.Load() == service.DefaultAttempts }, "three attempts")
}

// The caller stays with the instance that answered, and moves when it is gone.
func TestAffinity(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	fleet := map[string]*running{}
	for _, id := range []string{"a", "b", "c"} {
		fleet[id] = start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id},
			service.Handle("who", func(_ context.Context, fail bool) (string, error) {
				if fail {
					return "", service.Errorf(service.CodeNotFound, "by %s", id)
				}
				return id, nil
			}))
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	var a service.Affinity
	who := func() string {
		t.Helper()
		id, err := service.Call[string](t.Context(), cl, "billing.who", false, service.ToSame(&a))
		if err != nil {
			t.Fatal(err)
		}
		if a.Instance() != id {
			t.Fatalf("%s answered, %q is remembered", id, a.Instance())
		}
		return id
	}
	first := who()
	for range 30 {
		if id := who(); id != first {
			t.Fatalf("it went to %s after %s", id, first)
		}
	}
	if err := fleet[first].stop(); err != nil {
		t.Error(err)
	}
	second := who()
	for range 30 {
		if id := who(); id != second || id == first {
			t.Fatalf("it went to %s after %s", id, second)
		}
	}
	a.Forget()
	if a.Instance() != "" {
		t.Error("it was not forgotten")
	}
	// An error of the handler is an answer too.
	_, err := service.Call[string](t.Context(), cl, "billing.who", true, service.ToSame(&a))
	var e *service.Error
	if !errors.As(err, &e) || e.Instance == "" || a.Instance() != e.Instance {
		t.Errorf("got %v, and %q is remembered", err, a.Instance())
	}
	for id := range fleet {
		if err := fleet[id].stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := service.Call[string](t.Context(), cl, "billing.who", false, service.ToSame(&a)); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("with nobody there: %v", err)
	}
}

// Who answers chooses the name that it gives: only what names an instance
// becomes part of a subject.
func TestAffinityTakesNoForgedName(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	names := []string{"*", ">", "a.b", "a b", "all", "cancel", "a\tb", "%41", "x 3\r\nPUB forged 0", ""}
	if _, err := nc.Subscribe("rpc.odd.who", func(m *nats.Msg) {
		i, _ := strconv.Atoi(string(m.Data))
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{service.HeaderInstance: {names[i]}}, Data: []byte("1")})
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	var a service.Affinity
	for i, name := range names {
		if _, err := service.Call[int](t.Context(), cl, "odd.who", i, service.ToSame(&a)); err != nil || a.Instance() != "" {
			t.Errorf("%q: %v, and %q is remembered", name, err, a.Instance())
		}
	}
}

// An instance that takes no more requests has run nothing: the caller moves.
func TestAffinityMovesFromFullInstance(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var full atomic.Value
	full.Store("")
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} { // ten retries, each to any of them
		start(t, srv.Connect(t), service.Config{Name: "billing", Instance: id},
			service.Handle("who", func(context.Context, struct{}) (string, error) {
				if full.Load() == id {
					return "", service.Errorf(service.CodeUnavailable, "full")
				}
				return id, nil
			}))
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Attempts: 30})
	var a service.Affinity
	call := func() string {
		t.Helper()
		id, err := service.Call[string](t.Context(), cl, "billing.who", struct{}{}, service.ToSame(&a))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := call()
	full.Store(first)
	if second := call(); second == first || a.Instance() != second {
		t.Errorf("%s, then %s, and %s is remembered", first, second, a.Instance())
	}
}
