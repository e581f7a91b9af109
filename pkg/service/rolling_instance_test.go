package service_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

const (
	// instanceEnv makes this test binary an instance of a service.
	instanceEnv = "AGNER_SERVICE_INSTANCE"
	// instanceReady is what an instance prints when it takes calls and events.
	instanceReady = "ready"
)

// instanceSpec is what an instance is told.
type instanceSpec struct {
	URL, Dir, Name string
}

// numbered is the event and the request of the rolling test.
type numbered struct {
	N int `json:"n"`
}

func (numbered) EventType() string { return "test.numbered.v1" }

// runInstanceIfAsked turns this process into an instance and then never
// returns; else it does nothing.
func runInstanceIfAsked() {
	spec, asked := os.LookupEnv(instanceEnv)
	if !asked {
		return
	}
	go func() { // the parent is gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	if err := runInstance(spec); err != nil {
		fmt.Fprintln(os.Stderr, "instance:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runInstance is a service as a user's main has it: it runs until SIGTERM.
func runInstance(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var spec instanceSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	j, err := openJournal(spec.Dir, spec.Name)
	if err != nil {
		return err
	}
	nc, err := service.Connect(ctx, spec.URL, nats.Name(spec.Name))
	if err != nil {
		return err
	}
	defer nc.Close()
	svc, err := service.New(nc, service.Config{
		Name: "billing", Instance: spec.Name,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	},
		service.On(func(ctx context.Context, e envelope.Event[numbered]) error {
			if err := work(ctx); err != nil {
				return err
			}
			return j.write(factHandled, e.Data.N, nil)
		}),
		service.Handle("count", func(ctx context.Context, r numbered) (numbered, error) {
			if err := work(ctx); err != nil {
				return r, err
			}
			return r, j.write(factServed, r.N, nil)
		}, service.WithIdempotent()))
	if err != nil {
		return err
	}
	return svc.RunReady(ctx, func() { fmt.Println(instanceReady) })
}

// work takes up to 20 ms, so that a stop always finds some of it under way.
func work(ctx context.Context) error {
	t := time.NewTimer(rand.N(20 * time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// instanceProcess is one instance in a process of its own.
type instanceProcess struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{}
	err    error // of Wait, before exited is closed
}

// startInstance returns when the instance takes calls and events. It is killed
// at the end of the test, if it still runs.
func startInstance(t *testing.T, spec instanceSpec) (*instanceProcess, error) {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &instanceProcess{name: spec.Name, exited: make(chan struct{})}
	p.cmd = exec.Command(self, "-test.run=^$")
	p.cmd.Env = append(os.Environ(), instanceEnv+"="+string(text), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	p.cmd.Stderr = t.Output()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if lines.Text() == instanceReady {
				close(ready)
			}
		}
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails if it has ended
		<-p.exited
	})
	select {
	case <-ready:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended before it was ready: %w", p.name, p.err)
	case <-time.After(60 * time.Second):
		return nil, fmt.Errorf("%s is not ready", p.name)
	}
}

// stop is what a platform does in a rolling deploy: SIGTERM, and patience. An
// instance that does not end with 0 is an error.
func (p *instanceProcess) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		return fmt.Errorf("stop %s: still there after 30s", p.name)
	}
	if p.err != nil {
		return errors.Join(fmt.Errorf("stop %s", p.name), p.err)
	}
	return nil
}
