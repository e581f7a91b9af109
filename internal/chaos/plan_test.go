package chaos_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/chaos"
)

func TestSeedReplaysThePlan(t *testing.T) {
	t.Parallel()
	cfg := chaos.PlanConfig{Faults: 200, Workers: 4, Spares: 2, Servers: 3, Lease: 3 * time.Second, Gap: 1500 * time.Millisecond}
	plan := chaos.NewPlan(7, cfg)
	if !reflect.DeepEqual(plan, chaos.NewPlan(7, cfg)) {
		t.Error("the same seed gave another plan")
	}
	if reflect.DeepEqual(plan, chaos.NewPlan(8, cfg)) {
		t.Error("another seed gave the same plan")
	}
	kinds := make(map[chaos.Kind]int)
	for _, f := range plan {
		kinds[f.Kind]++
		if f.Kind == chaos.PauseWorker && f.For <= cfg.Lease {
			t.Errorf("%s does not outlast the lease of %s", f, cfg.Lease)
		}
	}
	t.Logf("%d faults in %s: %v", len(plan), chaos.End(plan).Round(time.Second), kinds)
	if len(plan) != cfg.Faults || len(kinds) != 9 {
		t.Errorf("%d faults of %d kinds, want %d of 9", len(plan), len(kinds), cfg.Faults)
	}
	if end := chaos.End(plan); end > 10*time.Minute {
		t.Errorf("the plan takes %s", end)
	}
}

func TestPlanSparesWhatItNeeds(t *testing.T) {
	t.Parallel()
	cfg := chaos.PlanConfig{Faults: 300, Workers: 4, Spares: 2, Servers: 3, Lease: 3 * time.Second, Gap: 100 * time.Millisecond}
	for seed := range uint64(20) {
		plan := chaos.NewPlan(seed, cfg)
		for i, f := range plan {
			workers, servers := 0, 0
			for _, o := range plan[:i+1] {
				if o.At+o.For < f.At {
					continue
				}
				switch o.Kind {
				case chaos.KillServer:
					servers++
				case chaos.JoinWorker, chaos.StepDown:
				default:
					workers++
				}
			}
			if workers > 2 || servers > 1 {
				t.Fatalf("seed %d: at %s %d workers and %d servers are away", seed, f.At, workers, servers)
			}
		}
	}
}
