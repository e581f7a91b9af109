package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is what a fault does.
type Kind string

// The kinds of faults.
const (
	// KillWorker is SIGKILL of a worker, which starts again after For.
	KillWorker Kind = "kill-worker"
	// PauseWorker is SIGSTOP for longer than the lease, then SIGCONT: the worker
	// wakes up as an owner that is none any more.
	PauseWorker Kind = "pause-worker"
	// NearPause is SIGSTOP for about as long as the lease.
	NearPause Kind = "near-pause"
	// LeaveWorker is an orderly stop of a worker, which starts again after For.
	LeaveWorker Kind = "leave-worker"
	// JoinWorker starts one worker more, and stops it in order after For.
	JoinWorker Kind = "join-worker"
	// CutWorker closes the connections of a worker once.
	CutWorker Kind = "cut-worker"
	// DeafWorker keeps from a worker what the server sends, for longer than the
	// lease: its commits are stored, and it does not hear so.
	DeafWorker Kind = "deaf-worker"
	// StepDown makes the leader of a stream give up.
	StepDown Kind = "step-down"
	// KillServer is SIGKILL of a server, which starts again after For.
	KillServer Kind = "kill-server"
)

// Fault is one act of the nemesis.
type Fault struct {
	At     time.Duration `json:"at"`     // since the load began
	Kind   Kind          `json:"kind"`   // what is done
	Target int           `json:"target"` // to which worker or server; for StepDown to which stream
	For    time.Duration `json:"for"`    // how long
}

// String is how the report shows it.
func (f Fault) String() string {
	return fmt.Sprintf("%8.1fs %-12s %2d for %s", f.At.Seconds(), f.Kind, f.Target, f.For.Round(time.Millisecond))
}

// PlanConfig is what a plan depends on, beside its seed.
type PlanConfig struct {
	Faults  int           // how many
	Workers int           // that run from the start
	Spares  int           // slots for workers that join and leave
	Servers int           // 1, or a cluster
	Lease   time.Duration // of a partition's owner
	Gap     time.Duration // mean time from one fault to the next
	Kinds   []Kind        // default: all that Servers allows
}

// weights say how often a kind is drawn.
func weights(servers int) map[Kind]int {
	w := map[Kind]int{
		KillWorker: 25, PauseWorker: 20, NearPause: 10, LeaveWorker: 12, JoinWorker: 12, CutWorker: 6, DeafWorker: 8,
	}
	if servers > 1 {
		w[StepDown], w[KillServer] = 20, 8
	}
	return w
}

// NewPlan draws a plan: the same seed and configuration give the same plan. No
// target is hit again before the earlier fault is over, at most half of the
// workers are away at one time, and of the servers one.
func NewPlan(seed uint64, cfg PlanConfig) []Fault {
	p := planner{
		cfg:  cfg,
		rand: rand.New(rand.NewPCG(seed, 0x6368616f73)), //nolint:gosec // G404: a plan is no secret
		busy: make(map[string]time.Duration),
	}
	plan := make([]Fault, 0, cfg.Faults)
	at := cfg.Gap
	for len(plan) < cfg.Faults {
		if f, ok := p.draw(at); ok {
			plan = append(plan, f)
		}
		at += time.Duration(p.rand.ExpFloat64() * float64(cfg.Gap))
	}
	slices.SortStableFunc(plan, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return plan
}

// End is when the last fault of a plan is over.
func End(plan []Fault) time.Duration {
	var end time.Duration
	for _, f := range plan {
		end = max(end, f.At+f.For)
	}
	return end
}

type planner struct {
	cfg  PlanConfig
	rand *rand.Rand
	busy map[string]time.Duration // by target: until when
}

// draw draws a fault at a time, or none if its target is still busy.
func (p *planner) draw(at time.Duration) (Fault, bool) {
	f := Fault{At: at, Kind: p.kind()}
	lease := p.cfg.Lease
	targets, name := p.cfg.Workers, "worker"
	switch f.Kind {
	case KillWorker:
		f.For = p.between(0, lease/2)
	case PauseWorker:
		f.For = p.between(lease*6/5, lease*2)
	case NearPause:
		f.For = p.between(lease*7/10, lease*11/10)
	case LeaveWorker:
		f.For = p.between(0, lease)
	case JoinWorker:
		targets, name = p.cfg.Spares, "spare"
		f.For = p.between(lease/2, lease*3)
	case CutWorker:
	case DeafWorker:
		f.For = p.between(lease*6/5, lease*2)
	case StepDown:
		targets, name = 16, "stream"
	case KillServer:
		targets, name = p.cfg.Servers, "server"
		f.For = p.between(lease/3, lease)
	}
	if targets == 0 {
		return f, false
	}
	f.Target = p.rand.IntN(targets)
	return f, p.occupy(f, name)
}

// recovery is how long after its fault a target is left alone: a worker must claim
// again, a server catch up.
func (p *planner) recovery(name string) time.Duration {
	if name == "server" {
		return 2 * p.cfg.Lease
	}
	return p.cfg.Lease / 4
}

func (p *planner) occupy(f Fault, name string) bool {
	target := fmt.Sprint(name, f.Target)
	if name == "server" || name == "stream" {
		target = "servers" // one at a time: two of three would be no cluster
	}
	away := 0
	for i := range p.cfg.Workers {
		if p.busy[fmt.Sprint("worker", i)] > f.At {
			away++
		}
	}
	if p.busy[target] > f.At || name == "worker" && away >= max(1, p.cfg.Workers/2) {
		return false
	}
	p.busy[target] = f.At + f.For + p.recovery(name)
	return true
}

func (p *planner) kind() Kind {
	w := weights(p.cfg.Servers)
	kinds := p.cfg.Kinds
	if len(kinds) == 0 {
		for k := range w {
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds) // not by the order of a map
	total := 0
	for _, k := range kinds {
		total += max(1, w[k])
	}
	n := p.rand.IntN(total)
	for _, k := range kinds {
		if n -= max(1, w[k]); n < 0 {
			return k
		}
	}
	return KillWorker
}

func (p *planner) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.rand.Int64N(int64(most-least)+1))
}
