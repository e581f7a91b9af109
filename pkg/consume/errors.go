package consume

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agner-go/agner/internal/stream"
)

var (
	// ErrConfig reports a configuration that New refuses.
	ErrConfig = errors.New("configuration is not valid")
	// ErrDurableTaken reports a durable of the wanted name that belongs to
	// another group, type or filter. It is refused, never updated: an update
	// would silently re-filter a neighbour's subscription. Give one of the two
	// another name (WithName).
	ErrDurableTaken = errors.New("durable exists for another subscription")
	// ErrDurableGone reports a durable that was deleted while in use.
	ErrDurableGone = errors.New("durable was deleted")
	// ErrRunning reports a second Run of a Consumer that runs already.
	ErrRunning = errors.New("already running")
	// ErrFull reports a limit of a stream, of the account (streams, consumers,
	// storage) or of the server's storage: something could not be made, or what
	// becomes of a failed event could not be stored. Such an event stays
	// pending, and the store is tried again until there is room. It is
	// publish.ErrFull too.
	ErrFull = stream.ErrFull
	// ErrHung reports a handler that did not return although its deadline had
	// passed and its context was cancelled.
	ErrHung = errors.New("handler ignores its deadline")
)

// DrainError says which handlers did not return within DrainTimeout. Their
// events went back to the group.
type DrainError struct {
	Timeout time.Duration
	// Handlers names each as "subscription: event id".
	Handlers []string
}

// Error implements error.
func (e *DrainError) Error() string {
	return fmt.Sprintf("consume: %d handlers still ran after the drain timeout of %s; their events went back to the group: %s",
		len(e.Handlers), e.Timeout, strings.Join(e.Handlers, ", "))
}

// PanicError is the error of a handler that panicked. The event is retried as
// after any other error.
type PanicError struct {
	Value any
	Stack []byte
}

// Error implements error. It leaves the stack to whoever asks for it.
func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// Unwrap returns the value of the panic where that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// HungError is the error of a handler that ignored its deadline and was given
// up: the event is retried as after any other error, and another worker takes
// the place of the one that hangs. It matches ErrHung.
type HungError struct {
	Timeout time.Duration
	Stack   string // of the handler's goroutine when it was given up
}

// Error implements error. It leaves the stack to whoever asks for it.
func (e *HungError) Error() string {
	return fmt.Sprintf("%v: it ran for more than its timeout of %s", ErrHung, e.Timeout)
}

// Is reports whether target is ErrHung.
func (e *HungError) Is(target error) bool { return target == ErrHung }
