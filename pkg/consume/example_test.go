package consume_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

type OrderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (OrderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e OrderPlaced) EventKey() string { return e.OrderID }

// connect stands for nats.Connect and jetstream.New: the examples bring their
// own server.
func connect() (js jetstream.JetStream, stop func()) {
	server, err := embedded.Start(embedded.Config{NoListen: true})
	if err != nil {
		log.Fatal(err)
	}
	nc, err := embedded.ConnectInProcess(server)
	if err != nil {
		log.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		log.Fatal(err)
	}
	return js, func() {
		nc.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}

func place(ctx context.Context, js jetstream.JetStream, orders ...OrderPlaced) {
	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range orders {
		if _, err := pub.Publish(ctx, o, publish.WithID(o.OrderID)); err != nil {
			log.Fatal(err)
		}
	}
	if err := pub.Close(ctx); err != nil {
		log.Fatal(err)
	}
}

func Example() {
	js, stop := connect()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	place(ctx, js, OrderPlaced{OrderID: "o-1", Cents: 500})

	c, err := consume.New(js, consume.Config{Group: "billing"},
		consume.On(func(_ context.Context, e envelope.Event[OrderPlaced]) error {
			fmt.Printf("charge %d cents for %s, attempt %d\n", e.Data.Cents, e.Data.OrderID, e.Delivery.Attempt)
			cancel() // one is enough for an example
			return nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stopped:", c.Run(ctx))
	// Output:
	// charge 500 cents for o-1, attempt 1
	// stopped: <nil>
}

func ExampleDeadLetter() {
	js, stop := connect()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	place(ctx, js, OrderPlaced{OrderID: "", Cents: 1}, OrderPlaced{OrderID: "o-2", Cents: 500})

	left := 2
	c, err := consume.New(js, consume.Config{Group: "billing", Logger: slog.New(slog.DiscardHandler)},
		consume.On(func(_ context.Context, e envelope.Event[OrderPlaced]) error {
			if left--; left == 0 {
				defer cancel()
			}
			if e.Data.OrderID == "" {
				return consume.DeadLetter(errors.New("order without id"))
			}
			return nil
		}, consume.WithConcurrency(1)))
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	s := c.Status().Subscriptions[0]
	fmt.Println("handled", s.Handled, "dead", s.Dead)
	// Output: handled 1 dead 1
}

func ExampleOnEvent() {
	js, stop := connect()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	place(ctx, js, OrderPlaced{OrderID: "o-1", Cents: 500})

	c, err := consume.New(js, consume.Config{Group: "audit"},
		consume.OnEvent("shop.>", func(_ context.Context, e envelope.Raw) error {
			fmt.Printf("%s from %s: %s\n", e.Type, e.Source, e.Data)
			cancel()
			return nil
		}, consume.WithName("everything")))
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: shop.order.placed.v1 from /shop/checkout: {"order_id":"o-1","cents":500}
}

// A middleware sees every run of a handler.
func ExampleMiddleware() {
	js, stop := connect()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	place(ctx, js, OrderPlaced{OrderID: "o-1", Cents: 500})

	announce := func(next consume.HandlerFunc) consume.HandlerFunc {
		return func(ctx context.Context, e envelope.Raw) error {
			fmt.Println("begin", e.Key)
			err := next(ctx, e)
			fmt.Println("end", e.Key, err)
			return err
		}
	}
	c, err := consume.New(js, consume.Config{Group: "billing", Middleware: []consume.Middleware{announce}},
		consume.On(func(context.Context, envelope.Event[OrderPlaced]) error {
			fmt.Println("charge")
			cancel()
			return nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// begin o-1
	// charge
	// end o-1 <nil>
}
