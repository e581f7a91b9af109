// Package chaos is the machine that tries to break Agner: it runs real workers in
// processes of their own against real servers, breaks them by a plan that a seed
// replays, writes down what happened as it happens, and has a checker judge the
// outcome.
//
// For the inbox ([RunInbox], `make inbox-chaos`):
//
//   - Senders in the parent process send numbered messages, each key by one of
//     them, and publish numbered events that the inbox subscribes to. What was
//     acknowledged goes into the history.
//   - Workers, child processes, run pkg/inbox with a fold that shows every error:
//     of each origin the entity keeps a count, a sum and a chain of hashes over the
//     messages' ids, and publishes them after every nth message.
//   - The nemesis ([NewPlan]) kills, pauses, stops and adds workers, cuts or
//     silences their connections, and on a cluster makes leaders step down and
//     kills servers.
//   - The checker ([Check]) knows the history, the streams EVENTS and STATE as
//     docs/wire.md has them, and the fold; nothing of how the inbox works. It
//     compares every entity's state and every output.
//
// It proves what it saw: no message lost, doubled, reordered or applied wrongly
// under these faults, on one machine, whose clock and disk are sound. A crash of
// the machine or of the disk, a jump of the clock and a partition between servers
// are not among the faults. docs/design/chaos.md has the method.
//
// Only tests and the program in the folder run use this package.
package chaos
