package main

import "context"

// loop measures a function that talks to nobody.
func loop(of func(contender) (func() error, error)) func(context.Context, string, contender, int) (sample, error) {
	return func(ctx context.Context, _ string, c contender, ops int) (sample, error) {
		op, err := of(c)
		if err != nil {
			return sample{}, err
		}
		run := func(n int) error {
			for range n {
				if err := op(); err != nil {
					return err
				}
			}
			return nil
		}
		if err := run(warmUp(ops)); err != nil {
			return sample{}, err
		}
		if err := calm(ctx); err != nil {
			return sample{}, err
		}
		var m meter
		m.begin()
		if err := run(ops); err != nil {
			return sample{}, err
		}
		return m.end(ops), nil
	}
}
