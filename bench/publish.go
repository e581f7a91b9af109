package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// publishWith measures goroutines that publish one order after the other, each
// waiting until its order is stored.
func publishWith(workers int) func(context.Context, string, contender, int) (sample, error) {
	return func(ctx context.Context, url string, c contender, ops int) (_ sample, err error) {
		s, err := openSession(ctx, url)
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, s.close(ctx)) }()
		send, err := c.Publish(ctx, s)
		if err != nil {
			return sample{}, err
		}
		all := orders(warmUp(ops) + ops)
		got, err := repeat(ctx, workers, ops, func(ctx context.Context, i int) error { return send(ctx, all[i]) })
		if err != nil {
			return sample{}, err
		}
		return got, s.verifyStored(ctx, len(all))
	}
}

// repeat runs op by several workers, first to warm up, then on the clock, and
// times each single one.
func repeat(ctx context.Context, workers, ops int, op func(ctx context.Context, i int) error) (sample, error) {
	warm := warmUp(ops)
	if err := spread(ctx, workers, warm, op); err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	times := make([]time.Duration, ops)
	timed := func(ctx context.Context, i int) error {
		start := time.Now()
		err := op(ctx, warm+i)
		times[i] = time.Since(start)
		return err
	}
	if err := calm(ctx); err != nil {
		return sample{}, err
	}
	var m meter
	m.begin()
	if err := spread(ctx, workers, ops, timed); err != nil {
		return sample{}, err
	}
	got := m.end(ops)
	got.percentiles(times)
	return got, nil
}

// spread runs op for 0 to n-1, each worker its share. The first error stops all.
func spread(ctx context.Context, workers, n int, op func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && ctx.Err() == nil; i += workers {
				if err := op(ctx, i); err != nil {
					cancel(fmt.Errorf("operation %d: %w", i, err))
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// publishAsyncWith measures one goroutine that publishes without waiting, until
// all is stored. Customers is how many keys there are; 0 gives each order its
// own.
func publishAsyncWith(customers int) func(context.Context, string, contender, int) (sample, error) {
	return func(ctx context.Context, url string, c contender, ops int) (_ sample, err error) {
		s, err := openSession(ctx, url)
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, s.close(ctx)) }()
		send, flush, err := c.PublishAsync(ctx, s)
		if err != nil {
			return sample{}, err
		}
		all := orders(warmUp(ops) + ops)
		if customers > 0 {
			fewCustomers(all, customers)
		}
		run := func(part []Order) error {
			for i := range part {
				if err := send(ctx, part[i]); err != nil {
					return fmt.Errorf("operation %d: %w", i, err)
				}
			}
			return flush(ctx)
		}
		if err := run(all[:len(all)-ops]); err != nil {
			return sample{}, fmt.Errorf("warm-up: %w", err)
		}
		if err := calm(ctx); err != nil {
			return sample{}, err
		}
		var m meter
		m.begin()
		if err := run(all[len(all)-ops:]); err != nil {
			return sample{}, err
		}
		return m.end(ops), s.verifyStored(ctx, len(all))
	}
}

// verifyStored fails a sample whose stream holds another number of events.
func (s *session) verifyStored(ctx context.Context, want int) error {
	have, err := s.stored(ctx)
	if err != nil {
		return err
	}
	if have != uint64(want) { //nolint:gosec // a count is not negative
		return fmt.Errorf("the stream holds %d events, %d were published", have, want)
	}
	return nil
}
