// Package inbox runs entities: private state, addressed by key, each handling
// its messages one by one in order, spread over the live instances of a service.
//
// # What it is
//
// An [Inbox] has one mailbox, a stream in which the server puts each message
// into the partition of its key. Live instances share the partitions: each is
// run by one, which handles its messages in order with handlers made by [On]
// and [Answer]. A handler changes the entity's state, publishes events and sends
// to other entities through its [Tx]; all of it is stored in one atomic batch
// with the position in the mailbox, or not at all. A [Client] sends to entities
// from any process, and [Ask] waits for the answer.
//
// # What it guarantees
//
// For each key, messages are handled in the order in which they stand in the
// mailbox. Each is applied to the state exactly once, and each output reaches
// the stream of events exactly once, whatever crashes, pauses and moves (promise
// P6 of the design). The fence is the commit itself: it replaces the partition's
// cursor by compare-and-set, so an owner that was replaced is refused by the
// server, whatever it believes. Leases only say who lives.
//
// A handler may run more than once for one message: after a crash, a lost
// commit, or an error. What it did outside of its Tx is then repeated: use
// [Tx.ID] as an idempotency key, or act on what was published.
//
// A relayed event is known as such for as long as the stream of events keeps its
// marker, seven days by default: only if no instance runs for all of that time,
// directly after a crash between the relay of an output and its removal, is it
// relayed again, under the same event id.
//
// # What a handler's return means
//
//	nil              committed
//	an error         nothing of it is kept; the message is run again, in its
//	                 place, after a growing delay; after MaxAttempts it becomes
//	                 a dead letter
//	DeadLetter(err)  a dead letter at once
//	a panic          as an error, with its stack
//
// A handler made by Answer is run once: its error is the answer.
//
// # How it stops
//
// When the context of [Inbox.Run] ends, running handlers finish, what they did is
// committed and relayed, and each partition is handed over; another instance
// goes on with it at once. After DrainTimeout what is left is given up: its
// commits are refused or never sent, and others take over when the lease
// expires.
//
// # What it is not
//
// It is no workflow engine, and no database: state is read by key, in bounded
// size. Handlers of one partition run one by one: one that waits long holds up
// its neighbours in the partition.
package inbox
