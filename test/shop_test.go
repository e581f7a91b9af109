package test_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

type orderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (orderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (o orderPlaced) EventKey() string { return o.OrderID }

type quoteRequest struct {
	SKU string `json:"sku"`
}

type quote struct {
	Cents int64 `json:"cents"`
}

// shop is an Agner service on a server that foreign programs reach, and a
// publisher beside it.
type shop struct {
	url       string
	nc        *nats.Conn
	publisher *publish.Publisher
	service   *service.Service
	ended     chan error // how handlers of slow ended

	mu      sync.Mutex
	handled []envelope.Event[orderPlaced]
}

func openShop(t *testing.T) *shop {
	t.Helper()
	srv := testserver.Start(t, testserver.Listen())
	s := &shop{url: srv.URL(), nc: srv.Connect(t), ended: make(chan error, 10)}
	pub, err := publish.New(srv.JetStream(t), publish.Config{Source: "/shop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pub.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s.publisher = pub
	s.service, err = service.New(s.nc, service.Config{
		Name: "billing", Version: "1.2.0", Instance: "b1", Description: "sends bills",
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	},
		service.On(s.handle),
		service.Handle("quote", quoteFor, service.WithIdempotent()),
		service.Handle("slow", func(ctx context.Context, _ quoteRequest) (quote, error) {
			<-ctx.Done()
			s.ended <- ctx.Err()
			return quote{}, ctx.Err()
		}))
	if err != nil {
		t.Fatal(err)
	}
	s.run(t)
	return s
}

func (s *shop) handle(_ context.Context, e envelope.Event[orderPlaced]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handled = append(s.handled, e)
	return nil
}

func quoteFor(_ context.Context, req quoteRequest) (quote, error) {
	if req.SKU == "" {
		return quote{}, service.Errorf(service.CodeInvalidArgument, "sku is missing")
	}
	if req.SKU == "burnt" {
		return quote{}, errors.New("the secret is 42")
	}
	return quote{Cents: 100 * int64(len(req.SKU))}, nil
}

// run runs the service until the test ends and returns when it is ready.
func (s *shop) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.service.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	testserver.Eventually(t, patience, func() bool { return s.service.Status().State == service.StateReady }, "the service is not ready")
}

// waitHandled waits until n events were handled and returns them by id.
func (s *shop) waitHandled(t *testing.T, n int) map[string]envelope.Event[orderPlaced] {
	t.Helper()
	count := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.handled) >= n
	}
	testserver.Eventually(t, patience, count, "%d events were to be handled", n)
	s.mu.Lock()
	defer s.mu.Unlock()
	byID := make(map[string]envelope.Event[orderPlaced], n)
	for _, e := range slices.Clone(s.handled) {
		byID[e.ID] = e
	}
	if len(byID) != n || len(s.handled) != n {
		t.Fatalf("%d events with %d ids were handled, want %d", len(s.handled), len(byID), n)
	}
	return byID
}
