// Package fleetlog writes and reads the stream AGNER_FLEET: what happened to
// the fleet itself, such as instances that went down, children that were
// restarted, and what an administrator did. It answers "why, at 03:12?".
//
// A [Writer] never blocks the work and never fails it: what it is given waits
// in a bounded buffer until the server has stored it. What the buffer cannot
// hold is lost, counted and logged. The log is an account, and nothing is ever
// decided by it.
//
// Each record is a CloudEvent of one shape (docs/wire.md). [Read] reads them.
package fleetlog
