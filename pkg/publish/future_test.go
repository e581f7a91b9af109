package publish_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
)

func TestAsync(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{MaxInFlight: 8})
	const n = 500
	futures := make([]*publish.Future, n)
	for i := range futures {
		futures[i] = pub.PublishAsync(t.Context(), tick{Key: fmt.Sprintf("k%d", i%3), N: i})
	}
	last := map[int]uint64{}
	for i, f := range futures {
		ack, err := f.Wait(t.Context())
		if err != nil || ack.Sequence <= last[i%3] {
			t.Fatalf("event %d: %+v, %v, after %d", i, ack, err, last[i%3])
		}
		last[i%3] = ack.Sequence
		select {
		case <-f.Done():
		default:
			t.Fatalf("event %d: Done is open after Wait", i)
		}
	}
	if stored := readTicks(t, js); len(stored) != n {
		t.Errorf("%d events stored", len(stored))
	}
}

// TestConcurrent has many goroutines on one publisher: each gets its own result.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{MaxInFlight: 16})
	l := newLedger()
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for n := 1; n <= 20; n++ {
				ev := tick{Publisher: g, Key: fmt.Sprintf("k%d", n%5), N: n}
				ack, err := pub.Publish(t.Context(), ev)
				l.record(ev, ack.Sequence, err)
			}
		})
	}
	wg.Wait()
	if f := l.inspect(t, js); f.broken() > 0 || f.acked != 64*20 {
		t.Errorf("%+v", *f)
	}
}

// TestWindow holds all acknowledgements back: what is published beyond the
// window waits, no goroutine stands for a message, and waiting for a result ends
// with its own context.
func TestWindow(t *testing.T) { //nolint:paralleltest // counts goroutines
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	const window = 200
	pub := newPublisher(t, proxy.JetStream(t), publish.Config{MaxInFlight: window})
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	proxy.Hold(true)
	before := runtime.NumGoroutine()
	futures := make([]*publish.Future, window)
	for i := range futures {
		futures[i] = pub.PublishAsync(t.Context(), tick{Key: fmt.Sprintf("k%d", i%7), N: i})
	}
	if more := runtime.NumGoroutine() - before; more > 20 {
		t.Errorf("%d more goroutines for %d events in flight", more, window)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := pub.PublishAsync(ctx, tick{N: 2}).Wait(t.Context())
	failure{publish.ErrNotSent, []error{context.DeadlineExceeded}, "window of 200", 0}.check(t, err, 0)
	if _, err := futures[0].Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, publish.ErrUnknown) {
		t.Errorf("waiting with a context that has ended: %v", err)
	}
	proxy.Hold(false)
	for i, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// TestUnusedStartsNothing counts what a publisher takes before its first use.
func TestUnusedStartsNothing(t *testing.T) { //nolint:paralleltest // counts goroutines
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	goroutines, subscriptions := runtime.NumGoroutine(), nc.NumSubscriptions()
	pub, err := publish.New(js, publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	if g, s := runtime.NumGoroutine(), nc.NumSubscriptions(); g > goroutines || s > subscriptions {
		t.Errorf("goroutines %d -> %d, subscriptions %d -> %d", goroutines, g, subscriptions, s)
	}
	if _, err := js.Stream(t.Context(), "EVENTS"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("EVENTS: %v", err)
	}
	if err := pub.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	nc := proxy.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := publish.New(js, publish.Config{Source: "/test", MaxInFlight: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	proxy.Hold(true, testserver.ToClient)
	futures := make([]*publish.Future, 3)
	for i := range futures {
		futures[i] = pub.PublishAsync(t.Context(), tick{Key: "k", N: i + 2})
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := pub.Publish(t.Context(), tick{N: 9})
		waiting <- err
	}()
	closed := make(chan error, 1)
	go func() { closed <- pub.Close(t.Context()) }()
	failure{publish.ErrNotSent, []error{publish.ErrClosed}, "closed", 0}.check(t, <-waiting, 0)
	select {
	case err := <-closed:
		t.Fatalf("closed with events in flight: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	proxy.Hold(false)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for i, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Errorf("event %d was in flight: %v", i, err)
		}
	}
	_, err = pub.Publish(t.Context(), tick{N: 10})
	failure{publish.ErrNotSent, []error{publish.ErrClosed}, "closed", 0}.check(t, err, 0)
	if err := pub.Close(t.Context()); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if n := nc.NumSubscriptions(); n > 1 { // jetstream's own
		t.Errorf("%d subscriptions are left", n)
	}
}

// TestCloseGivesUp ends Close's context first.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	pub, err := publish.New(proxy.JetStream(t), publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	proxy.Hold(true)
	sent := pub.PublishAsync(t.Context(), tick{Key: "k", N: 2})
	behind := pub.PublishAsync(t.Context(), tick{Key: "k", N: 3})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := pub.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	_, err = sent.Wait(t.Context())
	failure{publish.ErrUnknown, []error{publish.ErrClosed}, "closed", 0}.check(t, err, 0)
	_, err = behind.Wait(t.Context())
	failure{publish.ErrNotSent, []error{publish.ErrClosed}, "closed", 0}.check(t, err, 0)
}

// TestHowLong needs minutes, of fake time.
func TestHowLong(t *testing.T) { //nolint:paralleltest // a bubble is alone
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) { //nolint:thelper // the test itself, in fake time
		pub, err := publish.New(s.JetStream(t), publish.Config{Source: "/test", Provision: new(false)})
		if err != nil {
			t.Fatal(err)
		}
		try := func(timeout, want time.Duration, wantFailure failure) {
			t.Helper()
			ctx, cancel := t.Context(), func() {}
			if timeout > 0 {
				ctx, cancel = context.WithTimeout(ctx, timeout)
			}
			defer cancel()
			start := time.Now()
			_, err := pub.Publish(ctx, tick{N: 1})
			if took := time.Since(start); took < want || took > want+time.Second {
				t.Errorf("it took %v, want %v: %v", took, want, err)
			}
			wantFailure.check(t, err, 0)
		}
		// Refused each time, so each attempt is safe.
		try(0, publish.DefaultRetryFor, failure{publish.ErrRejected, []error{publish.ErrNoStream}, "within 30s", 0})
		try(5*time.Minute, 5*time.Minute, failure{publish.ErrRejected, []error{publish.ErrNoStream}, "deadline", 0})
		// Somebody listens who does not answer: each attempt may be stored.
		nc := s.Connect(t)
		sub, err := nc.SubscribeSync("events.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		try(0, publish.DefaultRetryFor, failure{publish.ErrUnknown, []error{context.DeadlineExceeded}, "within 30s", 0})
		try(5*time.Minute, publish.MaxRetryFor, failure{publish.ErrUnknown, []error{context.DeadlineExceeded}, "dedup window", 0})
		if n, _, err := sub.Pending(); err != nil || n != 6+22 {
			t.Errorf("%d attempts, %v; want one every 5 s", n, err)
		}
		if err := pub.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestShortDedupWindow finds a stream that forgets ids after a second: there is
// no attempt beyond that, and no second copy.
func TestShortDedupWindow(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	short := stream.Events("")
	short.Sources, short.Duplicates = nil, time.Second
	if _, err := srv.JetStream(t).CreateStream(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	lost := proxy.Inject(testserver.Fault{Match: testserver.Answered("events.>")})
	pub := newPublisher(t, proxy.JetStream(t), publish.Config{AckTimeout: 300 * time.Millisecond})
	start := time.Now()
	_, err := pub.Publish(t.Context(), tick{N: 1})
	failure{publish.ErrUnknown, []error{context.DeadlineExceeded}, "dedup window", 10 * time.Second}.check(t, err, time.Since(start))
	if lost.Hits() < 2 {
		t.Errorf("%d attempts", lost.Hits())
	}
	if n := len(readTicks(t, srv.JetStream(t))); n != 1 {
		t.Errorf("%d copies are stored", n)
	}
}
