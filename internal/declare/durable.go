package declare

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/position"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// durableItem is a declared durable.
type durableItem struct {
	ns   subject.Namespace
	want Durable
}

func (i durableItem) look(ctx context.Context, p *Planner) (*Step, error) {
	want := i.want.Config
	s := &Step{Kind: KindDurable, Name: want.Durable, Stream: i.want.Stream, Generation: stream.GenerationOf(want.Metadata)}
	found, err := p.JS.Consumer(ctx, i.want.Stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		s.Action = Create
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("durable %s of stream %s: look up: %w", want.Durable, i.want.Stream, err)
	}
	have := found.CachedInfo().Config
	s.Found = stream.GenerationOf(have.Metadata)
	drift := stream.DriftDurable(want, have)
	switch taken := stream.Taken(want, have); {
	case len(taken) > 0:
		s.Action, s.Drift = Conflict, taken
		s.Note = "it belongs to somebody else, or the subscription meant another type before: name one of the two differently (WithName)"
	case s.Found > s.Generation:
		s.Action, s.Drift, s.Note = Newer, drift, newerNote(s)
	case s.Found < s.Generation:
		s.Action = Update
		s.Changes = append(s.Changes, drift...)
		s.Changes = append(s.Changes, stream.Difference{
			Field: stream.MetaGeneration, Declared: want.Metadata[stream.MetaGeneration], Actual: have.Metadata[stream.MetaGeneration],
		})
	case len(drift) > 0:
		s.Action, s.Drift = Drift, drift
		s.Note = fmt.Sprintf("used as it is: to change it declare a Generation greater than %d", s.Found)
	default:
		s.Action = Unchanged
	}
	return s, nil
}

func (i durableItem) act(ctx context.Context, p *Planner, s *Step) error {
	if s.Action == Create {
		return i.create(ctx, p)
	}
	found, err := p.JS.Consumer(ctx, i.want.Stream, i.want.Config.Durable)
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	// What is not ours to declare stays as it is: a pause, where it started,
	// what a reset noted.
	next := found.CachedInfo().Config
	want := i.want.Config
	next.AckWait, next.MaxDeliver, next.MaxAckPending, next.Description = want.AckWait, want.MaxDeliver, want.MaxAckPending, want.Description
	next.Metadata = maps.Clone(next.Metadata)
	next.Metadata[stream.MetaGeneration] = want.Metadata[stream.MetaGeneration]
	if _, err := p.JS.UpdateConsumer(ctx, i.want.Stream, next); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	return nil
}

// create makes the durable, where its predecessor stood if the group has had it
// before, and saves where that is: a durable that begins with the newest event
// must not begin with a newer one if it vanishes before it is first used.
func (i durableItem) create(ctx context.Context, p *Planner) error {
	config := i.want.Config
	if i.want.Stream != i.ns.Stream(stream.EventsName) {
		return i.make(ctx, p, config, func(*jetstream.ConsumerInfo) error { return nil })
	}
	str, err := p.JS.Stream(ctx, i.want.Stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", i.want.Stream, err)
	}
	created := str.CachedInfo().Created.UnixNano()
	positions, err := position.Open(ctx, &stream.Provisioner{JS: p.JS, Bind: true}, i.ns)
	if err != nil {
		return err
	}
	pos, revision, err := positions.Load(ctx, config.Durable)
	if err != nil {
		return err
	}
	if revision != 0 {
		pos.Resume(&config, created)
	}
	return i.make(ctx, p, config, func(made *jetstream.ConsumerInfo) error {
		_, _, err := positions.Raise(ctx, config.Durable, created, func() (*jetstream.ConsumerInfo, error) { return made, nil })
		if errors.Is(err, position.ErrResetUnfinished) {
			return nil // who resets the group writes it
		}
		return err
	})
}

func (i durableItem) make(ctx context.Context, p *Planner, config jetstream.ConsumerConfig, save func(*jetstream.ConsumerInfo) error) error {
	made, err := p.JS.CreateConsumer(ctx, i.want.Stream, config)
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return ErrChanged
	}
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	return save(made.CachedInfo())
}
