package natstest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

// conformancePatience bounds each step of [Conformance]: real clusters elect
// leaders, and are far away.
const conformancePatience = 30 * time.Second

// Conformance checks that the server, cluster or account behind nc gives all
// that Agner needs: that events are stored once, handled, retried through the
// server's schedules and given up as dead letters, that batches are atomic, that
// a killed group goes on where it was, and that calls are answered. Run it against
// what you deploy on:
//
//	func TestOurCluster(t *testing.T) {
//		nc, err := nats.Connect(os.Getenv("NATS_URL"))
//		…
//		natstest.Conformance(t, nc)
//	}
//
// It works in a namespace of its own, made up for each run, and removes its
// streams. Its identity needs the rights of a service and of who makes and deletes
// streams there. It sends some dozens of messages.
func Conformance(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("natstest: conformance: %v", err)
	}
	c := &conformance{nc: nc, js: js, ns: "conformance-" + strings.ToLower(rand.Text()[:10])}
	t.Cleanup(func() { c.remove(t) })
	for _, check := range []struct {
		name string
		run  func(*testing.T, *conformance)
	}{
		{"an event is stored once", conformStoredOnce},
		{"a batch is stored whole", conformBatch},
		{"an event is handled, retried, and given up", conformRetries},
		{"a group goes on where it was", conformDurable},
		{"a call is answered", conformCall},
	} {
		if !t.Run(check.name, func(t *testing.T) { check.run(t, c) }) {
			t.Fatal("natstest: conformance: the rest builds on that")
		}
	}
}

type conformance struct {
	nc *nats.Conn
	js jetstream.JetStream
	ns string
}

// probe is the event of the checks.
type probe struct {
	ID   string `json:"id"`
	Fail bool   `json:"fail,omitempty"`
}

// EventType implements envelope.Payload.
func (probe) EventType() string { return "agner.conformance.probe.v1" }

func (c *conformance) context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), conformancePatience)
	t.Cleanup(cancel)
	return ctx
}

func (c *conformance) publisher(t *testing.T) *publish.Publisher {
	t.Helper()
	pub, err := publish.New(c.js, publish.Config{Source: "/natstest/conformance", Namespace: c.ns, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func conformStoredOnce(t *testing.T, c *conformance) {
	t.Helper()
	ctx, pub := c.context(t), c.publisher(t)
	first, err := pub.Publish(ctx, probe{ID: "once"}, publish.WithID("once"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := pub.Publish(ctx, probe{ID: "once"}, publish.WithID("once"))
	if err != nil {
		t.Fatal(err)
	}
	if !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("the same event published again: %+v, first %+v: the stream does not drop duplicates", again, first)
	}
}

func conformBatch(t *testing.T, c *conformance) {
	t.Helper()
	ctx, pub := c.context(t), c.publisher(t)
	var all []envelope.Payload
	for i := range 10 {
		all = append(all, probe{ID: fmt.Sprint("batch-", i)})
	}
	acks, err := pub.PublishBatch(ctx, all)
	if err != nil {
		t.Fatalf("%v (atomic batches need nats-server 2.12 or later)", err)
	}
	if n := acks[9].Sequence - acks[0].Sequence; n != 9 {
		t.Errorf("the ten events of a batch stand %d sequences apart, want 9", n)
	}
}

// handler tells its runs and fails where the probe says so.
func handler(runs chan<- string) consume.Subscription {
	return consume.On(func(_ context.Context, e envelope.Event[probe]) error {
		runs <- fmt.Sprint(e.Data.ID, "#", e.Delivery.Attempt)
		if e.Data.Fail {
			return consume.RetryAfter(0, errors.New("as the probe says"))
		}
		return nil
	})
}

// conformGroup is the group of the checks.
const conformGroup = "conformance"

// consume runs a group until the returned function is called.
func (c *conformance) consume(t *testing.T, runs chan<- string) (stop func()) {
	t.Helper()
	con, err := consume.New(c.js, consume.Config{
		Group: conformGroup, Namespace: c.ns, MaxAttempts: 2, Start: consume.FromNow(), Logger: slog.New(slog.DiscardHandler),
		// In a cluster an event may be on its way to an instance that has just
		// stopped; it then comes again after AckWait.
		AckWait: 2 * time.Second,
	}, handler(runs))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- con.RunReady(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	case <-c.context(t).Done():
		cancel()
		t.Fatalf("the group is not ready after %s: %v", conformancePatience, <-done)
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func expectRuns(ctx context.Context, t *testing.T, runs <-chan string, want ...string) {
	t.Helper()
	left := map[string]bool{}
	for _, w := range want {
		left[w] = true
	}
	for len(left) > 0 {
		select {
		case got := <-runs:
			if !left[got] {
				t.Errorf("run of %s, which is not among those left: %v", got, left)
			}
			delete(left, got)
		case <-ctx.Done():
			t.Fatalf("these runs (event#attempt) have not come: %v", left)
		}
	}
}

func conformRetries(t *testing.T, c *conformance) {
	t.Helper()
	ctx, pub := c.context(t), c.publisher(t)
	runs := make(chan string, 16)
	stop := c.consume(t, runs)
	defer stop()
	for _, p := range []probe{{ID: "good"}, {ID: "bad", Fail: true}} {
		if _, err := pub.Publish(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	expectRuns(ctx, t, runs, "good#1", "bad#1", "bad#2")
	testserver.Eventually(t, conformancePatience, func() error {
		all, err := deadLetters(ctx, c.js, subject.Namespace(c.ns), conformGroup)
		if err == nil && len(all) != 1 {
			err = fmt.Errorf("%d dead letters, want the one of the bad event", len(all))
		}
		return err
	}, "natstest: conformance: dead letter")
}

// conformDurable needs the durable of conformRetries.
func conformDurable(t *testing.T, c *conformance) {
	t.Helper()
	ctx, pub := c.context(t), c.publisher(t)
	if _, err := pub.Publish(ctx, probe{ID: "while away"}); err != nil {
		t.Fatal(err)
	}
	runs := make(chan string, 16)
	defer c.consume(t, runs)()
	expectRuns(ctx, t, runs, "while away#1")
}

func conformCall(t *testing.T, c *conformance) {
	t.Helper()
	ctx := c.context(t)
	svc, err := service.New(c.nc, service.Config{Name: conformGroup, Namespace: c.ns, Logger: slog.New(slog.DiscardHandler)},
		service.Handle("echo", func(_ context.Context, p probe) (probe, error) { return p, nil }))
	if err != nil {
		t.Fatal(err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- svc.RunReady(run, func() { close(ready) }) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	case <-ctx.Done():
		t.Fatalf("the service is not ready after %s", conformancePatience)
	}
	got, err := service.Call[probe](ctx, svc.Client(), conformGroup+".echo", probe{ID: "called"})
	if err != nil || got.ID != "called" {
		t.Errorf("call: %+v, %v", got, err)
	}
}

// remove deletes the streams of the namespace: nobody else has streams there.
func (c *conformance) remove(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), conformancePatience)
	defer cancel()
	var names []string
	list := c.js.StreamNames(ctx)
	for name := range list.Name() {
		if strings.HasPrefix(strings.TrimPrefix(name, "KV_"), c.ns+"_") {
			names = append(names, name)
		}
	}
	if err := list.Err(); err != nil {
		t.Errorf("natstest: conformance: list streams to remove: %v", err)
	}
	for _, name := range names {
		if err := c.js.DeleteStream(ctx, name); err != nil {
			t.Errorf("natstest: conformance: remove stream %s: %v", name, err)
		}
	}
}
