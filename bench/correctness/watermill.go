package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// topic is watermill's: its stream, and that stream's one subject.
const topic = "orders"

func watermillLayout(dead string) layout {
	return layout{stream: topic, subject: func(string) string { return topic }, durable: group, dead: dead}
}

// documented is watermill-nats as its documentation shows it: the subscriber of
// the example that the page on NATS JetStream names, with a consumer group as
// the comments on QueueGroupPrefix ask for it, under the router of the
// getting-started guide.
type documented struct{}

func (documented) Name() string { return "watermill-documented" }

func (documented) Layout() layout                                          { return watermillLayout("") }
func (documented) Deploy(context.Context, jetstream.JetStream, plan) error { return nil }

func (documented) Work(ctx context.Context, t task, handle handleFunc, log *slog.Logger, ready func()) error {
	logger := watermill.NewSlogLogger(log)
	sub, err := wmnats.NewSubscriber(wmnats.SubscriberConfig{
		URL:              t.URL,
		QueueGroupPrefix: group,
		SubscribersCount: t.Workers,
		CloseTimeout:     30 * time.Second,
		AckWaitTimeout:   t.AckWait,
		NatsOptions:      watermillConnection(),
		Unmarshaler:      &wmnats.NATSMarshaler{},
		JetStream: wmnats.JetStreamConfig{
			AutoProvision:    true,
			SubscribeOptions: []nats.SubOpt{nats.DeliverAll(), nats.AckExplicit()},
			TrackMsgId:       true,
			DurablePrefix:    group,
		},
	}, logger)
	if err != nil {
		return err
	}
	return route(ctx, logger, sub, 1, handle, ready,
		middleware.CorrelationID,
		middleware.Retry{MaxRetries: 3, InitialInterval: 100 * time.Millisecond, Logger: logger}.Middleware,
		middleware.Recoverer,
	)
}

// watermillConnection is the connection of watermill's examples.
func watermillConnection() []nats.Option {
	return []nats.Option{
		nats.RetryOnFailedConnect(true), nats.Timeout(30 * time.Second), nats.ReconnectWait(time.Second),
	}
}

// adapt makes the common handler one of watermill's.
func adapt(handle handleFunc) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		var p placed
		if err := json.Unmarshal(m.Payload, &p); err != nil {
			return err
		}
		return handle(m.Context(), p.N, func(h string) []string {
			if v, ok := m.Metadata[h]; ok {
				return []string{v}
			}
			return nil
		})
	}
}

// route runs a router with as many handlers, each with a subscription of its
// own, until ctx ends, and closes it then, as watermill's plugin SignalsHandler
// does.
func route(ctx context.Context, logger watermill.LoggerAdapter, sub message.Subscriber, handlers int, handle handleFunc, ready func(), ms ...message.HandlerMiddleware) error {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 30 * time.Second}, logger)
	if err != nil {
		return err
	}
	router.AddMiddleware(ms...)
	for i := range handlers {
		router.AddConsumerHandler(fmt.Sprintf("%s-%d", group, i), topic, sub, adapt(handle)) //nolint:contextcheck // the context comes with the message
	}
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.WithoutCancel(ctx)) }()
	select {
	case err := <-ended:
		return errors.Join(errors.New("the router ended by itself"), err)
	case <-router.Running():
		ready()
	}
	select {
	case err := <-ended:
		return errors.Join(errors.New("the router ended by itself"), err)
	case <-ctx.Done():
		return errors.Join(router.Close(), <-ended)
	}
}
