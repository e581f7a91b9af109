// Package consume runs handlers for the events of a group: durable
// subscriptions with bounded concurrency, retries that grow, dead letters, and
// a stop that loses nothing.
//
// # What it is
//
// A [Consumer] holds the subscriptions of one group, usually one service. Each
// subscription is one durable pull consumer on the stream EVENTS, shared by all
// instances of the group: an event goes to one of them. [On] handles one typed
// event, [OnEvent] any event whose type matches a pattern.
//
// # What it guarantees
//
// At least once. Every stored event reaches a handler of each group that
// returns nil, or that group's dead letters, whatever crashes on the way
// (promise P2 of the design). A handler may run twice for one event when a
// process or a server dies between the handler's return and the
// acknowledgement; handlers that act on the outside should be idempotent by
// event id. A slow handler alone is no reason: the acknowledgement deadline is
// extended from the moment an event is received until its handler returns or
// HandlerTimeout passes.
//
// No order. Instances and workers run side by side, and a retry comes later
// than its successors. Order of a key is the business of package inbox.
//
// # What a handler's return means
//
//	nil                 acknowledged
//	an error            run again after a growing, jittered delay; after
//	                    MaxAttempts runs it becomes a dead letter
//	RetryAfter(d, err)  run again after d
//	DeadLetter(err)     a dead letter at once
//	Discard(err)        dropped on purpose, counted
//	a panic             as an error, with its stack
//
// An attempt is a run of the handler. A hand-back at shutdown, a crash of a
// neighbour, a lost connection cost none.
//
// # How it stops
//
// When the context of [Consumer.Run] ends: pulling stops; events received but
// not begun go back to the group at once; running handlers finish; near the
// end of DrainTimeout their contexts are cancelled; acknowledgements are
// flushed. A clean stop returns nil.
//
// # What it is not
//
// It does not publish (package publish), keeps no state for you (package
// inbox), and never deletes a durable: that is an operator's act.
package consume
