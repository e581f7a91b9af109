package service_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func hangHere(release <-chan struct{}) { <-release }

// hanging is a service whose only place a handler can take for ever.
type hanging struct {
	*running
	nc             *nats.Conn
	cl             *service.Client
	log            *safeBuffer
	began, release chan struct{}
}

func startHanging(t *testing.T) hanging {
	t.Helper()
	srv := testserver.Start(t)
	h := hanging{nc: srv.Connect(t), log: &safeBuffer{}, began: make(chan struct{}), release: make(chan struct{})}
	h.running = start(t, srv.Connect(t), service.Config{Name: "billing", Logger: slog.New(slog.NewTextHandler(h.log, nil))},
		service.Handle("quote", func(_ context.Context, hang bool) (string, error) {
			if hang {
				h.began <- struct{}{}
				hangHere(h.release)
			}
			return "fine", nil
		}, service.WithConcurrency(1), service.WithQueue(5)))
	h.cl = newClient(t, h.nc, service.ClientConfig{Timeout: 10 * time.Second})
	return h
}

// hang sends a request whose time is soon up, and waits until it hangs.
func (h *hanging) hang(t *testing.T) {
	t.Helper()
	m := newRequest("rpc.billing.quote", service.HeaderTimeout, "50")
	m.Data = []byte("true")
	if err := h.nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	<-h.began
}

// call is served once the only place is free.
func (h *hanging) call(t *testing.T) error {
	t.Helper()
	got, err := service.Call[string](t.Context(), h.cl, "billing.quote", false)
	if err == nil && got != "fine" {
		err = errors.New("the result is " + got)
	}
	return err
}

// end releases the handlers and stops the service.
func (h *hanging) end(t *testing.T) {
	t.Helper()
	close(h.release)
	if err := h.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestHungHandlerLosesItsPlace(t *testing.T) {
	t.Parallel()
	h := startHanging(t)
	h.hang(t)
	if err := h.call(t); err != nil {
		t.Error(err)
	}
	if e := h.Status().Endpoints[0]; e.Hung != 1 {
		t.Errorf("%+v", e)
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return strings.Contains(h.log.String(), "hangHere") },
		"the log names where it hangs")
	h.end(t)
}

func TestTooManyHungHandlersFailTheEndpoint(t *testing.T) {
	t.Parallel()
	h := startHanging(t)
	h.hang(t)
	testserver.Eventually(t, 10*time.Second, func() bool { return h.Status().Endpoints[0].Hung == 1 }, "given up")
	h.hang(t)
	testserver.Eventually(t, 15*time.Second, func() error {
		st := h.Status()
		if node := st.Tree.Find("billing/calls/quote"); node == nil || node.Restarts == 0 {
			return errors.New("the endpoint was not restarted")
		}
		return h.call(t)
	}, "not restarted")
	h.end(t)
}
