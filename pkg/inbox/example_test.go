package inbox_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
)

// Basket is the state of one entity.
type Basket struct {
	SKUs []string `json:"skus"`
}

// SKUAdded is a message to a basket.
type SKUAdded struct {
	SKU string `json:"sku"`
}

func (SKUAdded) EventType() string { return "shop.sku.added.v1" }

// GetBasket is a question to a basket.
type GetBasket struct{}

func (GetBasket) EventType() string { return "shop.basket.get.v1" }

// BasketChanged is a domain event.
type BasketChanged struct {
	BasketID string `json:"basket_id"`
	Items    int    `json:"items"`
}

func (BasketChanged) EventType() string  { return "shop.basket.changed.v1" }
func (b BasketChanged) EventKey() string { return b.BasketID }

// exampleServer stands for the broker of a real program.
func exampleServer() (js jetstream.JetStream, stop func()) {
	srv, err := embedded.Start(embedded.Config{Name: "example"})
	if err != nil {
		log.Fatal(err)
	}
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		log.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		log.Fatal(err)
	}
	return js, func() {
		nc.Close()
		if err := srv.Shutdown(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}

// An inbox of baskets: any number of processes may run it, and share them.
func Example() {
	js, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	baskets, err := inbox.New(js, inbox.Config{Name: "baskets"},
		inbox.On(func(_ context.Context, tx *inbox.Tx[Basket], e envelope.Event[SKUAdded]) error {
			tx.State.SKUs = append(tx.State.SKUs, e.Data.SKU)
			tx.Publish(BasketChanged{BasketID: tx.Key, Items: len(tx.State.SKUs)}) // leaves with the state, or not at all
			return nil
		}),
		inbox.Answer(func(_ context.Context, tx *inbox.Tx[Basket], _ GetBasket) ([]string, error) {
			return tx.State.SKUs, nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- baskets.RunReady(ctx, func() { close(ready) }) }()
	<-ready

	to, err := inbox.NewClient(js, "baskets") // from any process
	if err != nil {
		log.Fatal(err)
	}
	for _, sku := range []string{"A1", "B2"} {
		if err := to.Send(ctx, "basket-7", SKUAdded{SKU: sku}); err != nil {
			log.Fatal(err)
		}
	}
	skus, err := inbox.Ask[[]string](ctx, to, "basket-7", GetBasket{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(skus)

	stored, err := inbox.Read[Basket](ctx, baskets, "basket-7") // also without running it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(stored.SKUs))

	cancel()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	if err := to.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// [A1 B2]
	// 2
}
