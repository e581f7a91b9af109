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

// serveArg makes this program the server.
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

// startChild runs this program again as the server.
func startChild(ctx context.Context, arg string) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, arg) //nolint:gosec // it is this very program
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return nil } // its input ends, and it removes its store
	cmd.WaitDelay = 10 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	stop = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start server: no address from it: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}
