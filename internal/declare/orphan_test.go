package declare_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
)

func orphansOf(plan *declare.Plan) []*declare.Step {
	var out []*declare.Step
	for _, s := range plan.Steps {
		if s.Orphan != nil {
			out = append(out, s)
		}
	}
	return out
}

// TestOrphan removes a handler from a program: its durable stays, is shown with
// what it has not handled, is not pruned while an older version pulls from it,
// and goes, with its retries and its position, when that is asked for.
func TestOrphan(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	const retried = 3
	failed := make(chan struct{}, retried)
	cfg := consume.Config{FirstDelay: time.Hour, MaxDelay: time.Hour, AckWait: time.Second}
	older := consumer(t, js, cfg, onPaid(), onPlaced(func(placed) error {
		failed <- struct{}{}
		return errors.New("not today")
	}))
	newer := consumer(t, js, cfg, onPaid())
	neighbour := consumer(t, js, consume.Config{Group: "billing-2"}, onPlaced(nothing))
	run(t, neighbour)()
	stop := run(t, older)
	before := time.Now()
	publishPlaced(t, js, "o-1", "o-2", "o-3")
	for range retried {
		<-failed
	}
	p := &declare.Planner{JS: js, Prune: true, Logger: quiet()}
	var found *declare.Step
	one := func() *declare.Orphan {
		o := orphansOf(makePlan(t, p, newer.Declaration()))
		if len(o) != 1 || o[0].Name != "billing_shop-order-placed-v1" {
			t.Fatalf("orphans %v", o)
		}
		found = o[0]
		return o[0].Orphan
	}
	if o := one(); !o.Pulled || found.Action != declare.Orphaned || !strings.Contains(found.Note, "older version") {
		t.Errorf("while it is pulled from: %s, %+v, %q", found, o, found.Note)
	}
	stop()
	publishPlaced(t, js, "o-4", "o-5")
	testserver.Eventually(t, patience, func() bool { return !one().Pulled }, "nobody pulls")
	o := one()
	if o.Pending != 5 || o.Retries != retried || o.Type != "shop.order.placed.v1" || o.Group != "billing" ||
		o.Oldest.Before(before.Add(-time.Second)) || o.Oldest.After(time.Now()) || o.Active.IsZero() {
		t.Errorf("%+v", o)
	}
	p.Prune = false
	if one(); found.Action != declare.Orphaned || found.Note == "" {
		t.Errorf("%s, %q", found, found.Note)
	}
	applyAll(t, p, newer.Declaration())
	if o := one(); o.Pending != 5 {
		t.Errorf("after an apply that was not asked to prune: %+v", o)
	}
	p.Prune = true
	if one(); found.Action != declare.Delete || found.Note != "5 events that it has not handled are given up" {
		t.Errorf("%s, %q", found, found.Note)
	}
	applyAll(t, p, newer.Declaration())
	expectPruned(t, js)
	if o := orphansOf(makePlan(t, p, newer.Declaration())); len(o) != 0 {
		t.Errorf("orphans %v", o)
	}
}

func expectPruned(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	durables := func(name string) []string {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		list := s.ListConsumers(t.Context())
		for i := range list.Info() {
			out = append(out, i.Name)
		}
		slices.Sort(out)
		return out
	}
	if d := durables("EVENTS"); !slices.Equal(d, []string{"billing-2_shop-order-placed-v1", "billing_shop-order-paid-v1"}) {
		t.Errorf("EVENTS has %v", d)
	}
	if d := durables("RETRY_billing"); !slices.Equal(d, []string{"billing_shop-order-paid-v1"}) {
		t.Errorf("RETRY_billing has %v", d)
	}
	lane, err := js.Stream(t.Context(), "RETRY_billing")
	if err != nil {
		t.Fatal(err)
	}
	if n := lane.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("RETRY_billing holds %d messages", n)
	}
	events, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := events.CachedInfo().State.Msgs; n != 5 {
		t.Errorf("EVENTS holds %d events, want all 5", n)
	}
	kv, err := js.KeyValue(t.Context(), "AGNER_POSITIONS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), "billing_shop-order-placed-v1"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("position: %v", err)
	}
	if _, err := kv.Get(t.Context(), "billing-2_shop-order-placed-v1"); err != nil {
		t.Errorf("the neighbour's position: %v", err)
	}
}

// TestPruneInterrupted finds what an interrupted prune has left: the durable of
// the retry lane alone.
func TestPruneInterrupted(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	older, newer := consumer(t, js, consume.Config{}, onPaid(), onPlaced(nothing)), consumer(t, js, consume.Config{}, onPaid())
	p := &declare.Planner{JS: js, Prune: true, Logger: quiet()}
	applyAll(t, p, older.Declaration())
	for _, name := range []string{"EVENTS", "RETRY_billing"} {
		plan := makePlan(t, p, newer.Declaration())
		if o := orphansOf(plan); len(o) != 1 || o[0].Action != declare.Delete || o[0].Orphan.Pending != 0 {
			t.Fatalf("before %s: %v", name, o)
		}
		if err := js.DeleteConsumer(t.Context(), name, "billing_shop-order-placed-v1"); err != nil {
			t.Fatal(err)
		}
		if name == "RETRY_billing" { // all is gone since the plan was made
			if err := p.Apply(t.Context(), plan, func(*declare.Step) {}); err != nil {
				t.Error(err)
			}
		}
	}
	if o := orphansOf(makePlan(t, p, newer.Declaration())); len(o) != 0 {
		t.Errorf("orphans %v", o)
	}
}
