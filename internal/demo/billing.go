package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

// Versions of billing: the second one knows one currency more.
const (
	billingBroken = "1.0.0"
	billingFixed  = "1.1.0"
)

// BillingConfig is what a billing process is started with.
type BillingConfig struct {
	Server   string // URL
	Instance string
	Version  string
	Fast     bool
	Logger   *slog.Logger
}

// RunBilling is the billing process: it serves until ctx ends or in, which the
// parent holds open, comes to its end, and tells on out of each run of its
// handler.
func RunBilling(ctx context.Context, cfg BillingConfig, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // however it ends, the parent wants us to stop or is gone
		cancel()
	}()
	nc, err := service.Connect(ctx, cfg.Server, nats.Name("demo "+cfg.Instance))
	if err != nil {
		return err
	}
	defer nc.Close()
	tell := lineWriter(out)
	b := &billingShop{instance: cfg.Instance, version: cfg.Version, work: paceFor(cfg.Fast).work}
	b.svc, err = service.New(nc, settings(billing, cfg.Instance, cfg.Version, "charges orders", tell, cfg.Logger),
		service.On(b.charge),
		service.Handle("quote", b.quote),
	)
	if err != nil {
		return err
	}
	running := make(chan error, 1)
	go func() { running <- b.svc.Run(ctx) }()
	if awaitReady(ctx, b.svc) == nil {
		tell(record{What: stateReady, Group: billing, Instance: cfg.Instance})
	}
	return <-running
}

// awaitReady waits until a service takes events and calls.
func awaitReady(ctx context.Context, svc *service.Service) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for svc.Status().State != service.StateReady {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// billingShop charges orders.
type billingShop struct {
	svc               *service.Service
	instance, version string
	work              time.Duration
}

var errCurrency = errors.New("currency is not known")

func (b *billingShop) charge(ctx context.Context, e envelope.Event[orderPlaced]) error {
	if e.Data.Simulate == "panic" && e.Delivery.Attempt == 1 {
		var terminal *time.Timer
		terminal.Reset(0) // a bug like many: nobody has made the thing
	}
	if err := b.knows(e.Data.Currency); err != nil {
		return err
	}
	work := time.NewTimer(b.work/2 + rand.N(b.work)) //nolint:gosec // work takes its time
	defer work.Stop()
	select {
	case <-work.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	currency := e.Data.Currency
	if currency == "" {
		currency = "EUR"
	}
	// The payment's id follows from the order's: should this run twice, for
	// instance because the process is killed before the event is acknowledged,
	// the stream stores one payment.
	_, err := b.svc.Publisher().Publish(ctx,
		paymentCaptured{OrderID: e.Data.OrderID, Cents: e.Data.Cents, Currency: currency},
		publish.WithID("pay-"+e.ID))
	return err
}

func (b *billingShop) knows(currency string) error {
	switch {
	case currency == "" || currency == "EUR":
		return nil
	case currency == "JPY" && b.version == billingFixed:
		return nil
	}
	return fmt.Errorf("%w: %.10q", errCurrency, currency)
}

func (b *billingShop) quote(_ context.Context, r quoteRequest) (quote, error) {
	if r.SKU == "" || r.Quantity < 1 {
		return quote{}, service.Errorf(service.CodeInvalidArgument, "a quote needs sku and quantity")
	}
	return quote{SKU: r.SKU, Cents: 1250 * r.Quantity, Currency: "EUR", Instance: b.instance}, nil
}
