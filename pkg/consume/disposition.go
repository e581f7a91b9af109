package consume

import (
	"errors"
	"time"
)

// RetryAfter wraps a handler's error so that the event is run again after d,
// instead of the subscription's own delay. It counts as an attempt: once
// MaxAttempts are used up the event is a dead letter. The server's timer makes
// d at least 250 ms.
func RetryAfter(d time.Duration, err error) error {
	return &retryAfterError{d: max(d, 0), err: reason(err)}
}

// DeadLetter wraps a handler's error so that the event becomes a dead letter
// at once: for what no further attempt can mend.
func DeadLetter(err error) error { return &deadLetterError{err: reason(err)} }

// Discard wraps a handler's error so that the event is dropped: no further
// attempt, no dead letter. It is counted, and the server tells of it by its
// advisory of a terminated message.
func Discard(err error) error { return &discardError{err: reason(err)} }

var errUnsaid = errors.New("no reason given")

func reason(err error) error {
	if err == nil {
		return errUnsaid
	}
	return err
}

type retryAfterError struct {
	d   time.Duration
	err error
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

type deadLetterError struct{ err error }

func (e *deadLetterError) Error() string { return e.err.Error() }
func (e *deadLetterError) Unwrap() error { return e.err }

type discardError struct{ err error }

func (e *discardError) Error() string { return e.err.Error() }
func (e *discardError) Unwrap() error { return e.err }

// undecodableError is the error of data that the handler's type cannot take: no
// attempt can mend it.
type undecodableError struct{ err error }

func (e *undecodableError) Error() string { return e.err.Error() }
func (e *undecodableError) Unwrap() error { return e.err }

// outcome is what becomes of a delivery.
type outcome int

const (
	outcomeAck outcome = iota
	outcomeRetry
	outcomeDead
	outcomeDiscard
	outcomeHandBack // to the group, at once, without cost
)

// Reasons of a dead letter, in its header Agner-Dead-Reason.
const (
	reasonInvalid     = "invalid"     // not a CloudEvent, or not this subject's
	reasonUndecodable = "undecodable" // the data are not of the handler's type
	reasonExhausted   = "exhausted"   // MaxAttempts runs failed
	reasonRejected    = "rejected"    // the handler said DeadLetter
	reasonKilled      = "killed"      // its runs ended the process, see suspect.go
)

// verdict is an outcome with what it needs.
type verdict struct {
	outcome outcome
	err     error
	reason  string        // of a dead letter
	delay   time.Duration // of a retry
}

// judge turns a handler's error into a verdict for a run with that number.
func judge(err error, attempt int, p retryPolicy) verdict {
	if err == nil {
		return verdict{outcome: outcomeAck}
	}
	var (
		bad   *undecodableError
		dead  *deadLetterError
		drop  *discardError
		after *retryAfterError
	)
	switch {
	case errors.As(err, &drop):
		return verdict{outcome: outcomeDiscard, err: err}
	case errors.As(err, &dead):
		return verdict{outcome: outcomeDead, err: err, reason: reasonRejected}
	case errors.As(err, &bad):
		return verdict{outcome: outcomeDead, err: err, reason: reasonUndecodable}
	case attempt >= p.maxAttempts:
		return verdict{outcome: outcomeDead, err: err, reason: reasonExhausted}
	case errors.As(err, &after):
		return verdict{outcome: outcomeRetry, err: err, delay: after.d}
	}
	return verdict{outcome: outcomeRetry, err: err, delay: p.delay(attempt)}
}
