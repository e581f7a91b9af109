package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

const patience = 20 * time.Second

// It does what the README says of it.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, s.URL()) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	js := s.JetStream(t)
	cl, err := service.NewClient(js.Conn(), service.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, patience, func() error {
		q, err := service.Call[Quote](t.Context(), cl, "billing.quote", QuoteRequest{Quantity: 2})
		if err == nil && q.Cents != 2500 {
			t.Errorf("quote: %+v", q)
		}
		return err
	}, "billing answers")
	if _, err := service.Call[Quote](t.Context(), cl, "billing.quote", QuoteRequest{}); service.CodeOf(err) != service.CodeInvalidArgument {
		t.Errorf("call without a quantity: %v", err)
	}

	pub, err := publish.New(js, publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pub.Publish(t.Context(), OrderPlaced{OrderID: "o-1"}); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, patience, func() error {
		durable, err := js.Consumer(t.Context(), "EVENTS", "billing_shop-order-placed-v1")
		if err != nil {
			return err
		}
		if info := durable.CachedInfo(); info.AckFloor.Consumer != 1 || info.NumAckPending != 0 {
			return fmt.Errorf("acknowledged: %d, pending: %d", info.AckFloor.Consumer, info.NumAckPending)
		}
		return nil
	}, "the order is acknowledged")
	if err := pub.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := cl.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// The README shows this program as it is.
func TestReadmeShowsIt(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(program), "\npackage main\n")
	if !strings.Contains(string(readme), "```go\npackage main\n"+code+"```") {
		t.Error("README.md does not hold examples/quickstart/main.go from its package clause on")
	}
}
