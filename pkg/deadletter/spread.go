package deadletter

import (
	"context"
	"hash/maphash"
	"sync"
)

// item is a letter to be worked on.
type item struct {
	seq   uint64
	shard uint64 // items of one shard are worked on in order
	skip  error  // why there is nothing to be done about it
	at    *Letter
}

var shardSeed = maphash.MakeSeed() //nolint:gochecknoglobals // of no meaning outside this process

func shardOf(s string) uint64 { return maphash.String(shardSeed, s) }

// Result is what became of one letter.
type Result struct {
	// Letter is the one that was worked on; of one that could not be read only
	// its sequence.
	Letter *Letter

	// Skipped says why nothing was done: it matches ErrNotFound, ErrLetter,
	// ErrNoLane, ErrNoSubscription, ErrOriginGone, ErrTooLarge or ErrRedacted. The
	// letter stands where it was.
	Skipped error

	// Stream, Subject and Sequence say where a replay put the event.
	Stream   string
	Subject  string
	Sequence uint64
	// Repeated says that the lane held it already, from a replay that was
	// interrupted before it removed the dead letter.
	Repeated bool
}

// spread works on items by several workers, those of one shard in order, and
// yields what comes of each. It stops at the first error of work, at the end of
// ctx, or when yield has enough; what is under way is finished, and yielded if
// that is still wanted. feed gives the items until more says that it is enough.
func (c *Client) spread(ctx context.Context, feed func(give func(item) (more bool)) error, work func(context.Context, item) (Result, error), yield func(Result, error) bool) {
	stop := make(chan struct{})
	results := make(chan outcome, c.workers)
	go func() {
		var running sync.WaitGroup
		lines := make([]chan item, c.workers)
		for i := range lines {
			lines[i] = make(chan item, 1)
			running.Go(func() { workOn(ctx, lines[i], stop, work, results) })
		}
		err := feed(func(it item) bool {
			select {
			case lines[it.shard%uint64(len(lines))] <- it:
				return true
			case <-stop:
			case <-ctx.Done():
			}
			return false
		})
		for _, line := range lines {
			close(line)
		}
		running.Wait()
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			results <- outcome{err: err}
		}
		close(results)
	}()
	stopped, wanted := false, true
	halt := func() {
		if !stopped {
			stopped = true
			close(stop)
		}
	}
	var failed error
	for r := range results {
		switch {
		case r.err != nil:
			if failed == nil {
				failed = r.err
			}
			halt()
		case wanted:
			if wanted = yield(r.Result, nil); !wanted {
				halt()
			}
		}
	}
	if failed != nil && wanted {
		yield(Result{}, failed)
	}
}

type outcome struct {
	Result
	err error
}

// workOn is one worker. A step that has begun is finished also when ctx ends, so
// that an interruption falls between letters where it can.
func workOn(ctx context.Context, line <-chan item, stop <-chan struct{}, work func(context.Context, item) (Result, error), results chan<- outcome) {
	for it := range line {
		select {
		case <-stop:
			continue
		case <-ctx.Done():
			continue
		default:
		}
		r, err := work(context.WithoutCancel(ctx), it)
		results <- outcome{r, err}
	}
}
