package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// ackPoll is how often the server is asked whether it has every ack.
const ackPoll = 2 * time.Millisecond

// consumeWith measures a group that drains a full stream: from the first event that
// a handler is given until the server has the ack of the last.
func consumeWith(workers int) func(context.Context, string, contender, int) (sample, error) {
	return func(ctx context.Context, url string, c contender, ops int) (_ sample, err error) {
		s, err := openSession(ctx, url)
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, s.close(ctx)) }()
		if err := fill(ctx, s, ops); err != nil {
			return sample{}, fmt.Errorf("fill the stream: %w", err)
		}
		if err := calm(ctx); err != nil {
			return sample{}, err
		}
		t := newTally(ops)
		runCtx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		ended := make(chan error, 1)
		go func() { ended <- c.Consume(runCtx, s, workers, t.handle) }()

		got, err := t.measure(ctx, s, ended)
		if errors.Is(err, errSkip) {
			return sample{}, err
		}
		stop(nil)
		if err != nil {
			return sample{}, err
		}
		if err := <-ended; err != nil {
			return sample{}, fmt.Errorf("end: %w", err)
		}
		return got, t.verify()
	}
}

// fill stores n events as Agner publishes them, with ids that tell their number.
func fill(ctx context.Context, s *session, n int) error {
	send, flush, err := sendAsync(s, eventID)
	if err != nil {
		return err
	}
	for i := range n {
		if err := send(ctx, order(i)); err != nil {
			return err
		}
	}
	if err := flush(ctx); err != nil {
		return err
	}
	return s.verifyStored(ctx, n)
}

// tally is the handler that all contenders run: it looks at id and type and
// marks the id as seen.
type tally struct {
	seen    []atomic.Bool
	handled atomic.Int64
	doubled atomic.Int64

	first sync.Once
	meter meter
	done  chan struct{} // closed when every id was seen
}

func newTally(n int) *tally {
	return &tally{seen: make([]atomic.Bool, n), done: make(chan struct{})}
}

func (t *tally) handle(id, eventType string, o Order) error {
	t.first.Do(t.meter.begin)
	i, err := strconv.Atoi(id)
	switch {
	case err != nil:
		return err
	case i < 0 || i >= len(t.seen):
		return fmt.Errorf("event %d was never published", i)
	case eventType != orderType:
		return fmt.Errorf("event %d has type %q", i, eventType)
	case o.Cents != firstCents+int64(i):
		return fmt.Errorf("event %d carries %d cents", i, o.Cents)
	}
	if t.seen[i].Swap(true) {
		t.doubled.Add(1)
		return nil
	}
	if t.handled.Add(1) == int64(len(t.seen)) {
		close(t.done)
	}
	return nil
}

// measure waits until all is seen and acknowledged. A contender that ends
// before that has failed.
func (t *tally) measure(ctx context.Context, s *session, ended <-chan error) (sample, error) {
	select {
	case <-t.done:
	case err := <-ended:
		return sample{}, errors.Join(errors.New("ended before all was handled"), err)
	case <-ctx.Done():
		return sample{}, fmt.Errorf("%d of %d handled: %w", t.handled.Load(), len(t.seen), context.Cause(ctx))
	}
	for {
		switch all, err := s.acknowledged(ctx); {
		case err != nil:
			return sample{}, err
		case all:
			return t.meter.end(len(t.seen)), nil
		}
		if err := rest(ctx, ackPoll); err != nil {
			return sample{}, fmt.Errorf("wait for acks: %w", err)
		}
	}
}

func (t *tally) verify() error {
	if n := t.doubled.Load(); n > 0 {
		return fmt.Errorf("%d events were handled twice", n)
	}
	return nil
}
