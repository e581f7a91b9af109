// Package natstest tests handlers and services against a real NATS server, which
// it starts in milliseconds inside the test.
//
// # What it is
//
//   - [New] gives a test an [Env]: a server with JetStream of its own, gone when
//     the test ends. [Bubble] gives the same in fake time, where a retry after
//     five minutes takes none.
//   - [Env.Handle] runs one handler for one event and says what became of it:
//     acknowledged, to be run again after so long, a dead letter with a reason,
//     discarded, and whether it panicked.
//   - [RequirePublished], [RequireDeadLetter] and [Env.Settle] wait for what a
//     program under test does.
//   - [Env.Start] runs an instance on a connection of its own, which
//     [Instance.Kill], [Instance.Cut] and [Instance.Stall] take away from it.
//   - [Conformance] checks a server or cluster that somebody else runs for all
//     that Agner needs of it.
//
// # What it guarantees
//
// There is no fake in it. Outcomes are read from the broker, as an operator
// would: an event is a dead letter when it stands in the stream DEAD. What passes
// here passes by the same code that runs in production.
//
// # What it is not
//
// It is for tests alone: it links nats-server, which no other package of the
// library does. A killed instance is one that the broker hears nothing of any
// more; its goroutines still run in the test's process until their contexts
// end. For the death of a process, start one.
package natstest
