package envelope

import "context"

type causeKey struct{}

type cause struct{ correlationID, causationID string }

// ContextWithCause returns a context for the handling of the event with
// attributes a: what is published under it continues that event's chain. It
// copies the two ids and keeps no reference to a.
func ContextWithCause(ctx context.Context, a *Attributes) context.Context {
	c := cause{correlationID: a.CorrelationID, causationID: a.ID}
	if c.correlationID == "" {
		c.correlationID = a.ID
	}
	return context.WithValue(ctx, causeKey{}, c)
}

// Cause returns the ids that an event published under ctx carries: the
// causation is the event being handled, the correlation that event's
// correlationid, or its id when it began the chain. Both are empty outside a
// handler.
func Cause(ctx context.Context) (correlationID, causationID string) {
	c, _ := ctx.Value(causeKey{}).(cause)
	return c.correlationID, c.causationID
}
