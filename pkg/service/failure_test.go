package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// logged is a log that a test reads.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// What a handler did not classify stays in the service: the caller gets an id,
// by which the log has the cause, and of a panic the stack.
func TestInternalErrorsDoNotLeak(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	var log logged
	var cl *service.Client
	const secret = "password=hunter2"
	svc := start(t, nc, service.Config{Name: "billing", Logger: log.logger()},
		service.Handle("error", func(context.Context, int) (int, error) { return 0, errors.New(secret) }),
		service.Handle("panic", func(context.Context, int) (int, error) { panic(secret) }),
		service.Handle("nil", func(context.Context, *quote) (int, error) { var q *quote; return q.Cents, nil }),
		service.Handle("goexit", func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil }),
		service.Handle("json", func(context.Context, int) (any, error) { return func() {}, nil }),
		service.Handle("foreign", func(ctx context.Context, _ int) (int, error) {
			return service.Call[int](ctx, cl, "billing.notfound", 1)
		}),
		service.Handle("notfound", func(context.Context, int) (int, error) {
			return 0, service.Errorf(service.CodeNotFound, "%s", secret)
		}),
	)
	cl = newClient(t, nc, service.ClientConfig{})
	for _, endpoint := range []string{"error", "panic", "nil", "goexit", "json", "foreign"} {
		for range 70 { // more than there are places: none is lost
			_, err := service.Call[int](t.Context(), cl, "billing."+endpoint, nil)
			var e *service.Error
			if !errors.As(err, &e) || e.Code != service.CodeInternal || e.ID == "" || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("%s: %v", endpoint, err)
			}
			if !strings.Contains(log.String(), e.ID) {
				t.Errorf("%s: id %s is not in the log", endpoint, e.ID)
			}
		}
	}
	text := log.String()
	for _, want := range []string{secret, "goroutine ", "failure_test.go", "Goexit", "unsupported type", "nil pointer"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	testserver.Eventually(t, 5*time.Second, func() error {
		for _, e := range svc.Status().Endpoints {
			if e.Running != 0 || e.Name != "notfound" && (e.Errors != 70 || e.Handled != 70 || e.LastError == "") {
				return fmt.Errorf("%+v", e)
			}
		}
		return nil
	}, "counts")
}

// Beyond the places and the line a caller is refused at once; the others are
// served when there is room.
func TestOverload(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	block := make(chan struct{})
	svc := start(t, srv.Connect(t), service.Config{Name: "slow", Logger: quiet()},
		service.Handle("wait", func(context.Context, int) (int, error) { <-block; return 1, nil },
			service.WithConcurrency(2), service.WithQueue(3)))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Timeout: 20 * time.Second, Attempts: 1})
	results := make(chan error, 20)
	for range cap(results) {
		go func() {
			_, err := service.Call[int](t.Context(), cl, "slow.wait", 1)
			results <- err
		}()
	}
	for range cap(results) - 5 {
		err := <-results
		if service.CodeOf(err) != service.CodeUnavailable || !service.IsRemote(err) {
			t.Fatalf("got %v", err)
		}
	}
	if e := svc.Status().Endpoints[0]; e.Running != 2 || e.Waiting != 3 || e.Refused != 15 {
		t.Errorf("%+v", e)
	}
	close(block)
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// Handlers run side by side: micro would need 64 times as long.
func TestHandlersRunConcurrently(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var all sync.WaitGroup
	all.Add(service.DefaultConcurrency)
	start(t, srv.Connect(t), service.Config{Name: "slow"},
		service.Handle("meet", func(context.Context, int) (int, error) {
			all.Done()
			all.Wait() // returns once all of them are here
			return 1, nil
		}))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Timeout: 20 * time.Second})
	var wg sync.WaitGroup
	for range service.DefaultConcurrency {
		wg.Go(func() {
			if _, err := service.Call[int](t.Context(), cl, "slow.meet", 1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
