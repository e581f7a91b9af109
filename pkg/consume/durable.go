package consume

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
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
}

func (l *loop) mainDurable() *durable {
	return &durable{stream: l.ns.Stream(stream.EventsName), config: l.consumerConfig(l.filter)}
}

func (l *loop) laneDurable() *durable {
	filter := l.ns.RetryDue(l.cfg.Group, l.sub.name, "*")
	return &durable{stream: stream.RetryName(l.ns, l.cfg.Group), config: l.consumerConfig(filter)}
}

func (l *loop) consumerConfig(filter string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       l.durableName,
		Description:   "Agner: group " + l.cfg.Group + ", subscription " + l.sub.name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       l.cfg.AckWait,
		MaxDeliver:    -1, // attempts are Agner's to count: runs, not deliveries
		MaxAckPending: maxAckPending,
		FilterSubject: filter,
		Metadata: map[string]string{
			metaGroup:        l.cfg.Group,
			metaSubscription: l.sub.name,
			metaType:         l.sub.pattern,
		},
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
	for _, f := range []struct{ what, want, have string }{
		{"filter", d.config.FilterSubject, have.FilterSubject},
		{"group", d.config.Metadata[metaGroup], have.Metadata[metaGroup]},
		{"subscription", d.config.Metadata[metaSubscription], have.Metadata[metaSubscription]},
		{"type", d.config.Metadata[metaType], have.Metadata[metaType]},
	} {
		if f.want != f.have {
			return fmt.Errorf("%w: its %s is %q, ours %q: name one of the two subscriptions differently (WithName)",
				ErrDurableTaken, f.what, f.have, f.want)
		}
	}
	if len(have.FilterSubjects) > 0 || have.AckPolicy != jetstream.AckExplicitPolicy || have.DeliverSubject != "" {
		return fmt.Errorf("%w: it is no pull consumer with one filter and explicit acknowledgement", ErrDurableTaken)
	}
	d.ackWait.Store(int64(have.AckWait))
	return nil
}
