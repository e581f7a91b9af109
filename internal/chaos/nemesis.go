package chaos

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
)

// workers are the child processes: those that run from the start, and behind them
// the slots for those that join.
type workers []*worker

type worker struct {
	mu      sync.Mutex // held by the fault that has it
	program *testserver.Program
	wires   wires
}

// nemesis carries out a plan.
type nemesis struct {
	tb      testing.TB
	servers *servers
	js      jetstream.JetStream
	workers workers
	spares  workers
	history *History
	pace    *pace
	cluster sync.Mutex // held by a fault of the servers
	tell    func(string)
	begun   atomic.Int64 // faults so far
}

// run carries out the plan, each fault at its time or as soon after it as its
// target is free, and returns when the last one is over or ctx has ended. It
// returns how many there were of each kind.
func (n *nemesis) run(ctx context.Context, plan []Fault) map[Kind]int {
	kinds := make(map[Kind]int)
	began := time.Now()
	var late time.Duration
	var under sync.WaitGroup
	defer under.Wait()
	for _, f := range plan {
		if !wait(ctx, time.Until(began.Add(f.At+late))) {
			return kinds
		}
		target := n.target(f)
		target.Lock()
		if behind := time.Since(began) - f.At; behind > late {
			n.pace.delay(behind - late)
			late = behind
		}
		kinds[f.Kind]++
		n.begun.Add(1)
		n.history.Add(Record{What: recordFault, Fault: &f})
		under.Go(func() {
			defer target.Unlock()
			n.commit(ctx, f)
			n.history.Add(Record{What: recordFaultEnd, Fault: &f})
		})
	}
	return kinds
}

func (n *nemesis) target(f Fault) *sync.Mutex {
	switch f.Kind {
	case StepDown, KillServer:
		return &n.cluster
	case JoinWorker:
		return &n.spares[f.Target].mu
	default:
		return &n.workers[f.Target].mu
	}
}

// commit carries out one fault, and what ends it: also when ctx has ended, so
// that everything runs again afterwards.
func (n *nemesis) commit(ctx context.Context, f Fault) {
	switch f.Kind {
	case JoinWorker:
		w := n.spares[f.Target]
		w.program.Start(n.tb)
		wait(ctx, f.For)
		w.program.Stop()
	case StepDown:
		if _, err := n.servers.stepDown(ctx, n.js, f.Target); err != nil {
			n.history.Add(Record{What: recordFault, Fault: &f, Error: err.Error()})
		}
	case KillServer:
		s := n.servers.children[f.Target]
		s.Kill()
		wait(ctx, f.For)
		s.Restart(n.tb)
	default:
		n.disturb(ctx, f, n.workers[f.Target])
	}
}

func (n *nemesis) disturb(ctx context.Context, f Fault, w *worker) {
	switch f.Kind {
	case PauseWorker, NearPause:
		w.program.Pause()
		wait(ctx, f.For)
		w.program.Resume()
	case LeaveWorker:
		w.program.Stop()
		wait(ctx, f.For)
		w.program.Start(n.tb)
	case CutWorker:
		w.wires.cut()
	case DeafWorker:
		w.wires.deafen(true)
		wait(ctx, f.For)
		w.wires.deafen(false)
	default:
		w.program.Kill()
		wait(ctx, f.For)
		w.program.Start(n.tb)
	}
}

// wait waits for d, and says false if ctx ended before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pace spreads the messages over the plan, so that every fault meets a load.
type pace struct {
	every time.Duration // from one message to the next

	mu   sync.Mutex
	next time.Time
}

func newPace(messages int, over time.Duration) *pace {
	return &pace{every: over / time.Duration(max(1, messages)), next: time.Now()}
}

// turn waits until it is time for the next message.
func (p *pace) turn(ctx context.Context) bool {
	p.mu.Lock()
	at := p.next
	p.next = at.Add(p.every)
	p.mu.Unlock()
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err() == nil
	}
	return wait(ctx, d)
}

// delay holds all further messages back.
func (p *pace) delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = p.next.Add(d)
}

func workerName(i int) string { return "worker-" + strconv.Itoa(i) }
