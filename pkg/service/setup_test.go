package service_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// quoteRequest and quote are what most tests ask for.
type quoteRequest struct {
	SKU string `json:"sku"`
	Qty int    `json:"qty"`
}

type quote struct {
	SKU   string `json:"sku"`
	Cents int    `json:"cents"`
}

func price(_ context.Context, r quoteRequest) (quote, error) {
	if r.SKU == "" {
		return quote{}, service.Errorf(service.CodeInvalidArgument, "sku is empty")
	}
	return quote{SKU: r.SKU, Cents: 100 * r.Qty}, nil
}

// quiet is for services whose errors a test provokes.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// running is a service in a test, and how to stop it.
type running struct {
	*service.Service
	stop func() error // ends Run and gives its error; safe to call again
}

// start runs a service until the test ends, and waits until it is ready.
func start(t *testing.T, nc *nats.Conn, cfg service.Config, parts ...service.Part) *running {
	t.Helper()
	svc, err := service.New(nc, cfg, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, svc)
}

func run(t *testing.T, svc *service.Service) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			t.Error("Run did not end within 20s")
			return nil
		}
	})
	t.Cleanup(func() { _ = stop() })
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().State == service.StateReady },
		"service %s is not ready", svc.Status().Name)
	return &running{Service: svc, stop: stop}
}

func newClient(t *testing.T, nc *nats.Conn, cfg service.ClientConfig) *service.Client {
	t.Helper()
	cl, err := service.NewClient(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := cl.Close(ctx); err != nil && !nc.IsClosed() {
			t.Errorf("close client: %v", err)
		}
	})
	return cl
}

// newRequest is a bare request with headers, empty ones left out.
func newRequest(subject string, headers ...string) *nats.Msg {
	m := &nats.Msg{Subject: subject, Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			m.Header[headers[i]] = []string{headers[i+1]}
		}
	}
	return m
}
