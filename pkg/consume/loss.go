package consume

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// seekLoss finds events that the stream's retention removed before this group
// read them. It knows how many waited at the last look and how many were
// delivered since; what the stream no longer holds of the rest is lost. The
// count is exact unless events were redelivered meanwhile, then it is too low.
func (l *loop) seekLoss(ctx context.Context, before, now seen, first uint64) {
	if before.pending == 0 || first <= before.next {
		return
	}
	if now.reset != before.reset || now.count < before.count {
		return // set elsewhere, or made again, meanwhile: the two looks are not of one life
	}
	delivered := now.count - before.count
	arrived, err := l.matchingAfter(ctx, before.last)
	if err != nil {
		l.log.Warn("events were removed unread; their number is not known", "error", err)
		return
	}
	still := now.pending - min(arrived, now.pending)
	if gone := delivered + still; gone < before.pending {
		lost := before.pending - gone
		l.counters.removed.Add(lost)
		l.log.Error("data loss: retention removed events before this group read them",
			"events", lost, "first_sequence", first)
		l.notice(Notice{Kind: NoticeDataLoss, Events: lost})
	}
}

// matchingAfter counts the events for this subscription behind a stream
// sequence, by a consumer that lives for the question.
func (l *loop) matchingAfter(ctx context.Context, seq uint64) (uint64, error) {
	c, err := l.js.CreateConsumer(ctx, l.main.durable.stream, jetstream.ConsumerConfig{
		FilterSubject: l.filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: seq + 1, HeadersOnly: true,
		InactiveThreshold: requestTimeout,
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.js.DeleteConsumer(ctx, l.main.durable.stream, c.CachedInfo().Name) }() // it ends by itself too
	return c.CachedInfo().NumPending, nil
}
