package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// measure takes one row: a contender in a scenario, on a server of their own.
func measure(ctx context.Context, c contender, s scenario, cfg config) (_ row, err error) {
	dir, err := os.MkdirTemp("", "agner-correctness-")
	if err != nil {
		return row{}, err
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	srv, err := spawn(serveArg, nil, os.Stderr)
	if err != nil {
		return row{}, fmt.Errorf("start server: %w", err)
	}
	defer func() { err = errors.Join(err, srv.end(stopPatience)) }()
	if err := srv.await(ctx); err != nil {
		return row{}, fmt.Errorf("start server: %w", err)
	}
	nc, err := nats.Connect(srv.line)
	if err != nil {
		return row{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return row{}, err
	}
	s.Stubborn = cfg.stubborn
	if err := c.Deploy(ctx, js, s.plan); err != nil {
		return row{}, fmt.Errorf("deploy: %w", err)
	}
	fl, err := newFleet(dir, task{URL: srv.line, Contender: c.Name(), plan: s.plan})
	if err != nil {
		return row{}, err
	}
	defer func() { err = errors.Join(err, fl.close()) }()
	r := &field{
		scenario: s, layout: c.Layout(), js: js, fleet: fl, journals: newJournals(dir),
		pub: &publisher{js: js, layout: c.Layout(), twoEvery: s.twoEvery, confirmed: make(map[int]uint64)},
	}
	out, err := r.take(ctx, c.Name(), cfg.pace)
	if err == nil && out.breach() != nil {
		out.dir, keep = dir, true
	}
	return out, err
}

// take plays the scenario and has its evidence checked.
func (r *field) take(ctx context.Context, contender string, p pace) (row, error) {
	began := time.Now()
	if err := r.scenario.play(ctx, r); err != nil {
		return row{}, err
	}
	left, err := r.settle(ctx, p)
	if err != nil {
		return row{}, err
	}
	e := evidence{records: r.journals.all(), left: left}
	if e.events, err = readStream(ctx, r.js, r.layout.stream); err != nil {
		return row{}, err
	}
	if e.dead, err = readStream(ctx, r.js, r.layout.dead); err != nil {
		return row{}, err
	}
	if err := verifyStored(e.events, r.pub.confirmed); err != nil {
		return row{}, err
	}
	v := check(e, r.scenario.failsForEver)
	out := newRow(contender, r.scenario, len(e.events), v)
	out.Crashes = int(r.fleet.crashes.Load())
	out.Seconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	out.Quick = p.quick
	return out, nil
}

func (s scenario) failsForEver(n int) bool { return s.FailRuns == 0 && isNth(n, s.FailEvery) }
