package testserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const (
	// childEnv holds the settings of a child process, as JSON.
	childEnv = "AGNER_TESTSERVER_CHILD"
	// childReady is what a child writes to its standard output when it accepts
	// connections.
	childReady = "agner testserver ready\n"
)

// RunChildIfAsked turns this process into a server if it was started by
// [StartChild], and then never returns; else it does nothing. [Main] calls it.
func RunChildIfAsked() {
	spec, asked := os.LookupEnv(childEnv)
	if !asked {
		return
	}
	if err := runChild(spec, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "testserver child: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runChild runs the server until it is told to stop: by SIGTERM, or by the end
// of its standard input, which the system closes when the parent dies.
func runChild(spec string, stdin io.Reader, stdout, stderr io.Writer) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	// An interrupt typed at the terminal reaches the whole process group. The
	// parent decides what it means.
	signal.Ignore(os.Interrupt)

	var set settings
	if err := json.Unmarshal([]byte(spec), &set); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	srv, err := set.start(slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	orphaned := orphaned(stdin)
	if err := reportReady(stdout); err != nil {
		return err
	}
	select {
	case <-stop:
	case <-orphaned:
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return srv.Shutdown(ctx)
}

// orphaned is closed when the parent is gone, however it died.
func orphaned(stdin io.Reader) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, stdin) // how it ends does not matter, only that it does
	}()
	return gone
}

func reportReady(stdout io.Writer) error {
	if _, err := io.WriteString(stdout, childReady); err != nil {
		return fmt.Errorf("report ready: %w", err)
	}
	return nil
}
