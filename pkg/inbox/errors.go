package inbox

import (
	"errors"
	"fmt"
)

var (
	// ErrConfig reports a configuration that New refuses.
	ErrConfig = errors.New("configuration is not valid")
	// ErrPartitions reports an inbox that exists with another number of
	// partitions: it is fixed when the inbox is made.
	ErrPartitions = errors.New("inbox has another number of partitions")
	// ErrRunning reports a second Run of an Inbox that runs already.
	ErrRunning = errors.New("already running")
	// ErrNotFound reports an entity without a stored state.
	ErrNotFound = errors.New("entity has no stored state")
	// ErrStateTooLarge reports a state beyond Config.MaxState.
	ErrStateTooLarge = errors.New("state is too large")
	// ErrTooLarge reports a handler whose states and outputs do not fit into one
	// commit, or an output beyond the server's max_payload.
	ErrTooLarge = errors.New("too large for one commit")
	// ErrStateVersion reports a stored state of a version that this program
	// cannot read: a later one, or an earlier one without Config.Upgrade.
	ErrStateVersion = errors.New("state has a version that cannot be read")
	// ErrNoAnswer reports an Ask whose answer did not come in time: the question
	// may have been handled, or may be later.
	ErrNoAnswer = errors.New("no answer in time")
	// ErrAnswer reports an Ask that its handler refused or failed; the error is
	// an [AnswerError].
	ErrAnswer = errors.New("the entity answers with an error")
	// ErrHung reports a handler that did not return although its deadline had
	// passed and its context was cancelled.
	ErrHung = errors.New("handler ignores its deadline")

	// errFenced ends the run of a partition that another instance has claimed.
	errFenced = errors.New("fenced: another instance has claimed the partition")
	// errStale ends the run of a partition whose cached state proved not to be
	// the stored one; it is claimed again and read afresh.
	errStale = errors.New("a cached state was not the stored one")
)

// PanicError is the error of a handler that panicked.
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

// AnswerError is what an [Ask] returns when the handler answered with an error.
// It matches ErrAnswer. The state is as it was before the question.
type AnswerError struct {
	// Text is that of [Refuse]; of any other error only that there was one
	// crosses the wire.
	Text string
	// Refused says that the handler refused by Refuse, and has not failed.
	Refused bool
}

// Error implements error.
func (e *AnswerError) Error() string { return e.Text }

// Is matches ErrAnswer.
func (e *AnswerError) Is(target error) bool { return target == ErrAnswer }

// Refuse is an error for handlers made by [Answer] whose text the asker is to
// see. It discards what the handler did, like every error.
func Refuse(format string, args ...any) error {
	return &AnswerError{Text: fmt.Sprintf(format, args...), Refused: true}
}

// DeadLetter is an error for handlers made by [On]: the message becomes a dead
// letter at once, without further attempts.
func DeadLetter(err error) error { return &deadLetterError{err} }

type deadLetterError struct{ err error }

func (e *deadLetterError) Error() string { return e.err.Error() }
func (e *deadLetterError) Unwrap() error { return e.err }
