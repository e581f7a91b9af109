// Command correctness runs Agner and watermill-nats through the bad days of a
// consumer group and counts what was lost, handled twice or out of order.
//
//	go run ./correctness [-quick] [-scenario s,s] [-contender c,c] [-markdown] [-parallel n] [-stubborn]
//
// It prints one JSON object for each row, a row being one contender in one
// scenario. The exit code is 1 if Agner broke a promise or a row could not be
// taken; what watermill does is reported and judged by the reader.
//
// What makes its counts mean something:
//
//   - Every row has a nats-server of its own, in its own process, with file
//     storage. Instances are processes too: this program runs itself again.
//     They are stopped by SIGTERM, killed by SIGKILL, and started again after a
//     second if they end by themselves, as an orchestrator does.
//   - One publisher serves all: plain nats.go, one event after the other, each
//     confirmed by the stream. The messages carry both CloudEvents attributes and
//     watermill's id; only the subject is the contender's own.
//   - The handler is the same for all. It writes what it does into a file before
//     it returns, so that neither a crash nor a lost acknowledgement hides a run.
//   - The checker knows no contender. It reads the streams for what was stored
//     and dead-lettered, the files for what was handled, and asks the server
//     what the group has not settled.
//
// docs/correctness.md has the table, the configurations and their reasons.
package main
