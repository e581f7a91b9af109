package publish

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// The kinds of failure. Every error of a publish is an *Error that matches
// exactly one of them with errors.Is.
var (
	// ErrRejected reports an event that the server refused: it is not in the
	// stream and will not get there.
	ErrRejected = errors.New("rejected")
	// ErrNotSent reports an event that never left: it was invalid, or there was
	// no connection, or the context ended first. It is not in the stream.
	ErrNotSent = errors.New("not sent")
	// ErrUnknown reports an event that was sent and not acknowledged: it may be
	// in the stream, or still get there. Publishing it again with the same id
	// is safe within the dedup window of two minutes.
	ErrUnknown = errors.New("unknown whether it is stored")
)

// Causes that callers tell apart. Beside them an *Error matches
// context.Canceled and context.DeadlineExceeded, nats.ErrDisconnected,
// nats.ErrConnectionClosed, what envelope and subject refuse, and, with
// errors.As, the *jetstream.APIError of the server.
var (
	// ErrClosed reports a publish after Close.
	ErrClosed = errors.New("publisher is closed")
	// ErrNoStream reports that no stream listens on the event's subject.
	ErrNoStream = errors.New("no stream listens on the subject")
	// ErrFull reports a limit of the stream, of the account (streams, consumers,
	// storage) or of the server's storage. It is consume.ErrFull too.
	ErrFull = stream.ErrFull
	// ErrPermission reports that the connection's identity may not do this.
	ErrPermission = errors.New("permission denied")
	// ErrTooLarge reports an event, or a batch, beyond a limit of the server.
	ErrTooLarge = errors.New("too large")
	// ErrPartlyStored reports a batch of which some ids are in the stream
	// already, from an earlier publish, so that it could not be stored whole.
	ErrPartlyStored = errors.New("some events of the batch are stored already")
)

// Error is the error of one publish. It is immutable.
type Error struct {
	// Op is what was done: "publish" or "publish batch".
	Op string
	// Subject is the NATS subject, "" if the event gave none.
	Subject string
	// ID is the id of the event, the first one of a batch.
	ID string
	// Kind is ErrRejected, ErrNotSent or ErrUnknown.
	Kind error
	// Reason is what the server said last, its code and text, or "".
	Reason string
	// Err is the cause.
	Err error
}

// Error names operation, event, kind and cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	if e.ID != "" {
		b.WriteString(" (id " + e.ID + ")")
	}
	b.WriteString(": " + e.Kind.Error())
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Reason != "" && !errors.As(e.Err, new(*jetstream.APIError)) {
		b.WriteString(" (the server said: " + e.Reason + ")")
	}
	return b.String()
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}
