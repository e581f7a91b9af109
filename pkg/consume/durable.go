package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// Metadata of a durable: whose it is. A durable of the right name with other
// values belongs to somebody else.
const (
	metaGroup        = "agner.group"
	metaSubscription = "agner.subscription"
	metaType         = "agner.type"
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

	// What ensure finds.
	ackWait time.Duration
}

func (s *loop) mainDurable() *durable {
	d := &durable{stream: s.ns.Stream(stream.EventsName), config: s.consumerConfig(s.filter)}
	s.sub.start.apply(&d.config)
	return d
}

func (s *loop) laneDurable() *durable {
	filter := s.ns.RetryDue(s.cfg.Group, s.sub.name, "*")
	return &durable{stream: stream.RetryName(s.ns, s.cfg.Group), config: s.consumerConfig(filter)}
}

func (s *loop) consumerConfig(filter string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       s.durableName,
		Description:   "Agner: group " + s.cfg.Group + ", subscription " + s.sub.name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.cfg.AckWait,
		MaxDeliver:    -1, // attempts are Agner's to count: runs, not deliveries
		MaxAckPending: maxAckPending,
		FilterSubject: filter,
		Metadata: map[string]string{
			metaGroup:        s.cfg.Group,
			metaSubscription: s.sub.name,
			metaType:         s.sub.pattern,
		},
	}
}

// ensure finds the durable or makes it. One that exists is never updated:
// create-or-update would re-filter a neighbour's without a word.
func (d *durable) ensure(ctx context.Context, js jetstream.JetStream, provision bool) error {
	for range 2 {
		found, err := js.Consumer(ctx, d.stream, d.config.Durable)
		switch {
		case err == nil:
			return d.adopt(found.CachedInfo().Config)
		case !errors.Is(err, jetstream.ErrConsumerNotFound):
			return fmt.Errorf("look up durable: %w", err)
		case !provision:
			return fmt.Errorf("durable does not exist and may not be made here (Provision is false): %w", err)
		}
		made, err := js.CreateConsumer(ctx, d.stream, d.config)
		if err == nil {
			d.ackWait = made.CachedInfo().Config.AckWait
			return nil
		}
		// Another instance may have made it between our look and our create.
		if !errors.Is(err, jetstream.ErrConsumerExists) {
			return fmt.Errorf("create durable: %w", err)
		}
	}
	return fmt.Errorf("create durable: %w", jetstream.ErrConsumerExists)
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
	d.ackWait = have.AckWait
	return nil
}
