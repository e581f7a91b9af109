package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

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
func hanging(t *testing.T) (svc *running, cl *service.Client, log *safeBuffer, release chan struct{}) {
	t.Helper()
	srv := testserver.Start(t)
	release, log = make(chan struct{}), &safeBuffer{}
	svc = start(t, srv.Connect(t), service.Config{Name: "billing", Logger: slog.New(slog.NewTextHandler(log, nil))},
		service.Handle("quote", func(_ context.Context, hang bool) (string, error) {
			if hang {
				hangHere(release)
			}
			return "fine", nil
		}, service.WithConcurrency(1), service.WithQueue(5)))
	return svc, newClient(t, srv.Connect(t), service.ClientConfig{Timeout: 10 * time.Second}), log, release
}

func callThatHangs(t *testing.T, cl *service.Client, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := service.Call[string](ctx, cl, "billing.quote", true); err == nil {
		t.Error("a call to a handler that hangs succeeded")
	}
}

func TestHungHandlerLosesItsPlace(t *testing.T) {
	t.Parallel()
	svc, cl, log, release := hanging(t)
	callThatHangs(t, cl, 100*time.Millisecond)
	// The only place is taken by the one that hangs, until it is given up.
	if got, err := service.Call[string](t.Context(), cl, "billing.quote", false); err != nil || got != "fine" {
		t.Errorf("call = %q, %v", got, err)
	}
	if e := svc.Status().Endpoints[0]; e.Hung != 1 {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(log.String(), "hangHere") {
		t.Errorf("the log does not name where it hangs: %s", log.String())
	}
	close(release)
	if err := svc.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestTooManyHungHandlersFailTheEndpoint(t *testing.T) {
	t.Parallel()
	svc, cl, _, release := hanging(t)
	callThatHangs(t, cl, 3*time.Second)
	callThatHangs(t, cl, 3*time.Second)
	testserver.Eventually(t, 15*time.Second, func() error {
		st := svc.Status()
		if node := st.Tree.Find("billing/calls/quote"); node == nil || node.Restarts == 0 {
			return errors.New("the endpoint was not restarted")
		}
		if got, err := service.Call[string](t.Context(), cl, "billing.quote", false); err != nil || got != "fine" {
			return fmt.Errorf("call = %q, %w", got, err)
		}
		return nil
	}, "not restarted")
	close(release)
	if err := svc.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}
