package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// InboxConfig says how large a run is.
type InboxConfig struct {
	Messages int           // default 20,000
	Faults   int           // default 0
	Keys     int           // default 10,000
	Workers  int           // default 4
	Senders  int           // that wait for their acknowledgement at the same time; default 128
	Servers  int           // 1 (default) or 3
	Lease    time.Duration // of a partition's owner; default 3 s
	Gap      time.Duration // mean time between two faults; default half a lease
	Over     time.Duration // over which the messages are spread; default the plan's end
	Kinds    []Kind        // of faults; default all
	Events   int           // one message in so many is a subscribed event; default none
	Pad      int           // bytes added to each message
	Seed     uint64
	Dir      string       // for the history and the workers' records; default a temporary one
	Progress func(string) // told each few seconds; default nobody
}

func (c InboxConfig) withDefaults(tb testing.TB) InboxConfig {
	tb.Helper()
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	def(&c.Messages, 20_000)
	def(&c.Keys, 10_000)
	def(&c.Workers, 4)
	def(&c.Senders, 128)
	def(&c.Servers, 1)
	if c.Lease == 0 {
		c.Lease = 3 * time.Second
	}
	if c.Gap == 0 {
		c.Gap = c.Lease / 2
	}
	if c.Dir == "" {
		c.Dir = tb.TempDir()
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	c.Senders = min(c.Senders, c.Keys)
	return c
}

// spareWorkers is how many workers can join at the same time.
const spareWorkers = 2

// eventsWindow is the dedup window of EVENTS in a run: shorter than a lease, so
// that the server's deduplication hides no output that was relayed twice.
const eventsWindow = time.Second

// RunInbox runs the machine on an inbox and returns what its checker found. What
// it starts ends with tb; an error of the machine itself fails tb. The package's
// TestMain, or the main of the program, must call [ServeIfAsked].
func RunInbox(tb testing.TB, cfg InboxConfig) *Result {
	tb.Helper()
	cfg = cfg.withDefaults(tb)
	ctx := tb.Context()
	srv := startServers(tb, cfg.Servers)
	nc := srv.connect("chaos")
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("chaos: %v", err)
	}
	provision(ctx, tb, js)
	plan := NewPlan(cfg.Seed, PlanConfig{
		Faults: cfg.Faults, Workers: cfg.Workers, Spares: spareWorkers, Servers: cfg.Servers,
		Lease: cfg.Lease, Gap: cfg.Gap, Kinds: cfg.Kinds,
	})
	over := max(cfg.Over, End(plan))
	path := filepath.Join(cfg.Dir, "history.jsonl")
	history, err := NewHistory(path)
	if err != nil {
		tb.Fatalf("chaos: %v", err)
	}
	n := &nemesis{
		tb: tb, servers: srv, js: js, history: history, pace: newPace(cfg.Messages, over), tell: cfg.Progress,
		workers: startWorkers(tb, srv, cfg, 0, cfg.Workers, true),
		spares:  startWorkers(tb, srv, cfg, cfg.Workers, spareWorkers, false),
	}
	l := newLoad(tb, js, cfg, history, n.pace)
	r := &Result{Cluster: cfg.Servers, Seed: cfg.Seed, Plan: plan}
	began := time.Now()
	attack(ctx, tb, n, l, plan, r)
	r.Seconds = time.Since(began).Seconds()
	r.Rate = int(float64(cfg.Messages) / r.Seconds)
	if err := history.Close(); err != nil {
		tb.Fatalf("chaos: history: %v", err)
	}
	settle(ctx, tb, js, cfg, path, r)
	if !r.OK() {
		if err := keep(ctx, js, filepath.Join(cfg.Dir, "events.jsonl")); err != nil {
			tb.Errorf("chaos: %v", err)
		}
	}
	if err := r.tell(path, cfg); err != nil {
		tb.Fatalf("chaos: %v", err)
	}
	return r
}

// provision makes EVENTS as Agner has it, but for its dedup window.
func provision(ctx context.Context, tb testing.TB, js jetstream.JetStream) {
	tb.Helper()
	events := stream.Events("")
	events.Duplicates = eventsWindow
	p := stream.Provisioner{JS: js}
	if err := p.Ensure(ctx, stream.Scheduled(""), events, stream.Dead("")); err != nil {
		tb.Fatalf("chaos: %v", err)
	}
}

// startWorkers makes slots for workers, and starts those that run from the start.
func startWorkers(tb testing.TB, srv *servers, cfg InboxConfig, first, count int, running bool) workers {
	tb.Helper()
	var all workers
	for i := first; i < first+count; i++ {
		w := &worker{wires: srv.wires()}
		w.program = NewWorker(tb, WorkerConfig{
			Name: workerName(i), URL: w.wires.url(i), Lease: cfg.Lease, Keys: cfg.Keys,
			Record: filepath.Join(cfg.Dir, workerName(i)+".jsonl"),
		})
		if running {
			w.program.Start(tb)
		}
		all = append(all, w)
	}
	return all
}

// attack sends the load while the nemesis is at work, and returns when both are
// done.
func attack(ctx context.Context, tb testing.TB, n *nemesis, l *load, plan []Fault, r *Result) {
	tb.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- l.run(ctx) }()
	done := make(chan map[Kind]int, 1)
	go func() { done <- n.run(ctx, plan) }()
	go report(ctx, n, l, r)
	select {
	case err := <-sent:
		if err != nil {
			cancel()
			<-done
			tb.Fatalf("chaos: %v", err)
		}
		r.Kinds = <-done
	case r.Kinds = <-done:
		if err := <-sent; err != nil {
			tb.Fatalf("chaos: %v", err)
		}
	}
	for _, c := range r.Kinds {
		r.Faults += c
	}
	r.Messages = int(l.acked.Load())
}

// report tells now and then how far a run has come.
func report(ctx context.Context, n *nemesis, l *load, r *Result) {
	for wait(ctx, 10*time.Second) {
		n.tell(fmt.Sprintf("%d of %d messages acknowledged, %d of %d faults begun", l.acked.Load(), l.messages, n.begun.Load(), len(r.Plan)))
	}
}

// patience is how long the outputs may stand still before what is missing counts
// as lost: longer than any hand-over.
const patience = 10

// settle waits until everything has been applied, or nothing moves any more, and
// then one lease longer: a worker that woke up late must do no harm. It leaves the
// verdict in r.
func settle(ctx context.Context, tb testing.TB, js jetstream.JetStream, cfg InboxConfig, path string, r *Result) {
	tb.Helper()
	began := time.Now()
	moved, before := began, -1
	for clean := false; ; {
		e, err := gather(ctx, js, path, cfg.Keys)
		if errors.Is(ctx.Err(), context.Canceled) {
			tb.Fatalf("chaos: %v", context.Cause(ctx))
		}
		if err != nil && time.Since(moved) < patience*cfg.Lease {
			wait(ctx, time.Second) // a server may still be on its way back
			continue
		}
		if err != nil {
			tb.Fatalf("chaos: %v", err)
		}
		v := Check(e)
		r.Verdict, r.Outputs = *v, len(e.Outputs)
		if applied := e.applied(); applied != before {
			moved, before = time.Now(), applied
		}
		switch {
		case clean:
			return
		case v.Broken() == 0:
			clean = true
			r.Settled = time.Since(began)
		case time.Since(moved) > patience*cfg.Lease, v.Broken() > v.Lost && time.Since(moved) > 2*cfg.Lease:
			return // what is doubled or out of order does not heal
		}
		pause := time.Second
		if clean {
			pause = cfg.Lease
		}
		if !wait(ctx, pause) {
			tb.Fatalf("chaos: %v", context.Cause(ctx))
		}
	}
}

// tell adds what history and workers tell beside the input.
func (r *Result) tell(path string, cfg InboxConfig) error {
	err := ReadHistory(path, func(rec Record) {
		if rec.What != recordAcked {
			return
		}
		r.Slowest = max(r.Slowest, rec.Took)
		if rec.Tries > 1 {
			r.Resent++
		}
	})
	for i := range cfg.Workers + spareWorkers {
		fenced, readErr := countFenced(filepath.Join(cfg.Dir, workerName(i)+".jsonl"))
		r.Fenced += fenced
		err = errors.Join(err, readErr)
	}
	return err
}
