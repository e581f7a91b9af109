package inbox_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/publish"
)

const wait = 20 * time.Second

// cart is the state of the tests' entities: items are numbered from 0, and it
// counts those that come out of turn.
type cart struct {
	Items int `json:"items"`
	Wrong int `json:"wrong"`
}

type itemAdded struct {
	N int `json:"n"`
}

func (itemAdded) EventType() string { return "cart.item.added.v1" }

type cartChanged struct {
	CartID string `json:"cart_id"`
	Items  int    `json:"items"`
}

func (cartChanged) EventType() string  { return "cart.changed.v1" }
func (c cartChanged) EventKey() string { return c.CartID }

type getCart struct{}

func (getCart) EventType() string { return "cart.get.v1" }

// long tells whether tests take their long form.
func long() bool { return os.Getenv("AGNER_LONG") != "" }

func quick() inbox.Config {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("AGNER_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return inbox.Config{
		Name: "carts", Partitions: 8, FirstDelay: 20 * time.Millisecond, DrainTimeout: 5 * time.Second,
		LeaseTTL: time.Second, Settle: 50 * time.Millisecond, Logger: log,
	}
}

// adding counts, checks the order and publishes each change.
func adding() inbox.Handler {
	return inbox.On(func(_ context.Context, tx *inbox.Tx[cart], e eventOf[itemAdded]) error {
		if e.Data.N != tx.State.Items {
			tx.State.Wrong++
		}
		tx.State.Items++
		tx.Publish(cartChanged{CartID: tx.Key, Items: tx.State.Items})
		return nil
	})
}

func showing() inbox.Handler {
	return inbox.Answer(func(_ context.Context, tx *inbox.Tx[cart], _ getCart) (cart, error) { return tx.State, nil })
}

// start runs an inbox until the test, or stop, ends it, and waits until it owns
// partitions.
func start(t *testing.T, js jetstream.JetStream, cfg inbox.Config, handlers ...inbox.Handler) (in *inbox.Inbox, stop func() error) {
	t.Helper()
	in, err := inbox.New(js, cfg, handlers...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the test's own until cleanup
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- in.RunReady(ctx, func() { close(ready) }) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(wait):
			return errors.New("Run did not return")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("Run: %v", err)
	case <-time.After(wait):
		t.Fatal("not ready")
	}
	return in, stop
}

func client(t *testing.T, js jetstream.JetStream) *inbox.Client {
	t.Helper()
	c, err := inbox.NewClient(js, "carts", inbox.WithPublishConfig(publish.Config{Source: "/test"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return c
}

func eventually(t *testing.T, cond func() error) {
	t.Helper()
	testserver.Eventually(t, wait, cond, "condition did not come true")
}

// numbered are events that carry a number, from 0 for each entity.
type numbered interface {
	envelope.Payload
	number() int
}

func (o orderPlaced) number() int { return o.N }

// ordered checks the order of numbered events.
func ordered[T numbered](opts ...inbox.Option) inbox.Handler {
	return inbox.On(func(_ context.Context, tx *inbox.Tx[cart], e envelope.Event[T]) error {
		if e.Data.number() != tx.State.Items {
			tx.State.Wrong++
		}
		tx.State.Items++
		return nil
	}, opts...)
}

// eventsTo publishes domain events.
func eventsTo(t *testing.T, js jetstream.JetStream) func(envelope.Payload) {
	t.Helper()
	pub, err := publish.New(js, publish.Config{Source: "/test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pub.Close(context.Background()); err != nil {
			t.Errorf("close publisher: %v", err)
		}
	})
	return func(p envelope.Payload) {
		t.Helper()
		if _, err := pub.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}
