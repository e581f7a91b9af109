// Command run is the fault machine as a program: `make inbox-chaos`.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/chaos"
)

func main() {
	chaos.ServeIfAsked()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 1 if a promise was broken or the machine failed.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 || args[0] != "inbox" {
		fmt.Fprintln(stderr, "usage: run inbox [flags]; run inbox -h lists them")
		return 2
	}
	cfg := chaos.InboxConfig{Progress: func(line string) { fmt.Fprintln(stderr, line) }}
	flags := flag.NewFlagSet("run inbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&cfg.Messages, "messages", 1_000_000, "messages to send")
	flags.IntVar(&cfg.Faults, "faults", 200, "faults to inflict")
	flags.IntVar(&cfg.Keys, "keys", 10_000, "entities")
	flags.IntVar(&cfg.Workers, "workers", 4, "worker processes, beside those that join and leave")
	flags.IntVar(&cfg.Senders, "senders", 128, "senders that wait for their acknowledgement at the same time")
	flags.IntVar(&cfg.Servers, "cluster", 1, "servers: 1 or 3")
	flags.DurationVar(&cfg.Lease, "lease", 3*time.Second, "lease of a partition's owner")
	flags.DurationVar(&cfg.Gap, "gap", 0, "mean time between two faults (default half a lease)")
	flags.DurationVar(&cfg.Over, "over", 0, "spread the messages over this long, if the faults take less")
	flags.IntVar(&cfg.Events, "events", 4, "one message in so many is an event to which the inbox subscribes; 0 for none")
	flags.IntVar(&cfg.Pad, "pad", 0, "bytes added to each message")
	flags.StringVar(&cfg.Dir, "dir", "", "keep the history and the workers' records there")
	seed := flags.String("seed", "", "seed of plan and load; empty draws one")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if cfg.Servers != 1 && cfg.Servers != 3 {
		fmt.Fprintf(stderr, "-cluster %d: 1 or 3 servers\n", cfg.Servers)
		return 2
	}
	cfg.Seed = uint64(rand.Uint32()) //nolint:gosec // G404: a seed is no secret
	if *seed != "" {
		if _, err := fmt.Sscan(*seed, &cfg.Seed); err != nil {
			fmt.Fprintf(stderr, "-seed %q: a whole number\n", *seed)
			return 2
		}
	}
	var result *chaos.Result
	ok := chaos.OnStage(ctx, stderr, func(tb testing.TB) {
		tb.Helper()
		result = chaos.RunInbox(tb, cfg)
	})
	if result == nil {
		return 1
	}
	if err := result.Write(stdout); err != nil || !ok || !result.OK() {
		return 1
	}
	return 0
}
