package service

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// retryPause is the longest pause before the second attempt; it doubles with
	// each further one, and is drawn from zero to that, so that callers that
	// were refused together do not come back together.
	retryPause = 10 * time.Millisecond
	// budgetStart is how many retries a client may make to a service before it
	// has made any calls, budgetMost how many it can save up: an instance that
	// dies takes all the calls with it that it has.
	budgetStart = 10
	budgetMost  = 100
	// budgetUnit makes parts of a retry whole numbers.
	budgetUnit = 1000
)

// budget bounds the retries of one client to one service, so that a service
// that is overloaded is not loaded more by those that it refuses. It is a
// bucket of tokens: each call puts a part of one in, each retry takes a whole
// one (gRPC's retry throttling and Finagle's RetryBudget are of this kind).
type budget struct{ tokens atomic.Int64 }

func newBudget() *budget {
	b := &budget{}
	b.tokens.Store(budgetStart * budgetUnit)
	return b
}

// earn is called for each call. Two at once may both pass the limit, which is
// by less than a token.
func (b *budget) earn(units int64) {
	if b.tokens.Load() < budgetMost*budgetUnit {
		b.tokens.Add(units)
	}
}

// spend takes one token, if there is one.
func (b *budget) spend() bool {
	for {
		have := b.tokens.Load()
		if have < budgetUnit {
			return false
		}
		if b.tokens.CompareAndSwap(have, have-budgetUnit) {
			return true
		}
	}
}

// budgets are those of one client, by service. The map is copied when it
// grows, since it is read by every call.
type budgets struct {
	all atomic.Pointer[map[string]*budget]
	mu  sync.Mutex
}

func (b *budgets) of(service string) *budget {
	if all := b.all.Load(); all != nil {
		if one := (*all)[service]; one != nil {
			return one
		}
	}
	return b.add(service)
}

func (b *budgets) add(service string) *budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]*budget{}
	if old := b.all.Load(); old != nil {
		if one := (*old)[service]; one != nil {
			return one
		}
		maps.Copy(all, *old)
	}
	one := newBudget()
	all[service] = one
	b.all.Store(&all)
	return one
}

// remedy is what may be done about an attempt that failed.
type remedy uint8

const (
	giveBack   remedy = iota // the error is the caller's
	moveOn                   // the instance is gone: to any other, for nothing
	tryRefused               // refused, nothing ran: again, if the budget allows
	tryUnknown               // may have run: again, since the caller said so
)

// attempts makes the call, and makes it again where that is allowed. deadline
// is the call's; bounded says that it is ctx's too.
func (c *Client) attempts(ctx context.Context, r *Request, deadline time.Time, bounded bool) ([]byte, error) {
	b := c.budgets.of(r.Service)
	b.earn(c.ratio)
	try, ran := 1, 1 // of all, and of those that may have run
	for {
		r.prepare(ran)
		data, err := c.attempt(ctx, r, deadline, bounded, try)
		if err == nil {
			return data, nil
		}
		next := r.remedy(ctx, err)
		switch {
		case next == moveOn:
			r.Instance = ""
			r.same.Forget()
			continue
		case next == giveBack || try >= c.attemptsMax || !b.spend() || !pause(ctx, try, deadline):
			return nil, err
		}
		if next == tryUnknown {
			ran++
		}
		if r.same != nil { // it is there, but refuses or is silent
			r.Instance = ""
			r.same.Forget()
		}
		try++
	}
}

// prepare sets what differs between attempts.
func (r *Request) prepare(ran int) {
	if r.same != nil {
		if r.Instance = r.same.of(r.Service); r.Instance == "" {
			r.set(HeaderInstance, anyValue)
		}
	}
	if ran > 1 {
		r.set(HeaderAttempt, strconv.Itoa(ran))
	}
}

func (r *Request) set(header, value string) {
	if r.Header == nil {
		r.Header = nats.Header{}
	}
	r.Header[header] = []string{value}
}

// attempt sends once. With [Retry] it has a part of the time.
func (c *Client) attempt(ctx context.Context, r *Request, deadline time.Time, bounded bool, try int) ([]byte, error) {
	left := time.Until(deadline)
	if left <= 0 {
		return nil, failed(r.target(), CodeDeadlineExceeded, context.DeadlineExceeded)
	}
	if r.retry {
		each := r.each
		if each == 0 {
			each = left / time.Duration(max(1, c.attemptsMax-try+1))
		}
		if each < left && try < c.attemptsMax {
			return c.call(ctx, r, each, false)
		}
	}
	return c.call(ctx, r, left, bounded)
}

func (r *Request) remedy(ctx context.Context, err error) remedy {
	var e *Error
	if ctx.Err() != nil || !errors.As(err, &e) {
		return giveBack
	}
	switch {
	case e.Code == CodeUnavailable && e.origin == byRemote:
		return tryRefused
	case r.same != nil && r.Instance != "" && errors.Is(e, nats.ErrNoResponders):
		return moveOn
	case r.retry && (e.Code == CodeDeadlineExceeded || e.Code == CodeAborted && e.origin == byRemote):
		return tryUnknown
	}
	return giveBack
}

// pause waits before the next attempt; it is false if there is no time for one.
func pause(ctx context.Context, try int, deadline time.Time) bool {
	d := rand.N(retryPause << min(try-1, 10)) //nolint:gosec // jitter, not a secret
	if time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
