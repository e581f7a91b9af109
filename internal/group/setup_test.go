package group_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/group"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

const wait = 20 * time.Second

const (
	subName = "shop-order-placed-v1"
	durable = "billing_" + subName
)

type orderPlaced struct {
	N int `json:"n"`
}

func (orderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e orderPlaced) EventKey() string { return "o-" + strconv.Itoa(e.N%10) }

// bundle is a server with events and runs of handlers.
type bundle struct {
	js jetstream.JetStream
	r  *group.Reader

	mu   sync.Mutex
	runs map[int]int
	next int
}

func setup(t *testing.T, opts ...testserver.Option) (*bundle, *testserver.Server) {
	t.Helper()
	s := testserver.Start(t, opts...)
	js := s.JetStream(t)
	return &bundle{js: js, r: group.NewReader(js, ""), runs: map[int]int{}}, s
}

// place publishes n more events, numbered from 1 as their sequences are.
func (b *bundle) place(t *testing.T, n int) {
	t.Helper()
	pub, err := publish.New(b.js, publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		b.next++
		if _, err := pub.Publish(t.Context(), orderPlaced{N: b.next}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// count is a subscription that counts the runs of each event and answers as
// handle says, which is given the number of the run.
func (b *bundle) count(handle func(n, run int) error) consume.Subscription {
	return consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		b.mu.Lock()
		b.runs[e.Data.N]++
		run := b.runs[e.Data.N]
		b.mu.Unlock()
		if handle == nil {
			return nil
		}
		return handle(e.Data.N, run)
	})
}

// ran reports an error unless each event of a range ran so often.
func (b *bundle) ran(from, to, times int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := from; n <= to; n++ {
		if b.runs[n] != times {
			return fmt.Errorf("event %d ran %d times, want %d", n, b.runs[n], times)
		}
	}
	return nil
}

func config() consume.Config {
	return consume.Config{
		Group: "billing", AckWait: 5 * time.Second, FirstDelay: 20 * time.Millisecond,
		DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
}

// start runs an instance until stop, or the test's end.
func start(t *testing.T, js jetstream.JetStream, cfg consume.Config, subs ...consume.Subscription) (c *consume.Consumer, stop func()) {
	t.Helper()
	c, err := consume.New(js, cfg, subs...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the test's own until cleanup
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

func eventually(t *testing.T, cond func() error) {
	t.Helper()
	testserver.Eventually(t, wait, cond, "condition did not come true")
}

// settled waits until the subscription owes nothing.
func (b *bundle) settled(t *testing.T) group.Subscription {
	t.Helper()
	var s group.Subscription
	eventually(t, func() error {
		s = b.find(t)
		if s.Pending+uint64(s.InFlight)+uint64(s.RetriesWaiting)+s.RetriesDue+uint64(s.RetriesInFlight) != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	return s
}

func (b *bundle) find(t *testing.T) group.Subscription {
	t.Helper()
	var found []group.Subscription
	eventually(t, func() (err error) {
		found, err = b.r.Find(t.Context(), "billing", subName)
		return err
	})
	return found[0]
}

func (b *bundle) reset(t *testing.T, to group.Target, retries group.Retries) (group.Step, group.Done) {
	t.Helper()
	p, err := b.r.MakePlan(t.Context(), "billing", "", to, retries)
	if err != nil {
		t.Fatal(err)
	}
	var done []group.Done
	if err := b.r.Apply(t.Context(), p, func(d group.Done) { done = append(done, d) }); err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) != 1 || len(done) != 1 {
		t.Fatalf("%+v: %+v", p, done)
	}
	return p.Steps[0], done[0]
}

var errAlways = errors.New("always")
