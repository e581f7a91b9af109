package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmjs "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// poison is the topic, and stream, of watermill's dead letters.
const poison = "poison"

// localWait is AckWaitTimeout of the careful configurations: watermill's own
// timer cancels the handler and forgets the message, so it must outlast every
// handler. The server's AckWait is set on the durable.
func localWait(p plan) time.Duration { return max(30*time.Second, 2*p.AckWait) }

// push is watermill-nats in the configuration that a careful user reaches after
// reading its documentation, source and issues, in the package that its
// authors advise for production.
type push struct{}

func (push) Name() string   { return "watermill-best-push" }
func (push) Layout() layout { return watermillLayout(poison) }

func (push) Deploy(ctx context.Context, js jetstream.JetStream, p plan) error {
	if err := deployStreams(ctx, js); err != nil {
		return err
	}
	// A durable that a subscription has made itself is deleted when it closes.
	_, err := js.CreatePushConsumer(ctx, topic, jetstream.ConsumerConfig{
		Durable: group, DeliverGroup: group, DeliverSubject: "deliver." + group,
		FilterSubject: topic, AckPolicy: jetstream.AckExplicitPolicy, AckWait: p.AckWait,
		// MaxAckPending stays at the server's 1,000. As narrow as the handlers it
		// would spare the buffered messages' deadlines, but was tried and does
		// worse: docs/correctness.md has the counts.
	})
	return err
}

func deployStreams(ctx context.Context, js jetstream.JetStream) error {
	for _, name := range []string{topic, poison} {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (push) Work(ctx context.Context, t task, handle handleFunc, log *slog.Logger, ready func()) error {
	logger := watermill.NewSlogLogger(log)
	sub, err := wmnats.NewSubscriber(wmnats.SubscriberConfig{
		URL:              t.URL,
		QueueGroupPrefix: group,
		SubscribersCount: t.Workers,
		CloseTimeout:     30 * time.Second,
		AckWaitTimeout:   localWait(t.plan),
		NatsOptions:      carefulConnection(),
		Unmarshaler:      &wmnats.NATSMarshaler{},
		NakDelay:         wmnats.NewStaticDelay(t.First),
		JetStream: wmnats.JetStreamConfig{
			// Without ManualAck nats.go acknowledges as its callback returns,
			// also where watermill has given the message up.
			SubscribeOptions: []nats.SubOpt{nats.Bind(topic, group), nats.ManualAck()},
			TrackMsgId:       true,
			// Bind with an empty prefix is overruled by BindStream("").
			DurablePrefix: group,
		},
	}, logger)
	if err != nil {
		return err
	}
	return routeCarefully(ctx, t, logger, sub, 1, handle, ready)
}

// pull is pkg/jetstream, watermill's beta, with the same care.
type pull struct{}

func (pull) Name() string   { return "watermill-best-pull" }
func (pull) Layout() layout { return watermillLayout(poison) }

func (pull) Deploy(ctx context.Context, js jetstream.JetStream, p plan) error {
	if err := deployStreams(ctx, js); err != nil {
		return err
	}
	_, err := js.CreateConsumer(ctx, topic, jetstream.ConsumerConfig{
		Durable: group, FilterSubject: topic, AckPolicy: jetstream.AckExplicitPolicy, AckWait: p.AckWait,
	})
	return err
}

func (pull) Work(ctx context.Context, t task, handle handleFunc, log *slog.Logger, ready func()) error {
	logger := watermill.NewSlogLogger(log)
	nc, err := nats.Connect(t.URL, carefulConnection()...)
	if err != nil {
		return err
	}
	sub, err := wmjs.NewSubscriber(wmjs.SubscriberConfig{
		Conn:           nc,
		Logger:         logger,
		AckWaitTimeout: localWait(t.plan),
		NakDelay:       wmjs.NewStaticDelay(t.First),
		// GroupedConsumer makes one that is not durable.
		ResourceInitializer: wmjs.ExistingConsumer(func(string, string) jetstream.ConsumerConfig {
			return jetstream.ConsumerConfig{Name: group}
		}, group),
		// What waits in the client's buffer has its deadline running.
		ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(1)},
	})
	if err != nil {
		return err
	}
	return routeCarefully(ctx, t, logger, sub, t.Workers, handle, ready)
}

func carefulConnection() []nats.Option {
	return append(watermillConnection(), nats.MaxReconnects(-1))
}

// routeCarefully has retries with growing delays and dead letters, by the
// middlewares that watermill offers for both.
func routeCarefully(ctx context.Context, t task, logger watermill.LoggerAdapter, sub message.Subscriber, handlers int, handle handleFunc, ready func()) error {
	pub, err := wmnats.NewPublisher(wmnats.PublisherConfig{
		URL: t.URL, NatsOptions: carefulConnection(), Marshaler: &wmnats.NATSMarshaler{},
		JetStream: wmnats.JetStreamConfig{TrackMsgId: true},
	}, logger)
	if err != nil {
		return err
	}
	// What a close interrupts is no poison.
	dead, err := middleware.PoisonQueueWithFilter(pub, poison, func(err error) bool {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	})
	if err != nil {
		return err
	}
	retry := middleware.Retry{
		MaxRetries: t.Attempts - 1, InitialInterval: t.First, MaxInterval: t.Most, Multiplier: 2,
		RandomizationFactor: 0.25, ResetContextOnRetry: true, Logger: logger,
	}
	return errors.Join(route(ctx, logger, sub, handlers, handle, ready, dead, retry.Middleware, middleware.Recoverer), pub.Close())
}
