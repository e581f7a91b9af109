// Command natsctl is the tool of an Agner fleet: it runs a development server
// and a demo, publishes and watches events, and calls services.
//
// It is no second `nats`: streams, consumers, buckets and accounts are that
// tool's business, and natsctl adds what needs an envelope, a service or an
// instance to make sense. It reads the contexts of `nats` and never writes
// them. docs/natsctl.md describes each command and exit code.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: arguments and streams in, exit code out.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := interruptible()
	defer stop()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv}
	return a.execute(ctx, args)
}

// interruptible is a context that ends with the first signal to stop. From then
// on signals do what they do by default, so a second Ctrl-C ends the process.
func interruptible() (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	// A closed terminal stops a server of ours in order, unless nohup says
	// that it should go on.
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
