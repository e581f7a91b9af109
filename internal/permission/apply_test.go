package permission_test

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// A deployer applies what a group declares, twice, and a later generation of it;
// the group then runs although it may make nothing.
func TestDeployerApplies(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	group := func(js jetstream.JetStream, generation uint64) *consume.Consumer {
		on := consume.OnEvent("shop.order.placed.v1", func(context.Context, envelope.Raw) error { return nil }, consume.WithName("charge"))
		c, err := consume.New(js, consume.Config{Group: "billing", Generation: generation, Provision: new(false), Logger: quiet()}, on)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	js := p.jetStream(t, "deployer")
	planner := &declare.Planner{JS: js, Logger: quiet()}
	for _, step := range []struct {
		generation uint64
		done       int
	}{{1, 7}, {1, 0}, {2, 2}, {1, 0}} {
		plan, err := planner.Plan(t.Context(), group(js, step.generation).Declaration())
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		if err := planner.Apply(t.Context(), plan, func(*declare.Step) { done++ }); err != nil || done != step.done {
			t.Errorf("generation %d: %d steps, want %d: %v", step.generation, done, step.done, err)
		}
	}
	ready := make(chan struct{})
	bound := group(p.jetStream(t, "bound"), 2)
	stop := run(t, func(ctx context.Context) error { return bound.RunReady(ctx, func() { close(ready) }) })
	<-ready
	if err := stop(); err != nil {
		t.Error(err)
	}
	p.clean(t)
}
