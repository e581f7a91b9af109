package consume

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/agner-go/agner/pkg/envelope"
)

// BatchFunc handles several events of one type at once and says what becomes
// of each: nil means that all are handled; otherwise the result has one error,
// or nil, for each event, with the meaning that a handler's error has. A result
// of another length, or a panic, fails all of them.
type BatchFunc[T any] func(ctx context.Context, events []envelope.Event[T]) []error

// OnBatch subscribes a handler to batches of T's type: up to most events, or
// what has come within wait of the first. Each event has its own attempts and
// its own outcome; an event whose data T cannot take, and one that is run
// alone because it is suspect of killing the process, comes in no batch with
// others. HandlerTimeout bounds the batch, Concurrency is how many batches run
// at once, and middleware is not called: it sees single events.
func OnBatch[T envelope.Payload](h BatchFunc[T], most int, wait time.Duration, opts ...Option) Subscription {
	typ, err := envelope.TypeOf[T]()
	switch {
	case err != nil:
	case h == nil:
		err = fmt.Errorf("handler is nil: %w", ErrConfig)
	case most < 1 || most > maxPrefetch || wait < 0:
		err = fmt.Errorf("batch of %d within %s: use 1 to %d events and a wait of 0 or more: %w", most, wait, maxPrefetch, ErrConfig)
	}
	bind := func(codecs *envelope.Codecs) batchHandler {
		return func(ctx context.Context, raws []envelope.Raw) []error {
			return decodeBatch(ctx, codecs, raws, h)
		}
	}
	return subscription(Subscription{pattern: typ, bindBatch: bind, batchMost: most, batchWait: wait, err: err}, opts)
}

type batchHandler func(ctx context.Context, raws []envelope.Raw) []error

func decodeBatch[T envelope.Payload](ctx context.Context, codecs *envelope.Codecs, raws []envelope.Raw, h BatchFunc[T]) []error {
	out := make([]error, len(raws))
	events := make([]envelope.Event[T], 0, len(raws))
	at := make([]int, 0, len(raws))
	for i := range raws {
		e, err := envelope.DecodeData[T](codecs, &raws[i])
		if err != nil {
			out[i] = &undecodableError{err}
			continue
		}
		events = append(events, e)
		at = append(at, i)
	}
	if len(events) == 0 {
		return out
	}
	errs := h(ctx, events)
	for k, i := range at {
		switch {
		case errs == nil:
		case len(errs) != len(events):
			out[i] = fmt.Errorf("batch handler returned %d outcomes for %d events", len(errs), len(events))
		default:
			out[i] = errs[k]
		}
	}
	return out
}

// gather takes what else belongs to the batch of a delivery: it waits for more
// until the batch is full, its time is over, or the loop drains.
func (l *loop) gather(first *delivery) []*delivery {
	ds := []*delivery{first}
	if first.suspect() {
		return ds
	}
	over := false
	timer := time.AfterFunc(l.sub.batchWait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		over = true
		l.wake.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for l.first < len(l.queue) && len(ds) < l.sub.batchMost && !l.queue[l.first].suspect() {
			d := l.pop()
			if l.stale(d) {
				continue
			}
			d.worker = first.worker
			ds = append(ds, d)
		}
		if len(ds) == l.sub.batchMost || over || l.draining || l.first < len(l.queue) {
			break
		}
		l.wake.Wait()
	}
	for _, d := range ds {
		d.mates = ds
	}
	return ds
}

// processBatch runs a batch and settles each of its events.
func (l *loop) processBatch(first *delivery) (ours bool) {
	ds := l.gather(first)
	attempts := make([]attempt, len(ds))
	verdicts := make([]verdict, len(ds))
	decided := make([]bool, len(ds))
	for i, d := range ds {
		verdicts[i], decided[i] = l.read(d, &attempts[i])
	}
	errs := make([]error, len(ds))
	for i := range errs {
		errs[i] = errGoexit // stands if the handler does not come back
	}
	l.solo.begin(&first.turn, first.suspect(), l.clock)
	if first.suspect() && !decided[0] {
		verdicts[0], decided[0] = l.question(first, &attempts[0])
	}
	defer func() {
		for i := range ds {
			if !decided[i] {
				verdicts[i] = l.judge(errs[i], attempts[i].number)
			}
		}
		ours = l.concludeBatch(ds, attempts, verdicts)
	}()
	l.runBatch(attempts, decided, errs)
	return true // concludeBatch has the last word
}

// runBatch runs the handler on the events that are not decided yet.
func (l *loop) runBatch(attempts []attempt, decided []bool, errs []error) {
	var raws []envelope.Raw
	var at []int
	for i := range attempts {
		if !decided[i] {
			raws = append(raws, attempts[i].event)
			at = append(at, i)
		}
	}
	if len(raws) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(envelope.ContextWithCause(l.base, &raws[0].Attributes), l.sub.handlerTimeout)
	defer cancel()
	for k, err := range invokeBatch(ctx, l.batch, raws) {
		errs[at[k]] = err
	}
}

func invokeBatch(ctx context.Context, h batchHandler, raws []envelope.Raw) (errs []error) {
	defer func() {
		if v := recover(); v != nil {
			err := &PanicError{Value: v, Stack: debug.Stack()}
			errs = make([]error, len(raws))
			for i := range errs {
				errs[i] = err
			}
		}
	}()
	return h(ctx, raws)
}

// concludeBatch claims a batch whose fate is known and carries it out.
func (l *loop) concludeBatch(ds []*delivery, attempts []attempt, verdicts []verdict) (ours bool) {
	l.mu.Lock()
	if ds[0].settled {
		delete(l.hung, ds[0])
		l.notify()
		l.mu.Unlock()
		l.counters.late.Add(uint64(len(ds)))
		return false
	}
	now := time.Now()
	l.running--
	l.solo.end(&ds[0].turn)
	l.pace.ran(ds[0].turn.ran(l.clock) / time.Duration(len(ds)))
	blow := false
	for i, d := range ds {
		d.settled = true
		if o := verdicts[i].outcome; o != outcomeHandBack && l.fuse.ran(o == outcomeRetry || o == outcomeDead, now) {
			blow = true
		}
	}
	if blow {
		l.blow(now)
	}
	l.mu.Unlock()
	for i, d := range ds {
		if verdicts[i].outcome == outcomeAck {
			l.counters.handled.Add(1)
		}
		l.settle(d, &attempts[i], verdicts[i])
	}
	return true
}
