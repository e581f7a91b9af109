package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Metadata of a durable: whose it is. A durable of the right name with other
// values belongs to somebody else.
const (
	metaGroup        = stream.MetaGroup
	metaSubscription = stream.MetaSubscription
	metaType         = stream.MetaType
)

// maxAckPending bounds the events of one durable that are out at all instances
// together. Retries leave that window (see lane.go), so it is sized for many
// instances with full buffers, not for a backlog of failures.
const maxAckPending = 20_000

// durable is one of the two consumers of a subscription: that on EVENTS, or
// that of its retry lane.
type durable struct {
	stream string
	config jetstream.ConsumerConfig

	ackWait atomic.Int64 // as found or made, ns
	found   atomic.Pointer[jetstream.ConsumerConfig]
}

func mainDurable(ns subject.Namespace, cfg Config, sub Subscription) *durable {
	filter, _ := ns.Filter(sub.pattern) // resolve has checked it
	return &durable{stream: ns.Stream(stream.EventsName), config: durableConfig(cfg, sub, filter)}
}

func laneDurable(ns subject.Namespace, cfg Config, sub Subscription) *durable {
	filter := ns.RetryDue(cfg.Group, sub.name, "*")
	return &durable{stream: stream.RetryName(ns, cfg.Group), config: durableConfig(cfg, sub, filter)}
}

func durableConfig(cfg Config, sub Subscription, filter string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       subject.Durable(cfg.Group, sub.name),
		Description:   "Agner: group " + cfg.Group + ", subscription " + sub.name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cfg.AckWait,
		MaxDeliver:    -1, // attempts are Agner's to count: runs, not deliveries
		MaxAckPending: maxAckPending,
		FilterSubject: filter,
		Metadata: map[string]string{
			metaGroup:             cfg.Group,
			metaSubscription:      sub.name,
			metaType:              sub.pattern,
			stream.MetaGeneration: strconv.FormatUint(cfg.Generation, 10),
		},
	}
}

// reportDrift tells, at the start of a Run, how the durable that was found is
// not as declared: it is used as it is.
func (d *durable) reportDrift(ctx context.Context, log *slog.Logger) {
	have := d.found.Load()
	if have == nil {
		return
	}
	found, ours := stream.GenerationOf(have.Metadata), stream.GenerationOf(d.config.Metadata)
	for _, diff := range stream.DriftDurable(d.config, *have) {
		log := log.With("stream", d.stream, "durable", have.Durable, "field", diff.Field, "declared", diff.Declared, "actual", diff.Actual)
		if found > ours {
			log.InfoContext(ctx, "durable is of a later generation and is used as it is", "generation", found, "ours", ours)
			continue
		}
		log.WarnContext(ctx, "durable differs from its declaration and is used as it is",
			"do", fmt.Sprintf("declare Generation %d and run natsctl apply, or declare what the durable has", max(found, ours)+1))
	}
}

// ensure finds the durable or makes it with config, and returns its info if it
// was made. One that exists is never updated: create-or-update would re-filter
// a neighbour's without a word.
func (d *durable) ensure(ctx context.Context, js jetstream.JetStream, config jetstream.ConsumerConfig, provision bool) (made *jetstream.ConsumerInfo, err error) {
	for range 2 {
		found, err := js.Consumer(ctx, d.stream, config.Durable)
		switch {
		case err == nil:
			return nil, d.adopt(found.CachedInfo().Config)
		case !errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil, fmt.Errorf("look up durable: %w", err)
		case !provision:
			return nil, fmt.Errorf("durable does not exist and may not be made here (Provision is false): %w", err)
		}
		c, err := js.CreateConsumer(ctx, d.stream, config)
		if err == nil {
			d.ackWait.Store(int64(c.CachedInfo().Config.AckWait))
			return c.CachedInfo(), nil
		}
		// Another instance may have made it between our look and our create.
		if !errors.Is(err, jetstream.ErrConsumerExists) {
			return nil, fmt.Errorf("create durable: %w", stream.Full(err))
		}
	}
	return nil, fmt.Errorf("create durable: %w", jetstream.ErrConsumerExists)
}

func (d *durable) adopt(have jetstream.ConsumerConfig) error {
	if taken := stream.Taken(d.config, have); len(taken) > 0 {
		f := taken[0]
		return fmt.Errorf("%w: its %s is %q, ours %q: name one of the two subscriptions differently (WithName)",
			ErrDurableTaken, f.Field, f.Actual, f.Declared)
	}
	d.found.Store(&have)
	d.ackWait.Store(int64(have.AckWait))
	return nil
}
