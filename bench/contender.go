package main

import (
	"context"
	"errors"
)

// contender does the works in its own way. Setting up is not measured; what the
// returned functions do is. They are called by several goroutines at a time
// where a work says so.
type contender interface {
	Name() string

	// Publish returns a function that publishes one order and returns once the
	// stream has stored it.
	Publish(ctx context.Context, s *session) (publishFunc, error)

	// PublishAsync returns a function that publishes without waiting, with at
	// most asyncWindow orders unacknowledged, and one that waits for all of
	// them and tells whether one failed.
	PublishAsync(ctx context.Context, s *session) (send publishFunc, flush func(context.Context) error, err error)

	// Consume gives every stored order to handle, on the given number of
	// workers, and acknowledges it afterwards, until ctx ends.
	Consume(ctx context.Context, s *session, workers int, handle handleFunc) error

	// Call serves an endpoint that sends the order back with the answer in it,
	// and returns a function that calls it.
	Call(ctx context.Context, s *session) (callFunc, error)

	// Encode returns a function that makes the sample event's message, and
	// Decode one that reads it.
	Encode() (func() error, error)
	Decode() (func() error, error)
}

type (
	publishFunc func(ctx context.Context, o Order) error
	handleFunc  func(id, eventType string, o Order) error
	callFunc    func(ctx context.Context, o Order) (Order, error)
)

// asyncWindow is how many publishes may be unacknowledged: the same for all.
const asyncWindow = 4096

// errSkip says that a contender does not take part in a work.
var errSkip = errors.New("skipped")

// skips takes part in nothing: contenders embed it.
type skips struct{}

func (skips) Publish(context.Context, *session) (publishFunc, error) { return nil, errSkip }

func (skips) PublishAsync(context.Context, *session) (publishFunc, func(context.Context) error, error) {
	return nil, nil, errSkip
}

func (skips) Consume(context.Context, *session, int, handleFunc) error { return errSkip }
func (skips) Call(context.Context, *session) (callFunc, error)         { return nil, errSkip }
func (skips) Encode() (func() error, error)                            { return nil, errSkip }
func (skips) Decode() (func() error, error)                            { return nil, errSkip }

// contenders are all there are. The one that a work is compared with, and its
// control, run in every selection.
func contenders() []contender {
	return []contender{
		raw{name: baseRaw},
		raw{name: baseRaw + again},
		cesdk{name: baseSDK},
		cesdk{name: baseSDK + again},
		upstream{name: baseMicro},
		upstream{name: baseMicro + again},
		agner{},
	}
}

const (
	baseRaw   = "raw"
	baseSDK   = "cesdk"
	baseMicro = "micro"
	again     = "-again" // the same once more: the control
)
