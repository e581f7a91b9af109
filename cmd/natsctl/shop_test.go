package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

type orderPlaced struct {
	OrderID string `json:"order_id"`
}

func (orderPlaced) EventType() string { return "shop.order.placed.v1" }

type quoteRequest struct {
	SKU string `json:"sku"`
}

type quote struct {
	SKU   string `json:"sku"`
	Cents int    `json:"cents"`
}

// shop [NAMESPACE] runs the service billing, instances billing-1 and billing-2,
// on the script's server.
func cmdShop(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	namespace := ""
	if len(args) > 0 {
		namespace = args[0]
	}
	for _, instance := range []string{"billing-1", "billing-2"} {
		svc, err := service.New(b.nc, service.Config{
			Name: "billing", Instance: instance, Version: "1.2.3", Namespace: namespace,
			Logger: slog.New(slog.DiscardHandler),
		},
			service.On(func(context.Context, envelope.Event[orderPlaced]) error { return nil }),
			service.Handle("quote", priceOf),
			service.Handle("slow", func(ctx context.Context, _ quoteRequest) (quote, error) {
				<-ctx.Done()
				return quote{}, ctx.Err()
			}),
		)
		ts.Check(err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- svc.Run(ctx) }()
		b.stop = append(b.stop, func() {
			cancel()
			if err := <-done; err != nil {
				b.t.Errorf("%s: %v", instance, err)
			}
		})
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for svc.Status().State != service.StateReady {
			<-tick.C
		}
	}
}

func priceOf(_ context.Context, r quoteRequest) (quote, error) {
	switch r.SKU {
	case "":
		return quote{}, service.Errorf(service.CodeInvalidArgument, "sku is empty")
	case "none":
		return quote{}, service.Errorf(service.CodeNotFound, "no such sku")
	case "bug":
		return quote{}, errors.New("a secret of the house")
	}
	return quote{SKU: r.SKU, Cents: 100}, nil
}
