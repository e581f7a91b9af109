package service

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newInflight(timeout time.Duration) *inflight {
	return &inflight{srv: &server{born: time.Now()}, deadline: timeout, values: context.Background()}
}

func TestInflightDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := newInflight(time.Second)
		began := time.Now()
		if d, ok := x.Deadline(); !ok || !d.Equal(began.Add(time.Second)) {
			t.Fatalf("deadline %v, %v", d, ok)
		}
		if err := x.Err(); err != nil {
			t.Fatal(err)
		}
		<-x.Done()
		if took := time.Since(began); took != time.Second {
			t.Fatalf("done after %v", took)
		}
		if err := x.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		x.end(endReturned)
		if err := x.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the first end counts, got %v", err)
		}
	})
}

// Without Done no timer runs, so Err must look at the clock.
func TestInflightErrWithoutTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := newInflight(time.Second)
		<-time.After(2 * time.Second)
		if x.hooks.Load() != nil {
			t.Fatal("hooks without need")
		}
		if err := x.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		<-x.Done()
	})
}

func TestInflightChildContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := newInflight(time.Minute)
		before := runtime.NumGoroutine()
		child, cancel := context.WithTimeout(x, time.Hour)
		defer cancel()
		grandchild, cancel2 := context.WithCancelCause(context.WithValue(child, "k", "v")) //nolint:revive,staticcheck // a test's key
		defer cancel2(nil)
		if n := runtime.NumGoroutine(); n != before {
			t.Errorf("%d goroutines for child contexts", n-before)
		}
		if d, _ := child.Deadline(); time.Until(d) != time.Minute {
			t.Errorf("child has %v, not its parent's minute", time.Until(d))
		}
		x.end(endCanceled)
		<-grandchild.Done()
		if !errors.Is(context.Cause(grandchild), context.Canceled) {
			t.Error(context.Cause(grandchild))
		}
		late, cancel3 := context.WithCancel(x)
		defer cancel3()
		<-late.Done()
	})
}

func TestInflightAfterFunc(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := newInflight(time.Minute)
		ran := make(chan string, 3)
		context.AfterFunc(x, func() { ran <- "kept" })
		stop := context.AfterFunc(x, func() { ran <- "stopped" })
		if !stop() || stop() {
			t.Error("stop is true once")
		}
		x.end(endReturned)
		context.AfterFunc(x, func() { ran <- "late" })
		synctest.Wait()
		if got := map[string]bool{<-ran: true, <-ran: true}; !got["kept"] || !got["late"] || len(ran) > 0 {
			t.Errorf("ran %v and %d more", got, len(ran))
		}
		if stop() {
			t.Error("stop after the end")
		}
	})
}

// The parent's values are found, its cancellation is not.
func TestInflightCauseIsItsOwn(t *testing.T) {
	t.Parallel()
	type key struct{}
	parent, cancel := context.WithCancelCause(context.WithValue(context.Background(), key{}, "v"))
	x := newInflight(time.Minute)
	x.values = context.WithoutCancel(parent)
	cancel(errors.New("the run ends"))
	if x.Value(key{}) != "v" || x.Err() != nil || context.Cause(x) != nil {
		t.Fatalf("value %v, err %v, cause %v", x.Value(key{}), x.Err(), context.Cause(x))
	}
}

// Who asks for Done while the context ends must see it closed.
func TestInflightDoneRacesEnd(t *testing.T) {
	t.Parallel()
	for range 2000 {
		x := newInflight(time.Minute)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { <-x.Done() })
			wg.Go(func() {
				c, cancel := context.WithCancel(x)
				defer cancel()
				<-c.Done()
			})
		}
		wg.Go(func() { x.end(endReturned) })
		wg.Wait()
	}
}
