// Command quickstart is a whole service: it handles an event and answers a call.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

type OrderPlaced struct {
	OrderID string `json:"order_id"`
}

func (OrderPlaced) EventType() string { return "shop.order.placed.v1" }

type QuoteRequest struct{ Quantity int64 }

type Quote struct{ Cents int64 }

func charge(ctx context.Context, e envelope.Event[OrderPlaced]) error {
	fmt.Println("charged order", e.Data.OrderID)
	return nil // acknowledged; an error is retried with backoff, then a dead letter
}

func quote(ctx context.Context, r QuoteRequest) (Quote, error) {
	if r.Quantity < 1 {
		return Quote{}, service.Errorf(service.CodeInvalidArgument, "quantity is less than 1")
	}
	return Quote{Cents: 1250 * r.Quantity}, nil
}

func run(ctx context.Context, url string) error {
	nc, err := service.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer nc.Close()
	svc, err := service.New(nc, service.Config{Name: "billing"},
		service.On(charge),             // a durable subscription of the group "billing"
		service.Handle("quote", quote), // the endpoint billing.quote
	)
	if err != nil {
		return err
	}
	return svc.Run(ctx) // until ctx ends; then it drains
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
