package group

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// countFor is how long the server keeps a consumer that was made for a question
// and whose asker is gone.
const countFor = 5 * time.Second

// matching counts the messages of a stream behind a sequence, that included,
// and returns the first sequence that was looked at.
func (r *Reader) matching(ctx context.Context, streamName, filter string, from uint64) (count, first uint64, err error) {
	return r.ask(ctx, streamName, jetstream.ConsumerConfig{
		FilterSubject: filter, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
	})
}

// sequenceAt is the sequence of the first message stored at t or later, whatever its
// subject, or the next one to be stored.
func (r *Reader) sequenceAt(ctx context.Context, streamName string, t time.Time) (uint64, error) {
	_, first, err := r.ask(ctx, streamName, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &t,
	})
	return first, err
}

// ask answers a question by a consumer that lives for it: the server counts.
func (r *Reader) ask(ctx context.Context, streamName string, c jetstream.ConsumerConfig) (count, first uint64, err error) {
	c.AckPolicy, c.MemoryStorage, c.HeadersOnly, c.InactiveThreshold = jetstream.AckNonePolicy, true, true, countFor
	made, err := r.js.CreateConsumer(ctx, streamName, c)
	if err != nil {
		return 0, 0, fmt.Errorf("count messages of %s: %w", streamName, err)
	}
	i := made.CachedInfo()
	_ = r.js.DeleteConsumer(ctx, streamName, i.Name) // it ends by itself too
	return i.NumPending, i.AckFloor.Stream + 1, nil
}
