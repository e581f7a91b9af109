package publish

import (
	"context"

	"github.com/agner-go/agner/pkg/envelope"
)

// PublishRawAsync publishes an event as PublishRaw does, and returns as soon as
// it is in the window, as PublishAsync does. The data must not change before
// the Future is done, nor after an error of kind ErrUnknown.
func (p *Publisher) PublishRawAsync(ctx context.Context, e envelope.Raw, opts ...Option) *Future {
	d := fromRaw(&e, opts)
	f := &Future{publisher: p, op: opPublish}
	if err := p.prepare(ctx, f, &d); err != nil {
		return settledFuture(p, err)
	}
	if err := p.submit(ctx, f); err != nil {
		return settledFuture(p, err)
	}
	return f
}
