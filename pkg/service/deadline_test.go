package service_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// timeLeft is an endpoint that tells how long its context has.
func timeLeft(ctx context.Context, _ struct{}) (time.Duration, error) {
	d, ok := ctx.Deadline()
	if !ok {
		return 0, errors.New("no deadline")
	}
	return time.Until(d), nil
}

func TestDeadlineTravels(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	var cl *service.Client
	start(t, nc, service.Config{Name: "far"},
		service.Handle("left", timeLeft),
		service.Handle("nested", func(ctx context.Context, _ struct{}) (time.Duration, error) {
			return service.Call[time.Duration](ctx, cl, "far.left", struct{}{})
		}),
		service.Handle("short", timeLeft, service.WithHandlerTimeout(300*time.Millisecond)),
	)
	cl = newClient(t, nc, service.ClientConfig{Timeout: 7 * time.Second})
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for _, tc := range []struct {
		ctx    context.Context //nolint:containedctx // a table of contexts
		target string
		most   time.Duration
	}{
		{t.Context(), "far.left", 7 * time.Second},
		{bounded, "far.left", 3 * time.Second},
		{bounded, "far.nested", 3 * time.Second},
		{bounded, "far.short", 300 * time.Millisecond},
	} {
		left, err := service.Call[time.Duration](tc.ctx, cl, tc.target, struct{}{})
		if err != nil || left > tc.most || left < tc.most/2 {
			t.Errorf("%s has %v of %v left, %v", tc.target, left, tc.most, err)
		}
	}
}

// Both forms in which others may state a timeout, and those that are none.
func TestTimeoutOnTheWire(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	start(t, nc, service.Config{Name: "far", Logger: quiet()}, service.Handle("left", timeLeft))
	inbox := nc.NewInbox()
	replies, err := nc.SubscribeSync(inbox + ".>")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		tail, header string
		want         time.Duration // 0: refused
	}{
		{"x", "", time.Minute},
		{"x", "2000", 2 * time.Second},
		{"x~3000", "", 3 * time.Second},
		{"x~3000", "2000", 2 * time.Second},
		{"x~y", "", time.Minute},
		{"x~", "", time.Minute},
		{"x~0", "", time.Minute},
		{"x", "99999999999999999999999999", 0},
		{"x", "-1", 0},
		{"x", "0", 0},
		{"x", "1.5", 0},
		{"x", "9223372036854775807", time.Minute},
	} {
		m := &nats.Msg{Subject: "rpc.far.left", Reply: inbox + "." + tc.tail}
		if tc.header != "" {
			m.Header = nats.Header{service.HeaderTimeout: {tc.header}}
		}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		reply, err := replies.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if tc.want == 0 {
			if got := reply.Header.Get(service.HeaderErrorCode); got != "invalid_argument" {
				t.Errorf("%q %q: %s %s", tc.tail, tc.header, got, reply.Data)
			}
			continue
		}
		left, err := time.ParseDuration(string(reply.Data) + "ns")
		if err != nil || left > tc.want || left < tc.want-time.Second {
			t.Errorf("%q %q: %v, %v", tc.tail, tc.header, left, err)
		}
	}
}

// The caller's error says so, the handler's context ends, and the work is not
// counted as an internal error.
func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	ended := make(chan error, 3)
	svc := start(t, srv.Connect(t), service.Config{Name: "slow", Logger: quiet()},
		service.Handle("wait", func(ctx context.Context, _ struct{}) (struct{}, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return struct{}{}, ctx.Err()
		}))
	short := newClient(t, srv.Connect(t), service.ClientConfig{Timeout: 50 * time.Millisecond})
	bounded, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, ctx := range []context.Context{bounded, bounded, t.Context()} { // the second is not sent
		_, err := service.Call[struct{}](ctx, short, "slow.wait", struct{}{})
		if service.CodeOf(err) != service.CodeDeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		<-bounded.Done() // the service may have seen the end a moment earlier
	}
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("no error")
		}
	}
	testserver.Eventually(t, 5*time.Second, func() bool {
		e := svc.Status().Endpoints[0]
		return e.Handled == 2 && e.Requests == 2 && !strings.Contains(e.LastError, "internal")
	}, "two requests are counted")
}

// A request whose time is up while it is in line is not run.
func TestExpiredWorkIsNotRun(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var ran atomic.Int64
	began, block := make(chan struct{}), make(chan struct{})
	svc := start(t, srv.Connect(t), service.Config{Name: "slow", Logger: quiet()},
		service.Handle("wait", func(_ context.Context, first bool) (struct{}, error) {
			ran.Add(1)
			if first {
				close(began)
				<-block
			}
			return struct{}{}, nil
		}, service.WithConcurrency(1)))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	if err := service.Cast(t.Context(), cl, "slow.wait", true); err != nil {
		t.Fatal(err)
	}
	<-began
	nc := srv.Connect(t)
	for range 5 { // callers that do not send a cancel when they give up
		m := &nats.Msg{Subject: "rpc.slow.wait", Reply: nc.NewInbox(), Data: []byte("false"), Header: nats.Header{service.HeaderTimeout: {"20"}}}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().Endpoints[0].Waiting == 5 }, "requests in line")
	<-time.After(30 * time.Millisecond)
	close(block)
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().Endpoints[0].Expired == 5 }, "dropped: %+v", svc.Status().Endpoints[0])
	if n := ran.Load(); n != 1 {
		t.Errorf("%d ran", n)
	}
}

// The caller's cancel reaches the handler, its children, and calls that the
// handler made; the slot of the call is free for the next.
func TestCancelReachesHandler(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	began, ended := make(chan struct{}, 1), make(chan error, 2)
	var cl *service.Client
	svc := start(t, nc, service.Config{Name: "slow", Logger: quiet()},
		service.Handle("outer", func(ctx context.Context, _ struct{}) (string, error) {
			s, err := service.Call[string](ctx, cl, "slow.inner", struct{}{})
			ended <- err
			return s, err
		}),
		service.Handle("inner", func(ctx context.Context, _ struct{}) (string, error) {
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			began <- struct{}{}
			<-child.Done()
			ended <- child.Err()
			return "", child.Err()
		}))
	cl = newClient(t, nc, service.ClientConfig{Timeout: time.Minute})
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the user went away")
	go func() {
		<-began
		cancel(reason)
	}()
	_, err := service.Call[string](ctx, cl, "slow.outer", struct{}{})
	if service.CodeOf(err) != service.CodeCanceled || !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
		t.Fatalf("got %v", err)
	}
	for range 2 {
		select {
		case err := <-ended:
			if service.CodeOf(err) != service.CodeCanceled {
				t.Errorf("a handler ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a handler did not end")
		}
	}
	testserver.Eventually(t, 5*time.Second, func() bool {
		e := svc.Status().Endpoints
		return e[0].Canceled == 1 && e[1].Canceled == 1 && e[0].Running+e[1].Running == 0
	}, "%+v", svc.Status().Endpoints)
}

// A cancel is on another subject than its request and is handled by another
// goroutine, so it may be first. None may be missed all the same.
func TestCancelOvertakesRequest(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	const calls = 500
	var missed, ran atomic.Int64
	svc := start(t, srv.Connect(t), service.Config{Name: "slow", Logger: quiet()},
		service.Handle("wait", func(ctx context.Context, _ int) (struct{}, error) {
			ran.Add(1)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
				missed.Add(1)
			}
			return struct{}{}, nil
		}, service.WithConcurrency(calls)))
	nc := srv.Connect(t)
	for i := range calls {
		inbox := nc.NewInbox()
		request := func() error { return nc.PublishRequest("rpc.slow.wait", inbox, []byte("1")) }
		cancel := func() error { return nc.Publish("rpc.slow.cancel", []byte(inbox)) }
		if i%2 == 1 { // overtaken for certain
			request, cancel = cancel, request
		}
		if err := errors.Join(request(), cancel()); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, 10*time.Second, func() bool {
		e := svc.Status().Endpoints[0]
		return e.Canceled == calls && e.Running == 0
	}, "%+v", svc.Status().Endpoints[0])
	if missed.Load() != 0 {
		t.Errorf("%d of %d cancels were missed", missed.Load(), calls)
	}
	t.Logf("%d of %d handlers ran at all", ran.Load(), calls)
}

// A late reply, a forged one, and one to a neighbour must not be taken for the
// reply of the call that waits.
func TestRepliesAreMatched(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	inboxes := make(chan string, 2)
	var first sync.Once
	if _, err := nc.Subscribe("rpc.odd.late", func(m *nats.Msg) {
		inboxes <- m.Reply
		first.Do(func() { m = nil })
		if m == nil {
			return // the first is answered when it is over
		}
		old := <-inboxes
		last := len(old) - len("~60000")
		for _, forged := range []string{old, old[:len(old)-1], old + "0", old[:last] + "~1", old[:last-1] + "g", old[:last-24] + "zz", m.Reply[:len(m.Reply)-8] + "00000000"} {
			if forged != m.Reply {
				_ = nc.Publish(forged, []byte(`"forged"`))
			}
		}
		_ = m.Respond([]byte(`"right"`))
	}); err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := service.Call[string](ctx, cl, "odd.late", nil); service.CodeOf(err) != service.CodeDeadlineExceeded {
		t.Fatal(err)
	}
	if got, err := service.Call[string](t.Context(), cl, "odd.late", nil); got != "right" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
