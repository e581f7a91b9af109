package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/agner-go/agner/internal/embedded"
)

// Arguments that make this program one of its own children.
const (
	serveArg = "serve"
	workArg  = "work"
)

// serve runs a server until standard input ends, which it does when the parent
// ends, however it ends.
func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	srv, err := embedded.Start(embedded.Config{Name: "correctness"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, srv.URL())
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, srv.Shutdown(context.WithoutCancel(ctx)))
}

// process is this program run again. It ends when its standard input does.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	ready  chan struct{} // closed with the first line that it prints
	line   string        // that line, once ready is closed
	exited chan struct{}
	err    error // once exited is closed
}

// spawn starts a process and writes its input; the input stays open.
func spawn(arg string, input []byte, log io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{ready: make(chan struct{}), exited: make(chan struct{})}
	p.cmd = exec.Command(self, arg) //nolint:gosec // it is this very program
	p.cmd.Stderr = log
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
	go p.mind(stdout)
	if _, err := p.stdin.Write(input); err != nil {
		return nil, errors.Join(err, p.end(0))
	}
	return p, nil
}

func (p *process) mind(stdout io.Reader) {
	defer close(p.exited)
	r := bufio.NewReader(stdout)
	line, err := r.ReadString('\n')
	if err == nil {
		p.line = line[:len(line)-1]
		close(p.ready)
		_, _ = io.Copy(io.Discard, r) // until it ends, which is all that matters
	}
	p.err = p.cmd.Wait()
}

// await returns once the process has said that it is ready.
func (p *process) await(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("ended before it was ready: %w", p.err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end lets the process end in order, and kills it if that takes longer than
// the patience. It returns once the process is gone.
func (p *process) end(patience time.Duration) error {
	_ = p.stdin.Close() // gone already is as good
	return p.wait(patience)
}

// terminate is end by SIGTERM, as an orchestrator does it.
func (p *process) terminate(patience time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already is as good
	return p.wait(patience)
}

// kill is SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.exited
}

var errOverran = errors.New("did not stop in time and was killed")

func (p *process) wait(patience time.Duration) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-p.exited:
		return p.err
	case <-t.C:
		p.kill()
		return errOverran
	}
}
