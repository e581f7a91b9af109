package deadletter

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Discard removes the letters that a filter selects, for good: their events are
// handled by nobody. It yields a Result for each; an error is the last that it
// yields, and leaves the rest as it is. What is no dead letter is removed too,
// with its sequence, time and subject for a Letter.
//
// The error matches ErrConfig or jetstream.ErrStreamNotFound, or is the server's.
func (c *Client) Discard(ctx context.Context, f Filter) iter.Seq2[Result, error] {
	return c.act(ctx, VerbDiscard, f, func(ctx context.Context, dead jetstream.Stream, yield func(Result, error) bool) {
		feed := func(give func(item) bool) error {
			for l, err := range c.List(ctx, f) {
				if err != nil && l == nil {
					return err
				}
				it := item{seq: l.Sequence, shard: l.Sequence, at: l}
				if l.Subject == "" { // one that was named, and is not there
					it.skip = err
				}
				if !give(it) {
					break
				}
			}
			return nil
		}
		c.spread(ctx, feed, func(ctx context.Context, it item) (Result, error) {
			if it.skip != nil {
				return Result{Letter: it.at, Skipped: it.skip}, nil //nolint:nilerr // it is said in the result
			}
			if err := remove(ctx, dead, it.seq); err != nil {
				return Result{}, fmt.Errorf("dead letter %d: %w", it.seq, err)
			}
			return Result{Letter: it.at}, nil
		}, yield)
	})
}
