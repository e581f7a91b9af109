package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// work is one thing that contenders do, ops times in a sample at scale 1.
type work struct {
	name string
	ops  int
	base string // the contender that others are compared with
	run  func(ctx context.Context, url string, c contender, ops int) (sample, error)
}

func works() []work {
	return []work{
		{"publish-sync", 2_000, baseRaw, publishWith(1)},
		{"publish-sync-64", 20_000, baseRaw, publishWith(64)},
		{"publish-async", 50_000, baseRaw, publishAsyncWith(0)},
		{"publish-async-1000-keys", 50_000, baseRaw, publishAsyncWith(1000)},
		{"consume-1", 100_000, baseRaw, consumeWith(1)},
		{"consume-16", 100_000, baseRaw, consumeWith(16)},
		{"call-1", 2_000, baseRaw, callWith(1, 0)},
		{"call-64", 20_000, baseRaw, callWith(64, 0)},
		{"call-64-handler-1ms", 2_000, baseMicro, callWith(64, time.Millisecond)},
		{"encode", 100_000, baseSDK, loop(contender.Encode)},
		{"decode", 100_000, baseSDK, loop(contender.Decode)},
	}
}

const (
	// minOps keeps a sample a sample, whatever the scale.
	minOps = 128
	// sampleTimeout ends a contender that is stuck.
	sampleTimeout = 2 * time.Minute
)

func (w work) title() string { return w.name }

// do takes one sample. Scale divides the number of operations.
func (w work) do(ctx context.Context, url string, c contender, scale int) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sampleTimeout, fmt.Errorf("not done within %s", sampleTimeout))
	defer cancel()
	s, err := w.run(ctx, url, c, max(w.ops/scale, minOps))
	if err != nil {
		return sample{}, fmt.Errorf("%s by %s: %w", w.name, c.Name(), err)
	}
	return s, nil
}

// warmUp is how many operations precede those that are measured.
func warmUp(ops int) int { return max(ops/10, minOps/2) }

// pick chooses by a comma-separated list of names; an empty list is all.
func pick[T any](what, list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var out []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == want })
		if i < 0 {
			return nil, fmt.Errorf("no %s %q; there are %s", what, want, strings.Join(names(all, name), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}
