package demo

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

// settings are those of all services of the shop.
func settings(name, instance, version, description string, tell func(record), log *slog.Logger) service.Config {
	return service.Config{
		Name: name, Instance: instance, Version: version, Description: description,
		Consume: consume.Config{
			AckWait: ackWait, MaxAttempts: maxAttempts, FirstDelay: firstDelay, Concurrency: concurrency,
			Middleware: []consume.Middleware{recorder(instance, tell)},
		},
		DrainTimeout: 10 * time.Second,
		Admin:        true, // so that all of natsctl can be tried on the shop
		Logger:       log,
	}
}

// notifyShop is the service that tells customers that they have paid.
type notifyShop struct {
	svc    *service.Service
	mailer *mailer
}

func newNotify(nc *nats.Conn, tell func(record), log *slog.Logger) (*notifyShop, error) {
	n := &notifyShop{mailer: &mailer{broken: make(chan error, 1)}}
	var err error
	n.svc, err = service.New(nc, settings(notify, "notify-1", "1.0.0", "tells customers", tell, log),
		service.On(func(context.Context, envelope.Event[paymentCaptured]) error { return nil }),
		service.Add("mailer", n.mailer),
	)
	return n, err
}

// mailer stands for a child of a service that does work of its own, such as
// holding a connection to a mail server. It fails when it is told to.
type mailer struct{ broken chan error }

// Run implements supervise.Runner.
func (m *mailer) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.broken:
		return err
	}
}

// ordersShop is the service that takes orders and knows their state.
type ordersShop struct {
	svc  *service.Service
	till *till

	mu     sync.Mutex
	states map[string]string // by order id
}

func newOrders(nc *nats.Conn, p pace, seed uint64, tell func(record), log *slog.Logger) (*ordersShop, error) {
	o := &ordersShop{states: map[string]string{}}
	o.till = newTill(o, p, seed)
	var err error
	o.svc, err = service.New(nc, settings(orders, "orders-1", "1.0.0", "takes orders and knows their state", tell, log),
		service.On(o.paid),
		service.Handle("status", o.status),
		service.Add("till", o.till),
	)
	return o, err
}

func (o *ordersShop) paid(_ context.Context, e envelope.Event[paymentCaptured]) error {
	o.set(e.Data.OrderID, "paid")
	return nil
}

func (o *ordersShop) set(orderID, state string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states[orderID] = state
}

func (o *ordersShop) status(_ context.Context, r statusRequest) (status, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	state, ok := o.states[r.OrderID]
	if !ok {
		return status{}, service.Errorf(service.CodeNotFound, "no order %q", r.OrderID)
	}
	return status{OrderID: r.OrderID, State: state}, nil
}

// till places orders: one now and then, and those that the story asks for. It
// runs as a child of the service.
type till struct {
	shop  *ordersShop
	asked chan request
	tick  *time.Ticker

	mu     sync.Mutex
	rng    *rand.Rand
	number int
}

// request asks the till for an order.
type request struct {
	order  orderPlaced
	placed chan placed
}

// placed is an order that is in the stream.
type placed struct {
	orderID string
	event   identity
	err     error
}

func newTill(shop *ordersShop, p pace, seed uint64) *till {
	t := &till{
		shop: shop, asked: make(chan request), tick: time.NewTicker(p.orderEvery),
		rng: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // amounts of a demo
	}
	t.tick.Stop() // until the story opens the till
	return t
}

// open begins the steady flow of orders, close ends it.
func (t *till) open(every time.Duration) { t.tick.Reset(every) }
func (t *till) close()                   { t.tick.Stop() }

// Run places orders until ctx ends.
func (t *till) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.tick.C:
			if p := t.place(ctx, orderPlaced{}); p.err != nil && ctx.Err() == nil {
				return p.err
			}
		case r := <-t.asked:
			r.placed <- t.place(ctx, r.order)
		}
	}
}

func (t *till) place(ctx context.Context, o orderPlaced) placed {
	t.mu.Lock()
	t.number++
	o.OrderID = "o-" + strconv.Itoa(t.number)
	o.Cents = 100 + t.rng.Int64N(9900)
	t.mu.Unlock()
	if o.Currency == "" {
		o.Currency = "EUR"
	}
	t.shop.set(o.OrderID, "placed")
	ack, err := t.shop.svc.Publisher().Publish(ctx, o)
	return placed{orderID: o.OrderID, event: identity{sourceOrders, ack.ID}, err: err}
}

// order places n orders like o, and returns when they are in the stream.
func (t *till) order(ctx context.Context, n int, o orderPlaced) ([]placed, error) {
	all := make([]placed, 0, n)
	for range n {
		r := request{order: o, placed: make(chan placed, 1)}
		select {
		case t.asked <- r:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		p := <-r.placed
		if p.err != nil {
			return nil, fmt.Errorf("place order %s: %w", p.orderID, p.err)
		}
		all = append(all, p)
	}
	return all, nil
}
