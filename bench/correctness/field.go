package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// field is where a scenario is played: a server, a publisher, a fleet.
type field struct {
	scenario scenario
	layout   layout
	js       jetstream.JetStream
	fleet    *fleet
	pub      *publisher
	journals *journals
}

func (r *field) start(ctx context.Context, at **instance) (err error) {
	*at, err = r.fleet.start(ctx)
	return err
}

// rest waits for d.
func (*field) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// look is how often the harness looks at journals and server.
const look = 50 * time.Millisecond

// handled waits until so many events were handled. A contender that does not
// get there is not waited for longer than 20 s: the scenario goes on.
func (r *field) handled(ctx context.Context, events int) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		_, n, err := r.journals.progress()
		if err != nil {
			return err
		}
		if n >= events {
			return nil
		}
		if err := r.rest(ctx, look); err != nil {
			return err
		}
	}
	return nil
}

func (r *field) deleteDurable(ctx context.Context) error {
	err := r.js.DeleteConsumer(ctx, r.layout.stream, r.layout.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil // a contender has been faster
	}
	return err
}

// load is the publisher at work beside the scenario.
type load struct {
	enough chan struct{}
	ended  chan error
}

func (r *field) load(ctx context.Context) *load {
	l := &load{enough: make(chan struct{}), ended: make(chan error, 1)}
	go func() { l.ended <- r.pub.load(ctx, r.scenario.rate, r.scenario.events, l.enough) }()
	return l
}

// wait waits until all is published.
func (l *load) wait() error {
	if err := <-l.ended; err != nil {
		return fmt.Errorf("trusted publisher: %w", err)
	}
	return nil
}

// end stops publishing.
func (l *load) end() error {
	close(l.enough)
	return l.wait()
}
