package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stopPatience is what platforms usually grant between SIGTERM and SIGKILL.
	stopPatience = 30 * time.Second
	// restartAfter is how long an instance that ended by itself stays away.
	restartAfter = time.Second
)

// fleet is the instances of one row, as an orchestrator keeps them.
type fleet struct {
	dir     string
	task    task
	log     *os.File
	started atomic.Int64
	crashes atomic.Int64
	all     sync.WaitGroup
	gone    chan struct{} // closed when the row is over
}

func newFleet(dir string, t task) (*fleet, error) {
	log, err := os.Create(filepath.Join(dir, "log")) //nolint:gosec // a directory of our own
	if err != nil {
		return nil, err
	}
	return &fleet{dir: dir, task: t, log: log, gone: make(chan struct{})}, nil
}

// close ends all instances, in whatever state.
func (f *fleet) close() error {
	close(f.gone)
	f.all.Wait()
	return f.log.Close()
}

// instance is one place in the fleet: a process, and its successors if it
// crashes.
type instance struct {
	fleet *fleet
	input []byte

	mu   sync.Mutex
	proc *process
	told chan struct{} // closed when the instance is to end
}

// start starts an instance and waits until it receives. One that crashes as it
// starts is waited for no longer than its second attempt.
func (f *fleet) start(ctx context.Context) (*instance, error) {
	t := f.task
	t.Journal = filepath.Join(f.dir, fmt.Sprintf("instance-%d%s", f.started.Add(1), journalSuffix))
	input, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	i := &instance{fleet: f, input: append(input, '\n'), told: make(chan struct{})}
	p, err := i.launch()
	if err != nil {
		return nil, fmt.Errorf("start instance: %w", err)
	}
	f.all.Go(func() { i.keep(p) })
	if err := p.await(ctx); err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("start instance: %w", err)
	}
	return i, nil
}

// launch starts the process, or a successor unless the instance is to end.
func (i *instance) launch() (_ *process, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.told:
		return i.proc, nil
	default:
	}
	i.proc, err = spawn(workArg, i.input, i.fleet.log)
	return i.proc, err
}

// keep starts the process again whenever it ends by itself.
func (i *instance) keep(p *process) {
	for {
		select {
		case <-p.exited:
		case <-i.told:
			return // whoever told it waits for it
		case <-i.fleet.gone:
			p.kill()
			return
		}
		select {
		case <-i.told:
			return
		default:
		}
		i.fleet.crashes.Add(1)
		fmt.Fprintln(i.fleet.log, "instance ended by itself:", p.err)
		t := time.NewTimer(restartAfter)
		select {
		case <-t.C:
		case <-i.told:
			t.Stop()
			return
		case <-i.fleet.gone:
			t.Stop()
			return
		}
		var err error
		if p, err = i.launch(); err != nil {
			fmt.Fprintln(i.fleet.log, "instance could not be started again:", err)
			return
		}
	}
}

func (i *instance) leave() *process {
	i.mu.Lock()
	defer i.mu.Unlock()
	close(i.told)
	return i.proc
}

// stop is the orchestrator's graceful stop. An error of the process is its
// own business, unless it had to be killed.
func (i *instance) stop() error {
	if err := i.leave().terminate(stopPatience); errors.Is(err, errOverran) {
		return err
	}
	return nil
}

// kill is SIGKILL, without a successor.
func (i *instance) kill() { i.leave().kill() }
