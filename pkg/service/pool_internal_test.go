package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// poolOf runs an endpoint without a connection: casts need none.
func poolOf(h func(context.Context, int) (int, error), opts ...EndpointOption) *pool {
	ep := newEndpoint("work", h, opts)
	srv := &server{
		guard: replyGuard{"_INBOX."}, born: time.Now(), values: context.Background(),
		log: slog.New(slog.DiscardHandler), badReplies: new(atomic.Int64),
	}
	return newPool(srv, ep)
}

func castOf(n int) *nats.Msg { return &nats.Msg{Data: []byte(strconv.Itoa(n))} }

// Whatever the handlers do, as many run at once as may, everything that came is
// run or refused, and the workers end with their feed.
func TestPoolRunsEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { poolRun(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func poolRun(t *testing.T, rng *rand.Rand) {
	t.Helper()
	concurrency, queue, requests := 1+rng.IntN(5), rng.IntN(8), 1+rng.IntN(300)
	shares := [4]int{rng.IntN(10), rng.IntN(3), rng.IntN(3), rng.IntN(2)}
	takes := make([]time.Duration, requests)
	for i := range takes {
		takes[i] = draw(rng, shares)
	}
	var running, most, ran atomic.Int64
	p := poolOf(func(_ context.Context, i int) (int, error) {
		now := running.Add(1)
		defer running.Add(-1)
		most.Store(max(most.Load(), now))
		ran.Add(1)
		switch d := takes[i]; {
		case d < 0:
			runtime.Goexit()
		case d > 0:
			<-time.After(d)
		}
		return i, nil
	}, WithConcurrency(concurrency), WithQueue(queue))
	p.start()
	for i := range requests {
		p.feed.in <- castOf(i)
		if rng.IntN(3) == 0 {
			<-time.After(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
	}
	p.feed.seal()
	p.workers.Wait()
	if got := ran.Load() + p.ep.stats.refused.Load(); got != int64(requests) {
		t.Errorf("%d run and %d refused of %d", ran.Load(), p.ep.stats.refused.Load(), requests)
	}
	if most.Load() > int64(concurrency) {
		t.Errorf("%d ran at once, %d may", most.Load(), concurrency)
	}
	if r, w := p.load(); r != 0 || w != 0 {
		t.Errorf("%d run and %d wait at the end", r, w)
	}
	<-time.After(3 * watchEvery) // a last look of the watch finds nothing to do
}

// draw is how long a handler takes: nothing, a bit, long, or it ends its
// goroutine.
func draw(rng *rand.Rand, shares [4]int) time.Duration {
	choice := rng.IntN(shares[0] + shares[1] + shares[2] + shares[3] + 1)
	for i, n := range shares {
		if choice < n {
			return []time.Duration{0, 50 * time.Microsecond, 30 * time.Millisecond, -1}[i]
		}
		choice -= n
	}
	return 0
}

// A handler that blocks though all before it were short must not hold up those
// behind it for longer than the watch takes to see it.
func TestPoolWatchFreesTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		block, behind := make(chan struct{}), make(chan time.Time, 1)
		p := poolOf(func(_ context.Context, i int) (int, error) {
			switch i {
			case 1:
				<-block
			case 2:
				behind <- time.Now()
			}
			return i, nil
		})
		for range 200 { // short ones with others behind them: one worker does all
			p.feed.in <- castOf(0)
		}
		p.start()
		synctest.Wait()
		p.mu.Lock()
		long := p.pace.long
		p.mu.Unlock()
		if long > much {
			t.Fatalf("after 200 short handlers %v of them count as long", long)
		}
		at := time.Now()
		for _, n := range []int{1, 2} {
			p.feed.in <- castOf(n)
		}
		if waited := (<-behind).Sub(at); waited > 2*watchEvery {
			t.Errorf("the next waited for %v", waited)
		}
		close(block)
		p.feed.seal()
		p.workers.Wait()
	})
}

// While requests come one by one no timer runs.
func TestPoolNeedsNoWatchWhenIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		p := poolOf(func(context.Context, int) (int, error) { done <- struct{}{}; return 0, nil })
		p.start()
		for range 100 {
			p.feed.in <- castOf(0)
			<-done
			synctest.Wait()
		}
		p.mu.Lock()
		if p.pace.serial > 2 || p.pace.watching {
			t.Errorf("the watch was needed %d times", p.pace.serial)
		}
		p.mu.Unlock()
		p.feed.seal()
		p.workers.Wait()
	})
}

func TestEarlyCancelsAreBounded(t *testing.T) {
	t.Parallel()
	var c earlyCancels
	now := time.Now()
	for i := range 10 * earlyMax {
		c.add(strconv.Itoa(i), now)
	}
	if n := len(c.young) + len(c.old); n > 2*earlyMax {
		t.Errorf("%d are kept", n)
	}
	if !c.take(strconv.Itoa(10*earlyMax - 1)) {
		t.Error("the last is forgotten")
	}
	if c.take(strconv.Itoa(10*earlyMax - 1)) {
		t.Error("one is taken twice")
	}
	c.add("a", now)
	c.add("b", now.Add(earlyFor))
	if !c.take("a") {
		t.Error("forgotten too early")
	}
	c.add("a", now.Add(earlyFor))
	c.add("c", now.Add(2*earlyFor))
	c.add("d", now.Add(3*earlyFor))
	if c.take("a") {
		t.Error("kept for too long")
	}
}

func TestErrorReplyIsNeverEmptyAndFitsHeaders(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a\r\nNats-Rollup: all", "\x00\x7f\xff", string(make([]byte, 1<<20))} {
		m, err := errorReply("_INBOX.x", "i", Errorf(CodeNotFound, "%s", text))
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Data) == 0 || len(m.Data) > 64<<10 || !json.Valid(m.Data) {
			t.Errorf("body of %d bytes: %.80q", len(m.Data), m.Data)
		}
		for name, values := range m.Header {
			for _, c := range []byte(values[0]) {
				if c < ' ' || c == 0x7f {
					t.Errorf("%s: %.40q", name, values[0])
					break
				}
			}
			if len(values[0]) > maxErrorHeader {
				t.Errorf("%s has %d bytes", name, len(values[0]))
			}
		}
	}
}
