package consume

import (
	"context"

	"github.com/agner-go/agner/pkg/envelope"
)

// HandlerFunc handles one event with raw data. It is what middleware sees and
// what OnEvent takes; On decodes the data before the typed handler.
//
// The context carries the deadline of this attempt and, for events published
// within the handler, the event as their cause. It is cancelled when the
// deadline passes and near the end of a drain, not when a drain begins.
type HandlerFunc func(ctx context.Context, e envelope.Raw) error

// Middleware wraps a handler: for logging, metrics, transactions, checks. The
// first one given is the outermost. It sees every run, decoding included, but
// not the messages that are no CloudEvents.
type Middleware func(next HandlerFunc) HandlerFunc

func chain(h HandlerFunc, outer, inner []Middleware) HandlerFunc {
	for i := len(inner) - 1; i >= 0; i-- {
		h = inner[i](h)
	}
	for i := len(outer) - 1; i >= 0; i-- {
		h = outer[i](h)
	}
	return h
}
