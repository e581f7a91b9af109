package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// callWith measures callers that each wait for the reply to one order before they
// send the next, of handlers that take so long.
func callWith(workers int, takes time.Duration) func(context.Context, string, contender, int) (sample, error) {
	return func(ctx context.Context, url string, c contender, ops int) (_ sample, err error) {
		s, err := openSession(ctx, url)
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, s.close(ctx)) }()
		s.takes = takes
		ask, err := c.Call(ctx, s)
		if err != nil {
			return sample{}, err
		}
		all := orders(warmUp(ops) + ops)
		return repeat(ctx, workers, ops, func(ctx context.Context, i int) error {
			o := all[i]
			have, err := ask(ctx, o)
			if err != nil {
				return err
			}
			if want := answer(o); have != want {
				return fmt.Errorf("the reply is %+v, want %+v", have, want)
			}
			return nil
		})
	}
}
