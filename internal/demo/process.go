package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// process is a billing instance in a process of its own.
type process struct {
	instance, version string
	cmd               *exec.Cmd
	stdin             io.Closer
	ready             chan struct{} // closed when it takes events
	ended             chan struct{} // closed when it is gone
	err               error         // of Wait, before ended is closed
	stderr            *tail

	mu       sync.Mutex
	expected bool // its end is wanted
}

// launch starts an instance; what it records goes to tell, and what it logs to
// log, if that is not nil.
func launch(command []string, cfg BillingConfig, tell func(record), log io.Writer) (*process, error) {
	args := append(slices.Clone(command[1:]),
		"--server", cfg.Server, "--instance", cfg.Instance, "--release", cfg.Version)
	if cfg.Fast {
		args = append(args, "--fast")
	}
	p := &process{
		instance: cfg.Instance, version: cfg.Version, stderr: &tail{},
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	p.cmd = exec.Command(command[0], args...) //nolint:gosec // this very program
	p.cmd.Stderr = p.stderr
	if log != nil {
		p.cmd.Stderr = io.MultiWriter(p.stderr, log)
	}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Instance, err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Instance, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Instance, err)
	}
	go p.listen(stdout, tell)
	return p, nil
}

// listen takes what the instance tells until it is gone. What it wrote before a
// SIGKILL is still read.
func (p *process) listen(stdout io.Reader, tell func(record)) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var r record
		switch err := json.Unmarshal(lines.Bytes(), &r); {
		case err != nil: // half a line, of a process killed while it wrote
		case r.What == stateReady:
			close(p.ready)
		default:
			tell(r)
		}
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// awaitReady waits until the instance takes events.
func (p *process) awaitReady(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return p.failure()
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w", p.instance, context.Cause(ctx))
	}
}

func (p *process) failure() error {
	return fmt.Errorf("%s ended by itself: %w: %s", p.instance, orExit(p.err), strings.TrimSpace(p.stderr.String()))
}

func orExit(err error) error {
	if err == nil {
		return os.ErrProcessDone
	}
	return err
}

// expect marks the end of the instance as wanted.
func (p *process) expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

func (p *process) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expected
}

// kill ends the instance as kill -9 does, and waits until it is gone.
func (p *process) kill() error {
	p.expect()
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.instance, err)
	}
	<-p.ended
	return nil
}

// stopWithin is how long a drain may take before the process is killed.
const stopWithin = 15 * time.Second

// stop asks the instance to drain, and waits until it is gone.
func (p *process) stop() error {
	p.expect()
	_ = p.stdin.Close() // fails only if the process is gone
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	select {
	case <-p.ended:
	case <-limit.C:
		_ = p.cmd.Process.Kill() // as above
		<-p.ended
		return fmt.Errorf("%s did not drain within %s", p.instance, stopWithin)
	}
	if p.err != nil {
		return p.failure()
	}
	return nil
}

// tail keeps the end of what a process writes to its standard error.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const tailBytes = 4 << 10

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if extra := len(t.last) - tailBytes; extra > 0 {
		t.last = append(t.last[:0], t.last[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
