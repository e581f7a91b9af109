package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

type OrderPlaced struct {
	OrderID  string `json:"order_id"`
	Currency string `json:"currency"`
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

// billing is a group that does not know the yen until it is mended.
func billing(ctx context.Context, js jetstream.JetStream, mended *atomic.Bool, handled chan<- string) <-chan error {
	c, err := consume.New(js, consume.Config{
		Group: "billing", MaxAttempts: 1, Logger: slog.New(slog.DiscardHandler),
		// Card numbers stay in EVENTS and never reach DEAD.
		Redact: func(l *consume.Letter) { l.Header.Del("card-number") },
	}, consume.On(func(_ context.Context, e envelope.Event[OrderPlaced]) error {
		if e.Data.Currency == "JPY" && !mended.Load() {
			return errors.New("currency JPY is not known")
		}
		handled <- fmt.Sprintf("%s handled after %d replay", e.Data.OrderID, e.Delivery.Replays)
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return done
}

// await waits for the dead letters of the example.
func await(ctx context.Context, letters *deadletter.Client, n int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		plan, err := letters.Plan(ctx, deadletter.Filter{})
		if err == nil && plan.Eligible == n {
			return
		}
	}
}

func Example() {
	js, stop := connect()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	var mended atomic.Bool
	handled := make(chan string, 1)
	done := billing(ctx, js, &mended, handled)
	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := pub.Publish(ctx, OrderPlaced{OrderID: "o-1", Currency: "JPY"}); err != nil {
		log.Fatal(err)
	}

	letters, err := deadletter.New(js, deadletter.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	await(ctx, letters, 1)
	filter := deadletter.Filter{Group: "billing", Type: "shop.>", Reason: deadletter.ReasonExhausted}
	for l, err := range letters.List(ctx, filter) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s/%s gave up %s: %s\n", l.Group, l.Subscription, l.Key, l.Error)
	}
	mended.Store(true)
	for r, err := range letters.Replay(ctx, filter) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("replayed to", r.Stream, "skipped:", r.Skipped)
	}
	fmt.Println(<-handled)

	cancel()
	if err := errors.Join(<-done, pub.Close(context.Background())); err != nil {
		log.Fatal(err)
	}
	// Output:
	// billing/shop-order-placed-v1 gave up o-1: currency JPY is not known
	// replayed to RETRY_billing skipped: <nil>
	// o-1 handled after 1 replay
}

func ExampleClient_Count() {
	js, stop := connect()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	done := billing(ctx, js, new(atomic.Bool), make(chan string, 1))
	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		if _, err := pub.Publish(ctx, OrderPlaced{OrderID: fmt.Sprint("o-", i), Currency: "JPY"}); err != nil {
			log.Fatal(err)
		}
	}
	letters, err := deadletter.New(js, deadletter.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	await(ctx, letters, 3)
	counts, err := letters.Count(ctx, deadletter.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range counts {
		fmt.Println(c.Group, c.Type, c.Reason, c.Letters)
	}
	discarded := 0
	for _, err := range letters.Discard(ctx, deadletter.Filter{Key: "o-1"}) {
		if err != nil {
			log.Fatal(err)
		}
		discarded++
	}
	fmt.Println("discarded", discarded)
	cancel()
	if err := errors.Join(<-done, pub.Close(context.Background())); err != nil {
		log.Fatal(err)
	}
	// Output:
	// billing shop.order.placed.v1 exhausted 3
	// discarded 1
}

func ExampleClient_Export() {
	js, stop := connect()
	defer stop()
	letters, err := deadletter.New(js, deadletter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	// What natsctl publish --file takes back.
	for r, err := range letters.Export(context.Background(), os.Stdout, deadletter.Filter{Group: "billing"}) {
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			fmt.Println("no group has made the stream of dead letters yet")
		case err != nil:
			log.Fatal(err)
		case r.Skipped != nil:
			fmt.Fprintln(os.Stderr, r.Skipped)
		}
	}
	// Output:
	// no group has made the stream of dead letters yet
}
