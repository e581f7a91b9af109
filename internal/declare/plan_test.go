package declare_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/position"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

const patience = 20 * time.Second

type placed struct{ ID string }

func (placed) EventType() string  { return "shop.order.placed.v1" }
func (e placed) EventKey() string { return e.ID }

type paid struct{ ID string }

func (paid) EventType() string  { return "shop.order.paid.v1" }
func (e paid) EventKey() string { return e.ID }

func onPlaced(h func(placed) error) consume.Subscription {
	return consume.On(func(_ context.Context, e envelope.Event[placed]) error { return h(e.Data) })
}

func onPaid() consume.Subscription {
	return consume.On(func(context.Context, envelope.Event[paid]) error { return nil })
}

func nothing(placed) error { return nil }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func consumer(t *testing.T, js jetstream.JetStream, cfg consume.Config, subs ...consume.Subscription) *consume.Consumer {
	t.Helper()
	if cfg.Group == "" {
		cfg.Group = "billing"
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	c, err := consume.New(js, cfg, subs...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a consumer until stop is called or the test ends.
func run(t *testing.T, c *consume.Consumer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- c.RunReady(ctx, func() { close(ready) }) }()
	var stopped atomic.Bool
	stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		stopped.Store(true)
		t.Fatalf("Run: %v", err)
	case <-time.After(patience):
		t.Fatal("the consumer is not ready")
	}
	return stop
}

func publishPlaced(t *testing.T, js jetstream.JetStream, ids ...string) {
	t.Helper()
	pub, err := publish.New(js, publish.Config{Source: "/test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := pub.Publish(t.Context(), placed{id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func makePlan(t *testing.T, p *declare.Planner, all ...declare.Declaration) *declare.Plan {
	t.Helper()
	plan, err := p.Plan(t.Context(), all...)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func applyAll(t *testing.T, p *declare.Planner, all ...declare.Declaration) *declare.Plan {
	t.Helper()
	plan := makePlan(t, p, all...)
	if err := p.Apply(t.Context(), plan, func(*declare.Step) {}); err != nil {
		t.Fatal(err)
	}
	return plan
}

// expect holds the actions of a plan against those wanted, "action kind name".
func expect(t *testing.T, plan *declare.Plan, want ...string) {
	t.Helper()
	var got []string
	for _, s := range plan.Steps {
		got = append(got, s.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("plan:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// all is the plan of a group with one subscription, of one action each.
func all(action declare.Action) []string {
	var out []string
	for _, what := range []string{
		"stream SCHEDULED", "stream DEAD", "stream RETRY_billing", "stream EVENTS", "bucket AGNER_POSITIONS",
		"durable billing_shop-order-placed-v1", "durable billing_shop-order-placed-v1",
	} {
		out = append(out, string(action)+" "+what)
	}
	return out
}

func names(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	var out []string
	for name := range js.StreamNames(t.Context()).Name() {
		out = append(out, name)
	}
	return out
}

// TestPlanThenApply plans on an empty server, which stays empty; applies; plans
// again, when nothing is left to be done; and lets a consumer that may make
// nothing handle an event.
func TestPlanThenApply(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	handled := make(chan string, 1)
	c := consumer(t, js, consume.Config{Provision: new(false)}, onPlaced(func(e placed) error { handled <- e.ID; return nil }))
	p := &declare.Planner{JS: js, Logger: quiet()}
	decl := c.Declaration()
	plan := makePlan(t, p, decl)
	expect(t, plan, all(declare.Create)...)
	if n := names(t, js); len(n) > 0 || plan.Pending() != 7 {
		t.Errorf("%d steps are to be done; the plan made %v", plan.Pending(), n)
	}
	var done []string
	if err := p.Apply(t.Context(), plan, func(s *declare.Step) { done = append(done, s.String()) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(done, all(declare.Create)) || plan.Pending() != 0 {
		t.Errorf("done: %v; %d are left", done, plan.Pending())
	}
	expect(t, makePlan(t, p, decl), all(declare.Unchanged)...)
	run(t, c)
	publishPlaced(t, js, "o-1")
	if id := <-handled; id != "o-1" {
		t.Errorf("handled %s", id)
	}
	expect(t, makePlan(t, p, decl), all(declare.Unchanged)...)
}

// TestMadeByRun finds nothing to do for what a program has made itself: the two
// ways make the same.
func TestMadeByRun(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	c := consumer(t, js, consume.Config{}, onPlaced(nothing))
	run(t, c)
	expect(t, makePlan(t, &declare.Planner{JS: js}, c.Declaration()), all(declare.Unchanged)...)
}

// TestGenerations deploys configurations in and out of order: only a greater
// generation changes a durable, and what is not declared stays.
func TestGenerations(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	version := func(generation uint64, ackWait time.Duration) declare.Declaration {
		return consumer(t, js, consume.Config{Generation: generation, AckWait: ackWait}, onPlaced(nothing)).Declaration()
	}
	durable := func() jetstream.ConsumerConfig {
		c, err := js.Consumer(t.Context(), "EVENTS", "billing_shop-order-placed-v1")
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().Config
	}
	applyAll(t, p, version(1, 20*time.Second))
	if _, err := js.PauseConsumer(t.Context(), "EVENTS", "billing_shop-order-placed-v1", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		generation uint64
		declared   time.Duration
		action     declare.Action
		after      time.Duration
	}{
		{1, 20 * time.Second, declare.Unchanged, 20 * time.Second},
		{1, 40 * time.Second, declare.Drift, 20 * time.Second},
		{2, 40 * time.Second, declare.Update, 40 * time.Second},
		{1, 20 * time.Second, declare.Newer, 40 * time.Second},
		{0, 40 * time.Second, declare.Newer, 40 * time.Second},
		{3, 40 * time.Second, declare.Update, 40 * time.Second},
		{2, 10 * time.Second, declare.Newer, 40 * time.Second},
	} {
		plan := applyAll(t, p, version(step.generation, step.declared))
		for _, s := range plan.Steps[5:] {
			if s.Action != step.action || (s.Action != declare.Unchanged && s.Action != declare.Update && s.Note == "") {
				t.Errorf("generation %d, %s: %s, %q", step.generation, step.declared, s, s.Note)
			}
		}
		have := durable()
		if have.AckWait != step.after || have.PauseUntil == nil || have.FilterSubject != "events.shop.order.placed.v1.*" {
			t.Errorf("generation %d: %+v", step.generation, have)
		}
		// Run itself changes nothing, whatever its generation.
		run(t, consumer(t, js, consume.Config{Generation: step.generation, AckWait: step.declared, DrainTimeout: time.Second}, onPlaced(nothing)))()
		if got := durable().AckWait; got != step.after {
			t.Errorf("generation %d: Run made the ack wait %s", step.generation, got)
		}
	}
	if g := durable().Metadata[stream.MetaGeneration]; g != "3" {
		t.Errorf("generation %s", g)
	}
}

// TestRunTellsDrift starts a consumer on a durable with another ack wait.
func TestRunTellsDrift(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	run(t, consumer(t, js, consume.Config{Generation: 2, AckWait: 20 * time.Second}, onPlaced(nothing)))()
	for generation, want := range map[uint64]string{
		1: `level=INFO msg="durable is of a later generation and is used as it is"`,
		2: `level=WARN msg="durable differs from its declaration and is used as it is"`,
	} {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		run(t, consumer(t, js, consume.Config{Generation: generation, AckWait: 40 * time.Second, Logger: logger}, onPlaced(nothing)))()
		if n := strings.Count(log.String(), want); n != 2 {
			t.Errorf("generation %d: the log has %d times %s:\n%s", generation, n, want, &log)
		}
		if generation == 2 && !strings.Contains(log.String(), `field=ack_wait declared=40s actual=20s do="declare Generation 3 and run natsctl apply`) {
			t.Errorf("the log does not say what to do:\n%s", &log)
		}
	}
}

// TestConflict refuses a plan in which a durable's name means another type by
// now, and does nothing of it.
func TestConflict(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	orders := func(typ string) consume.Subscription {
		return consume.OnEvent(typ, func(context.Context, envelope.Raw) error { return nil }, consume.WithName("orders"))
	}
	applyAll(t, p, consumer(t, js, consume.Config{}, orders("shop.>")).Declaration())
	later := consumer(t, js, consume.Config{Generation: 9}, orders("shop.order.>"), onPaid()).Declaration()
	plan := makePlan(t, p, later)
	if n := len(plan.Conflicts()); n != 2 && n != 1 {
		t.Errorf("%d conflicts", n)
	}
	err := p.Apply(t.Context(), plan, func(s *declare.Step) { t.Errorf("done: %s", s) })
	if !errors.Is(err, declare.ErrConflict) || !strings.Contains(err.Error(), "billing_orders") {
		t.Errorf("Apply: %v", err)
	}
	c, err := js.Consumer(t.Context(), "EVENTS", "billing_orders")
	if err != nil {
		t.Fatal(err)
	}
	if f := c.CachedInfo().Config.FilterSubject; f != "events.shop.>" {
		t.Errorf("filter %s", f)
	}
}

// TestChangedMeanwhile applies a plan that is no longer true.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	version := func(generation uint64) declare.Declaration {
		return consumer(t, js, consume.Config{Generation: generation}, onPlaced(nothing)).Declaration()
	}
	first, second := makePlan(t, p, version(1)), makePlan(t, p, version(1))
	for _, plan := range []*declare.Plan{first, second} { // the second finds all of it done
		if err := p.Apply(t.Context(), plan, func(*declare.Step) {}); err != nil || plan.Pending() != 0 {
			t.Errorf("%d steps are left: %v", plan.Pending(), err)
		}
	}
	stale := makePlan(t, p, version(2))
	applyAll(t, p, version(3))
	err := p.Apply(t.Context(), stale, func(s *declare.Step) { t.Errorf("done: %s", s) })
	if !errors.Is(err, declare.ErrChanged) {
		t.Errorf("Apply: %v", err)
	}
}

// TestMadeWhereItStood makes a durable again that has vanished: behind its saved
// floor, not where a new one begins.
func TestMadeWhereItStood(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	handled := make(chan string, 10)
	c := consumer(t, js, consume.Config{}, onPlaced(func(e placed) error { handled <- e.ID; return nil }))
	applyAll(t, p, c.Declaration())
	stop := run(t, c)
	publishPlaced(t, js, "o-1", "o-2")
	<-handled
	<-handled
	stop()
	saveFloor(t, js, "billing_shop-order-placed-v1")
	if err := js.DeleteConsumer(t.Context(), "EVENTS", "billing_shop-order-placed-v1"); err != nil {
		t.Fatal(err)
	}
	publishPlaced(t, js, "o-3")
	plan := applyAll(t, p, c.Declaration())
	if s := plan.Steps[5]; s.Action != declare.Create || !s.Done {
		t.Errorf("%s", s)
	}
	run(t, c)
	if id := <-handled; id != "o-3" {
		t.Errorf("handled %s again", id)
	}
}

// saveFloor does what a running consumer does every few seconds.
func saveFloor(t *testing.T, js jetstream.JetStream, durable string) {
	t.Helper()
	b, err := position.Open(t.Context(), &stream.Provisioner{JS: js}, "")
	if err != nil {
		t.Fatal(err)
	}
	events, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Raise(t.Context(), durable, events.CachedInfo().Created.UnixNano(), func() (*jetstream.ConsumerInfo, error) {
		c, err := events.Consumer(t.Context(), durable)
		if err != nil {
			return nil, err
		}
		return c.CachedInfo(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPlanIsJSON prints a plan as natsctl does.
func TestPlanIsJSON(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	plan := makePlan(t, p, consumer(t, js, consume.Config{Generation: 4}, onPlaced(nothing)).Declaration())
	text, err := json.Marshal(plan)
	want := `{"action":"create","kind":"durable","name":"billing_shop-order-placed-v1","stream":"EVENTS","generation":4}`
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%v: %s\nwant %s", err, text, want)
	}
	if empty := makePlan(t, p); len(empty.Steps) != 0 {
		t.Errorf("%d steps for nothing declared", len(empty.Steps))
	}
}

// TestTwoPrograms plans for two at once; they share the streams.
func TestTwoPrograms(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	billing := consumer(t, js, consume.Config{}, onPlaced(nothing)).Declaration()
	shipping := consumer(t, js, consume.Config{Group: "shipping"}, onPlaced(nothing), onPaid()).Declaration()
	applyAll(t, p, billing, shipping)
	if n := names(t, js); len(n) != 6 {
		t.Errorf("streams %v", n)
	}
	// Each alone sees no orphan in the other's group.
	for _, d := range []declare.Declaration{billing, shipping} {
		for _, s := range makePlan(t, p, d).Steps {
			if s.Action != declare.Unchanged {
				t.Error(s)
			}
		}
	}
	staging := consumer(t, js, consume.Config{Namespace: "staging"}, onPlaced(nothing)).Declaration()
	if _, err := p.Plan(t.Context(), billing, staging); !errors.Is(err, declare.ErrDeclaration) {
		t.Errorf("two namespaces: %v", err)
	}
	other := consumer(t, js, consume.Config{AckWait: 7 * time.Second}, onPlaced(nothing)).Declaration()
	if _, err := p.Plan(t.Context(), billing, other); !errors.Is(err, declare.ErrDeclaration) {
		t.Errorf("two versions: %v", err)
	}
	applyAll(t, p, staging)
	if n := names(t, js); len(n) != 11 {
		t.Errorf("streams %v", n)
	}
}
