package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/group"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

// Exit codes, part of what scripts rely on. docs/natsctl.md lists them.
const (
	exitOK        = 0
	exitError     = 1 // whatever has no code of its own
	exitUsage     = 2 // the command line is wrong
	exitNotFound  = 3 // what was named does not exist
	exitNoAnswer  = 4 // no server, nobody there, or no answer in time
	exitUnhealthy = 5 // a check failed: something was lost
)

// codedError carries the exit code that an error calls for.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func coded(code int, format string, args ...any) error {
	return &codedError{code: code, err: fmt.Errorf(format, args...)}
}

func usagef(format string, args ...any) error    { return coded(exitUsage, format, args...) }
func notFoundf(format string, args ...any) error { return coded(exitNotFound, format, args...) }
func noAnswerf(format string, args ...any) error { return coded(exitNoAnswer, format, args...) }

// exitCode maps an error to the program's exit code.
func exitCode(err error) int {
	var c *codedError
	var called *service.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &c):
		return c.code
	case is(err, service.ErrTarget, group.ErrTarget, deadletter.ErrConfig):
		return exitUsage
	case errors.As(err, &called):
		return exitCodeOfCall(called.Code)
	case is(err, jetstream.ErrStreamNotFound, jetstream.ErrConsumerNotFound, jetstream.ErrMsgNotFound,
		stream.ErrMissing, natscontext.ErrNotFound, publish.ErrNoStream, publish.ErrNoSchedule, group.ErrNotFound, deadletter.ErrNotFound):
		return exitNotFound
	case is(err, nats.ErrNoServers, nats.ErrNoResponders, nats.ErrTimeout, nats.ErrDisconnected,
		nats.ErrConnectionClosed, jetstream.ErrNoStreamResponse, context.DeadlineExceeded):
		return exitNoAnswer
	}
	return exitError
}

// exitCodeOfCall maps what a service, or the call itself, said.
func exitCodeOfCall(code service.Code) int {
	switch code {
	case service.CodeNotFound:
		return exitNotFound
	case service.CodeUnavailable, service.CodeDeadlineExceeded:
		return exitNoAnswer
	default:
		return exitError
	}
}

func is(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
