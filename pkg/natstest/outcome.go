package natstest

import (
	"fmt"
	"time"

	"github.com/agner-go/agner/pkg/deadletter"
)

// Kind is what became of an event.
type Kind string

// Kinds of outcome.
const (
	Acked     Kind = "acked"     // the handler returned nil
	Retried   Kind = "retried"   // it will be run again, [Outcome.After] later
	Dead      Kind = "dead"      // it stands in the dead letters
	Discarded Kind = "discarded" // the handler dropped it
)

// Outcome is what became of one run of a handler, as the broker has it.
type Outcome struct {
	Kind Kind
	// Attempt is which attempt the run was, from 1; data that cannot be decoded
	// count as a run.
	Attempt int
	// Err is what the handler returned, or the *consume.PanicError. Of a
	// handler that outlasted its timeout it is what it returned in the end.
	Err error
	// Panicked says that the handler panicked.
	Panicked bool
	// After is the wait before the next attempt, of [Retried].
	After time.Duration
	// Letter is the dead letter, of [Dead]: with reason, error, stack.
	Letter *deadletter.Letter
}

// Reason is why the event is a dead letter, "" if it is none: exhausted, rejected,
// undecodable, invalid, killed.
func (o Outcome) Reason() string {
	if o.Letter == nil {
		return ""
	}
	return o.Letter.Reason
}

// String says it in one line, for the messages of tests.
func (o Outcome) String() string {
	s := string(o.Kind)
	switch o.Kind {
	case Retried:
		s = fmt.Sprintf("retried after %s", o.After)
	case Dead:
		s = fmt.Sprintf("dead (%s)", o.Reason())
	case Acked, Discarded:
	}
	if o.Err != nil {
		s += ": " + o.Err.Error()
	}
	return s
}
