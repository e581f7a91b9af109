package service

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrClosed is wrapped by the error of a call on a closed [Client].
	ErrClosed = errors.New("service: client is closed")
	// ErrRunning is returned by [Service.Run] while another Run goes on.
	ErrRunning = errors.New("service: already running")
	// ErrConfig is wrapped by errors of [New] and [NewClient].
	ErrConfig = errors.New("service: configuration is not valid")
	// ErrDrainTimeout is wrapped by the error of a Run whose handlers outlasted
	// DrainTimeout.
	ErrDrainTimeout = errors.New("service: handlers outlasted DrainTimeout")
	// ErrTarget is wrapped by the error of a call to what is no
	// "service.endpoint".
	ErrTarget = errors.New("service: not a call target")
)

// Error is how a call fails. A handler makes one with [Errorf] to tell its
// caller why; a caller gets one from [Call] and [Cast], whatever went wrong.
//
// An Error is a value that does not change; it is safe for concurrent use.
type Error struct {
	// Code is the class of the failure.
	Code Code
	// Message says what happened. It crosses the wire.
	Message string
	// ID, of an internal error, stands in the service's log beside the cause,
	// which does not cross the wire.
	ID string
	// Target is the "service.endpoint" that was called; empty on the error of
	// a handler.
	Target string
	// Instance is the instance that answered, if it said so.
	Instance string

	origin origin
	err    error
}

// origin tells who made an Error.
type origin uint8

const (
	byHandler origin = iota // Errorf, here
	byClient                // this process concluded it
	byRemote                // the service said it
)

// Error gives target, code and message.
func (e *Error) Error() string {
	s := e.Code.String() + ": " + e.Message
	if e.Target != "" {
		s = "call " + e.Target + ": " + s
	}
	if e.ID != "" {
		s += " (error id " + e.ID + ")"
	}
	return s
}

// Unwrap returns the local cause: what %w in [Errorf] wrapped, or the error of
// the connection or context. What a remote handler wrapped stays there.
func (e *Error) Unwrap() error { return e.err }

// Is makes an error of a context out of the code that stands for it, so that
// errors.Is(err, context.DeadlineExceeded) holds whichever side saw it first.
func (e *Error) Is(target error) bool {
	return e.Code == CodeDeadlineExceeded && target == context.DeadlineExceeded ||
		e.Code == CodeCanceled && target == context.Canceled
}

// Errorf makes the error by which a handler tells its caller what is wrong.
// The formatted text crosses the wire; %w keeps the cause for errors.Is on
// this side only. A code outside the closed set becomes [CodeInternal].
func Errorf(code Code, format string, args ...any) *Error {
	if code < CodeCanceled || code > CodeUnavailable {
		code = CodeInternal
	}
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), err: causeOf(err)}
}

// causeOf returns what err wraps: itself if it wraps anything, since it may
// wrap several.
func causeOf(err error) error {
	switch w := err.(type) { //nolint:errorlint // asks how err itself was made
	case interface{ Unwrap() error }:
		return w.Unwrap()
	case interface{ Unwrap() []error }:
		return err
	}
	return nil
}

// IsRemote tells whether the service said err, in contrast to what this
// process concluded by itself: nobody there, time is up, the connection is
// closed, the reply cannot be read.
func IsRemote(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.origin == byRemote
}

// CodeOf returns the code of err: that of an [Error] in its chain,
// CodeDeadlineExceeded or CodeCanceled for a context's error, CodeInternal for
// any other, and 0 for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		return CodeCanceled
	}
	return CodeInternal
}
