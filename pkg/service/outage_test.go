package service_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// Calls wait for the connection and go on when it is back; no restart is
// counted for it.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	svc := start(t, srv.Connect(t), service.Config{Name: "billing"}, service.Handle("quote", price))
	nc := srv.Connect(t)
	cl := newClient(t, nc, service.ClientConfig{Timeout: 20 * time.Second})
	req := quoteRequest{SKU: "A", Qty: 1}
	for range 3 {
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", req); err != nil {
			t.Fatal(err)
		}
		srv.Shutdown()
		testserver.Eventually(t, 5*time.Second, func() bool { return !nc.IsConnected() }, "the connection is lost")
		short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		_, err := service.Call[quote](short, cl, "billing.quote", req)
		if cancel(); service.CodeOf(err) != service.CodeUnavailable || !errors.Is(err, nats.ErrDisconnected) {
			t.Errorf("without a server: %v", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- service.Cast(t.Context(), cl, "billing.quote", req) }()
		srv.Restart(t)
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		testserver.Eventually(t, 10*time.Second, func() error {
			_, err := service.Call[quote](t.Context(), cl, "billing.quote", req)
			return err
		}, "calls go on")
	}
	if n := svc.Status().Tree.Supervisor.RestartsUsed; n != 0 {
		t.Errorf("%d restarts", n)
	}
}

// A connection that is closed for good ends Run with an error that says so,
// and calls that wait fail at once.
func TestConnectionClosed(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	began, block := make(chan struct{}), make(chan struct{})
	nc := srv.Connect(t)
	svc, err := service.New(nc, service.Config{Name: "billing", Logger: quiet()},
		service.Handle("quote", price),
		service.Handle("hang", func(context.Context, int) (int, error) { close(began); <-block; return 0, nil }))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(t.Context()) }()
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().State == service.StateReady }, "ready")
	cnc := srv.Connect(t)
	cl, err := service.NewClient(cnc, service.ClientConfig{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-began
		cnc.Close()
	}()
	if _, err := service.Call[int](t.Context(), cl, "billing.hang", 1); service.CodeOf(err) != service.CodeCanceled || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := service.Call[int](t.Context(), cl, "billing.hang", 1); service.CodeOf(err) != service.CodeUnavailable || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
	close(block)
	nc.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on")
	}
	if err := svc.Run(t.Context()); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
}

// Close waits for the calls under way, then refuses; those that outlast it end.
func TestClientClose(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	began, block := make(chan struct{}, 2), make(chan struct{})
	start(t, srv.Connect(t), service.Config{Name: "slow"},
		service.Handle("wait", func(context.Context, int) (int, error) { began <- struct{}{}; <-block; return 7, nil }))
	unused, err := service.NewClient(nc, service.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unused.Close(t.Context()); err != nil {
		t.Error(err)
	}
	waits, gives := newClient(t, nc, service.ClientConfig{}), newClient(t, nc, service.ClientConfig{})
	results := make(chan error, 1)
	for _, cl := range []*service.Client{gives, waits} {
		go func() {
			_, err := service.Call[int](t.Context(), cl, "slow.wait", 1)
			results <- err
		}()
		<-began
		if cl == gives {
			short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := cl.Close(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("close: %v", err)
			}
			cancel()
			if err := <-results; !errors.Is(err, service.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- waits.Close(t.Context()) }()
	testserver.Eventually(t, 5*time.Second, func() bool {
		_, err := service.Call[int](t.Context(), waits, "slow.none", 1)
		return errors.Is(err, service.ErrClosed)
	}, "new calls are refused")
	close(block)
	if err := errors.Join(<-closed, <-results, waits.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// What the server does not permit is said at the start, and at a timeout.
func TestPermissions(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(`authorization { users: [
		{ user: all, password: p }
		{ user: none, password: p, permissions: { publish: ["_INBOX.>"], subscribe: ["_INBOX.>"] } }
	] }`), testserver.Client(nats.UserInfo("all", "p")))
	nc := srv.Connect(t, nats.UserInfo("none", "p"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	svc, err := service.New(nc, service.Config{Name: "billing", Logger: quiet()}, service.Handle("quote", price))
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Run(t.Context()); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("got %v", err)
	}
	cl := newClient(t, nc, service.ClientConfig{Timeout: 50 * time.Millisecond})
	if _, err := service.Call[quote](t.Context(), cl, "other.quote", nil); service.CodeOf(err) != service.CodeDeadlineExceeded || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("got %v", err)
	}
}

// A call that is under way when the connection breaks gets its reply over the
// next one.
func TestReplyAfterReconnect(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	began, block := make(chan struct{}), make(chan struct{})
	snc, cnc := srv.Connect(t), srv.Connect(t)
	start(t, snc, service.Config{Name: "slow"},
		service.Handle("wait", func(context.Context, int) (int, error) { close(began); <-block; return 7, nil }))
	cl := newClient(t, cnc, service.ClientConfig{Timeout: 20 * time.Second})
	replied := make(chan error, 1)
	go func() {
		n, err := service.Call[int](t.Context(), cl, "slow.wait", 1)
		if err == nil && n != 7 {
			err = errors.New("another's reply")
		}
		replied <- err
	}()
	<-began
	srv.Shutdown()
	testserver.Eventually(t, 5*time.Second, func() bool { return !cnc.IsConnected() && !snc.IsConnected() }, "connections are lost")
	srv.Restart(t)
	testserver.Eventually(t, 5*time.Second, func() bool {
		return cnc.IsConnected() && snc.IsConnected() && cnc.Flush() == nil && snc.Flush() == nil
	}, "connections are back")
	close(block)
	if err := <-replied; err != nil {
		t.Error(err)
	}
}
