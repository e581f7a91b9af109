// Package publish stores events in the stream EVENTS, acknowledged.
//
// A Publisher is the straight road: Publish for one event, PublishAsync for
// many without waiting for each, PublishBatch for all or none. It fills in what
// the event leaves open (id, source, time, correlation), chooses the subject,
// and sends again what was not acknowledged, with the same message id, so that
// the stream stores it once.
//
// Its guarantee: an event whose Publish returned nil is in the stream, once,
// and the events of one key stand there in the order in which they were
// published. An error says which it is: ErrRejected, ErrNotSent or ErrUnknown.
//
// It is no queue: nothing is kept on this side of the wire beyond the window of
// unacknowledged events (Config.MaxInFlight), and nothing outlives the process.
// docs/design/publish.md gives the reasons.
package publish
