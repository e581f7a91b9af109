package supervise

import "context"

// A Gate is a shared condition, such as the connection to the broker, without
// which children cannot work. A child that fails while the gate is closed is
// parked: it uses no restart budget and starts again when the gate opens.
//
// Both methods must be safe for concurrent use and must not call the
// supervisor. A Gate may also have a method
//
//	Blames(err error) bool
//
// which reports whether err can only come from the condition ("connection
// closed", not "timeout"). A failure that it blames uses no budget even if
// Open still, or again, reports true.
type Gate interface {
	// Open reports whether the condition holds now.
	Open() bool
	// Wait returns nil once the condition holds, and ctx's error if it ends
	// first.
	Wait(ctx context.Context) error
}
