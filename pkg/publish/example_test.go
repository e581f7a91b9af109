package publish_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

type OrderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (OrderPlaced) EventType() string  { return "shop.order.placed.v1" } // required
func (e OrderPlaced) EventKey() string { return e.OrderID }              // optional: ordering and partition key

// connect stands for nats.Connect and jetstream.New: the examples bring their
// own server.
func connect() (js jetstream.JetStream, stop func()) {
	server, err := embedded.Start(embedded.Config{NoListen: true})
	if err != nil {
		panic(err)
	}
	nc, err := embedded.ConnectInProcess(server)
	if err != nil {
		panic(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		panic(err)
	}
	return js, func() {
		nc.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			panic(err)
		}
	}
}

func ExamplePublisher_Publish() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	// It returns once the stream has stored the event.
	ack, err := pub.Publish(ctx, OrderPlaced{OrderID: "o-1", Cents: 500}, publish.WithID("checkout-17"))
	fmt.Println(ack.Stream, ack.Sequence, ack.Duplicate, err)

	// The same id again, as after a crash between publishing and noting it.
	ack, err = pub.Publish(ctx, OrderPlaced{OrderID: "o-1", Cents: 500}, publish.WithID("checkout-17"))
	fmt.Println(ack.Stream, ack.Sequence, ack.Duplicate, err)

	// Output:
	// EVENTS 1 false <nil>
	// EVENTS 1 true <nil>
}

func ExamplePublisher_PublishAsync() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/import"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var futures []*publish.Future
	for i := range 3 {
		futures = append(futures, pub.PublishAsync(ctx, OrderPlaced{OrderID: fmt.Sprintf("o-%d", i)}))
	}
	for _, f := range futures {
		if _, err := f.Wait(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("stored", len(futures))

	// Close waits for whatever is still in flight.
	fmt.Println(pub.Close(ctx))

	// Output:
	// stored 3
	// <nil>
}

func ExamplePublisher_PublishBatch() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	// All or none.
	acks, err := pub.PublishBatch(ctx, []envelope.Payload{
		OrderPlaced{OrderID: "o-1", Cents: 500},
		OrderPlaced{OrderID: "o-2", Cents: 700},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, ack := range acks {
		fmt.Println(ack.Stream, ack.Sequence)
	}

	// Output:
	// EVENTS 1
	// EVENTS 2
}

func ExamplePublisher_PublishEvent() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/gateway"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	// An event of the CNCF SDK, from wherever it came.
	e := event.New()
	e.SetID("7")
	e.SetSource("/partner")
	e.SetType("partner.parcel.sent")
	if err := e.SetData("application/json", map[string]string{"parcel": "p-1"}); err != nil {
		fmt.Println(err)
		return
	}
	ack, err := pub.PublishEvent(ctx, e)
	fmt.Println(ack.Stream, ack.Sequence, ack.ID, err)

	// Output:
	// EVENTS 1 7 <nil>
}

// The three kinds of error say what may be done next.
func ExampleError() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	_, err = pub.Publish(ctx, OrderPlaced{OrderID: "o-1"}, publish.WithExtension("Not_A_Name", "x"))
	switch {
	case errors.Is(err, publish.ErrUnknown):
		fmt.Println("may be stored: publish again with the same id")
	case errors.Is(err, publish.ErrNotSent):
		fmt.Println("never left: mend it, or wait for the connection")
	case errors.Is(err, publish.ErrRejected):
		fmt.Println("the server refused it")
	}

	// Output:
	// never left: mend it, or wait for the connection
}
