package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// session is what one sample works with: empty streams in their final shape and
// two connections, one to send and one to receive.
type session struct {
	send, receive *nats.Conn
	// takes is how long a handler of calls waits, as for a database.
	takes time.Duration

	closers []func(context.Context) error
}

// namespace of the streams and subjects: none.
const namespace = ""

// eventsStream is where all contenders publish.
const eventsStream = stream.EventsName

func openSession(ctx context.Context, url string) (*session, error) {
	s := &session{}
	if err := s.open(ctx, url); err != nil {
		return nil, errors.Join(fmt.Errorf("open session: %w", err), s.close(ctx))
	}
	return s, nil
}

func (s *session) open(ctx context.Context, url string) error {
	for _, conn := range []**nats.Conn{&s.send, &s.receive} {
		nc, err := nats.Connect(url)
		if err != nil {
			return err
		}
		*conn = nc
		s.onClose(func(context.Context) error { nc.Close(); return nil })
	}
	js, err := jetstream.New(s.send)
	if err != nil {
		return err
	}
	if err := deleteStreams(ctx, js); err != nil {
		return err
	}
	return makeStreams(ctx, js)
}

// codeStoreFailed is the server's answer to a stream that is made while its
// namesake's files are still being removed, which happens on a busy machine.
const codeStoreFailed jetstream.ErrorCode = 10049

func makeStreams(ctx context.Context, js jetstream.JetStream) error {
	p := stream.Provisioner{JS: js, Logger: slog.New(slog.DiscardHandler)}
	for {
		err := p.Ensure(ctx, stream.Scheduled(namespace), stream.Events(namespace), stream.Dead(namespace))
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != codeStoreFailed {
			return err
		}
		if rest(ctx, settle) != nil {
			return err
		}
	}
}

// deleteStreams removes what the sample before has left, buckets too.
func deleteStreams(ctx context.Context, js jetstream.JetStream) error {
	var names []string
	list := js.StreamNames(ctx)
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	for _, name := range names {
		if err := js.DeleteStream(ctx, name); err != nil {
			return fmt.Errorf("delete stream %s: %w", name, err)
		}
	}
	return nil
}

// work is what a handler of calls does beside its answer.
func (s *session) work(ctx context.Context) error {
	if s.takes == 0 {
		return nil
	}
	return rest(ctx, s.takes)
}

// onClose registers what to do when the sample is over, last first.
func (s *session) onClose(f func(context.Context) error) { s.closers = append(s.closers, f) }

func (s *session) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // also when the sample was given up
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i](ctx))
	}
	s.closers = nil
	return errors.Join(errs...)
}

// stored is how many messages the events' stream holds.
func (s *session) stored(ctx context.Context) (uint64, error) {
	js, err := jetstream.New(s.send)
	if err != nil {
		return 0, err
	}
	st, err := js.Stream(ctx, eventsStream)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", eventsStream, err)
	}
	return st.CachedInfo().State.Msgs, nil
}

// acknowledged tells whether the server has the ack of every stored event, from
// each consumer of the stream.
func (s *session) acknowledged(ctx context.Context) (bool, error) {
	js, err := jetstream.New(s.send)
	if err != nil {
		return false, err
	}
	st, err := js.Stream(ctx, eventsStream)
	if err != nil {
		return false, fmt.Errorf("look at stream %s: %w", eventsStream, err)
	}
	consumers := st.ListConsumers(ctx)
	n := 0
	for info := range consumers.Info() {
		n++
		if info.NumAckPending > 0 || info.NumPending > 0 {
			return false, nil
		}
	}
	if err := consumers.Err(); err != nil {
		return false, fmt.Errorf("list consumers of %s: %w", eventsStream, err)
	}
	return n > 0, nil
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
