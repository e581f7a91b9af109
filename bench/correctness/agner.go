package main

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// agner is pkg/consume. It makes what it needs, so there is nothing to deploy.
type agner struct{}

// placed is the payload as a service of Agner declares it.
type placed struct {
	N int `json:"n"`
}

// EventType implements envelope.Payload.
func (placed) EventType() string { return eventType }

func (agner) Name() string { return "agner" }

func (agner) Layout() layout {
	return layout{
		stream:  "EVENTS",
		subject: func(key string) string { return "events." + eventType + "." + key },
		durable: group + "_bench-order-placed-v1",
		lane:    "RETRY_" + group,
		dead:    "DEAD",
	}
}

func (agner) Deploy(context.Context, jetstream.JetStream, plan) error { return nil }

func (agner) Work(ctx context.Context, t task, handle handleFunc, log *slog.Logger, ready func()) error {
	nc, err := nats.Connect(t.URL, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	c, err := consume.New(js, consume.Config{
		Group: group, Concurrency: t.Workers, AckWait: t.AckWait,
		MaxAttempts: t.Attempts, FirstDelay: t.First, MaxDelay: t.Most, Logger: log,
	}, consume.On(func(ctx context.Context, e envelope.Event[placed]) error {
		return handle(ctx, e.Data.N, func(h string) []string { return e.Delivery.Header[h] })
	}))
	if err != nil {
		return err
	}
	return c.RunReady(ctx, ready)
}
