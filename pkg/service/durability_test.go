package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

type coinTossed struct{}

func (coinTossed) EventType() string { return "coin.tossed.v1" }

// TestDurability declares once, for the service, and finds it in all that the
// service made.
func TestDurability(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	handled := make(chan struct{}, 1)
	svc := start(t, srv.Connect(t), service.Config{Name: "croupier", Durability: publish.Memory, Logger: quiet()},
		service.On(func(context.Context, envelope.Event[coinTossed]) error {
			handled <- struct{}{}
			return nil
		}))
	if _, err := svc.Publisher().Publish(t.Context(), coinTossed{}); err != nil {
		t.Fatal(err)
	}
	<-handled
	n := 0
	for info := range srv.JetStream(t).ListStreams(t.Context()).Info() {
		if strings.HasPrefix(info.Config.Name, "AGNER_FLEET") || strings.HasPrefix(info.Config.Name, "KV_AGNER_INSTANCES") {
			continue // of presence, which comes in its own time
		}
		n++
		if c := info.Config; c.Storage != jetstream.MemoryStorage || c.Metadata["agner.durability"] != "Memory" {
			t.Errorf("%s is in %v, metadata %v", c.Name, c.Storage, c.Metadata)
		}
	}
	if n != 5 {
		t.Errorf("%d streams", n)
	}
}

func TestDurabilityContradicted(t *testing.T) {
	t.Parallel()
	nc := testserver.Start(t).Connect(t)
	on := service.On(func(context.Context, envelope.Event[coinTossed]) error { return nil })
	for name, cfg := range map[string]service.Config{
		"publisher": {Name: "a", Durability: publish.PowerSafe, Publish: publish.Config{Replicas: 1}},
		"consumer":  {Name: "a", Durability: publish.PowerSafe, Consume: consume.Config{Replicas: 2}},
		"unknown":   {Name: "a", Durability: 9},
	} {
		if _, err := service.New(nc, cfg, on); !errors.Is(err, publish.ErrDurability) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
