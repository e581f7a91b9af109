package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/agner-go/agner/internal/embedded"
)

// serveArg makes this program the server: `bench serve`.
const serveArg = "serve"

// serve runs a server until standard input ends, which it does when the parent
// ends, however it ends.
func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	srv, err := embedded.Start(embedded.Config{Name: "bench"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, srv.URL())
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, srv.Shutdown(context.WithoutCancel(ctx)))
}

// child is the server's process.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string
}

func startChild(ctx context.Context) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, serveArg) //nolint:gosec // it is this very program
	cmd.Stderr = os.Stderr
	// Not killed at an interrupt: its input ends, and it removes its store.
	cmd.Cancel = func() error { return nil }
	cmd.WaitDelay = 10 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	c := &child{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start server: no address from it: %w", err), c.stop())
	}
	c.url = strings.TrimSpace(line)
	return c, nil
}

func (c *child) stop() error {
	err := c.stdin.Close()
	if werr := c.cmd.Wait(); werr != nil && !errors.Is(werr, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("server: %w", werr))
	}
	return err
}
