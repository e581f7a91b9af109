package group

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/position"
	"github.com/agner-go/agner/internal/stream"
)

// ErrChanged reports a plan that does not fit any more: EVENTS was made anew
// since. Plan again.
var ErrChanged = errors.New("stream was made anew since the plan")

// Done is what a reset has done to one subscription.
type Done struct {
	Subscription   string `json:"subscription"`
	Position       uint64 `json:"position"`
	Generation     uint64 `json:"generation"`
	RetriesDropped int    `json:"retries_dropped"`
}

// Apply carries a plan out, one subscription after the other, and calls done
// after each. After an error, or a kill, the rest is done by planning the same
// reset and applying it again.
//
// It needs an identity that may write to AGNER_POSITIONS, reset, update, delete
// and make consumers of EVENTS, and delete messages of the group's lane.
func (r *Reader) Apply(ctx context.Context, p *Plan, done func(Done)) error {
	positions, err := position.Open(ctx, &stream.Provisioner{JS: r.js}, r.ns)
	if err != nil {
		return fmt.Errorf("reset group %s: %w", p.Group, err)
	}
	for _, step := range p.Steps {
		d, err := r.apply(ctx, positions, p, step)
		if err != nil {
			return fmt.Errorf("reset %s: %w: run the same reset again to finish it", step.Durable, err)
		}
		done(d)
	}
	return nil
}

// apply resets one subscription. The order is what makes it safe:
//
//  1. The position of a new generation is written. From now on no instance
//     raises it, since their durable is of another one, and a durable that
//     vanishes is made again at the new place.
//  2. The durable is set, by the server or by being made again.
//  3. It is marked with the generation: its floor is saved again.
//  4. What runs again from the stream is dropped from the lane: not before, or
//     an interruption would leave it nowhere.
func (r *Reader) apply(ctx context.Context, positions *position.Bucket, p *Plan, step Step) (Done, error) {
	d := Done{Subscription: step.Subscription, Position: step.Position}
	events, err := r.js.Stream(ctx, p.Stream)
	if err != nil {
		return d, fmt.Errorf("stream %s: %w", p.Stream, err)
	}
	if events.CachedInfo().Created.UnixNano() != p.created {
		return d, fmt.Errorf("stream %s: %w", p.Stream, ErrChanged)
	}
	found, err := r.js.Consumer(ctx, p.Stream, step.Durable)
	if err != nil {
		return d, fmt.Errorf("look up durable: %w", err)
	}
	config := found.CachedInfo().Config
	// Listed before anything is delivered again: what fails then is new.
	entries, err := r.entries(ctx, p.Group, step.Subscription)
	if err != nil {
		return d, err
	}
	to, err := positions.Begin(ctx, step.Durable, p.created, step.Position-1, position.GenerationOf(config))
	if err != nil {
		return d, err
	}
	d.Generation = to.Generation
	if err := r.move(ctx, p, config, to); err != nil {
		return d, err
	}
	d.RetriesDropped, err = r.drop(ctx, p.Group, doomed(entries, p.created, step.Position, p.retries))
	return d, err
}

// move sets a durable to its new position.
func (r *Reader) move(ctx context.Context, p *Plan, config jetstream.ConsumerConfig, to position.Position) error {
	_, err := r.js.ResetConsumerToSequence(ctx, p.Stream, config.Durable, to.Floor+1)
	if errors.Is(err, jetstream.ErrConsumerInvalidReset) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return r.remake(ctx, p, config, to)
	}
	if err != nil {
		return fmt.Errorf("set durable to sequence %d: %w", to.Floor+1, err)
	}
	to.Mark(&config)
	_, err = r.js.UpdateConsumer(ctx, p.Stream, config)
	if isDamaged(err) {
		return r.remake(ctx, p, config, to)
	}
	if err != nil {
		return fmt.Errorf("mark durable as set: %w", err)
	}
	return nil
}

// isDamaged tells whether an update failed because the durable has lost its
// files: nats-server 2.15.2 removes them when it is made while its predecessor is
// still being deleted.
func isDamaged(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == 500
}

// remake deletes the durable and makes it again, as it was but at its new
// place. A running instance may be faster: it makes it at the same place, since
// the position says so.
func (r *Reader) remake(ctx context.Context, p *Plan, config jetstream.ConsumerConfig, to position.Position) error {
	err := r.js.DeleteConsumer(ctx, p.Stream, config.Durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete durable, to make it again elsewhere: %w", err)
	}
	to.Resume(&config, p.created)
	_, err = r.js.CreateConsumer(ctx, p.Stream, config)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("make durable again at sequence %d: %w", to.Floor+1, err)
	}
	return nil
}
