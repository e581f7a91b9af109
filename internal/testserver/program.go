package testserver

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
)

// Program is this binary again in a process of its own, told by its environment
// what to be: a worker of a test, for instance. It can be killed, stopped, paused
// and started again. It is safe for concurrent use, but for overlapping starts.
//
// The package's TestMain, or the main of a program, looks for the variable before
// anything else and calls [RunProgram].
type Program struct {
	tb   testing.TB
	name string
	env  []string
	log  *logBuffer

	mu   sync.Mutex
	proc *process // nil while it is down
}

// NewProgram returns a program that is down. Env are lines such as "NAME=value",
// beside the environment of this process; name is for messages only. It lives
// until the test ends; should the tests die in whatever way, it dies too.
func NewProgram(tb testing.TB, name string, env ...string) *Program {
	tb.Helper()
	p := &Program{tb: tb, name: name, env: env, log: newLogBuffer(tb, name)}
	tb.Cleanup(p.Kill)
	return p
}

// RunProgram runs what a process is that was started by [Program.Start]: run calls
// ready once it is at work, and its context ends with SIGTERM or with the parent.
func RunProgram(run func(ctx context.Context, ready func() error) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Ignore(os.Interrupt) // as a server's child does
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := orphaned(os.Stdin)
	go func() {
		<-gone
		cancel()
	}()
	return run(ctx, func() error { return reportReady(os.Stdout) })
}

// Start starts a program that is down, and waits until it is ready.
func (p *Program) Start(tb testing.TB) {
	tb.Helper()
	proc, err := spawn(p.log, p.env...)
	if err != nil {
		tb.Fatalf("testserver: start %s: %v", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proc = proc
}

// Kill ends the program with SIGKILL, also when it is paused, and waits until it
// is gone. On one that is down it does nothing.
func (p *Program) Kill() {
	p.tb.Helper()
	if proc := p.take(); proc != nil {
		if err := proc.kill(); err != nil {
			p.tb.Errorf("testserver: kill %s: %v", p.name, err)
		}
	}
}

// Stop ends the program with SIGTERM and waits until it is gone. One that ends
// with an error, or not within half a minute, fails the test.
func (p *Program) Stop() {
	p.tb.Helper()
	if proc := p.take(); proc != nil {
		if err := proc.stop(); err != nil {
			p.tb.Errorf("testserver: stop %s: %v", p.name, err)
		}
	}
}

// Pause stops the program in its tracks with SIGSTOP, and returns when every
// thread of it stands still.
func (p *Program) Pause() {
	p.tb.Helper()
	if proc := p.current(); proc != nil {
		if err := pauseProcess(proc.cmd.Process); err != nil {
			p.tb.Errorf("testserver: pause %s: %v", p.name, err)
		}
	}
}

// Resume lets a paused program run on.
func (p *Program) Resume() {
	p.tb.Helper()
	if proc := p.current(); proc != nil {
		if err := resumeProcess(proc.cmd.Process); err != nil {
			p.tb.Errorf("testserver: resume %s: %v", p.name, err)
		}
	}
}

// Running says whether the program was started and not ended by this package.
func (p *Program) Running() bool { return p.current() != nil }

// Exited returns a channel that is closed when the present run has ended, by
// itself or not; it is nil while the program is down.
func (p *Program) Exited() <-chan struct{} {
	if proc := p.current(); proc != nil {
		return proc.exited
	}
	return nil
}

// Log is what the program has written to its standard error, or the end of it.
func (p *Program) Log() string { return p.log.String() }

func (p *Program) current() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc
}

func (p *Program) take() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	proc := p.proc
	p.proc = nil
	return proc
}
