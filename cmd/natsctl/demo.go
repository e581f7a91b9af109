package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/demo"
)

const demoHelp = `Run a shop of three services on an embedded NATS server, and tell what happens:
events flow, calls are answered, a handler panics, a child crashes and is
restarted, a process is killed with SIGKILL, a poisoned event becomes a dead
letter and is replayed after the fix.

Events from outside are handled while it runs. It ends with the books: what
handlers recorded, held against what stands in the streams. The exit code is 0
only if nothing was lost, else 5.

With -o json or jsonl the story goes to standard error, and the books are one
JSON object on the last line of standard output.`

// demoInstance is the hidden command that is one instance of billing.
const demoInstance = "demo-instance"

type demoOptions struct {
	fast, exit, verbose bool
	seed                uint64
	seeded              bool
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "See a fleet work, fail and heal, on an embedded server",
		Long:    demoHelp,
		Example: "  natsctl demo\n  natsctl demo --fast --exit -o json",
		GroupID: groupServer,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = a.standalone(func(ctx context.Context, _ []string) error {
		o.seeded = cmd.Flags().Changed("seed")
		return a.demo(ctx, o)
	})
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.fast, "fast", false, "no pauses to read: the story takes seconds")
	flags.BoolVar(&o.exit, "exit", false, "end after the story instead of staying open until Ctrl-C")
	flags.Uint64Var(&o.seed, "seed", 0, "`number` that the orders' amounts follow from (default a random one)")
	flags.BoolVar(&o.verbose, "verbose", false, "show what server and services log, on standard error")
	return cmd
}

func (a *app) demo(ctx context.Context, o demoOptions) error {
	if !o.seeded {
		o.seed = rand.Uint64N(1_000_000) //nolint:gosec // amounts of a demo
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start instances: %w", err)
	}
	p := a.printer()
	story := a.stdout
	if !p.isTable() {
		story = a.stderr
	}
	cfg := demo.Config{
		Fast: o.fast, Exit: o.exit, Seed: o.seed, Story: story, Bold: a.styleFor(story).bold,
		Tool: toolName(self), Billing: []string{self, demoInstance},
	}
	if o.verbose {
		cfg.Log = a.stderr
	}
	sum, err := demo.Run(ctx, cfg)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if !p.isTable() {
		p.tty = false // the last line is the whole object
		if err := p.document(sum); err != nil {
			return err
		}
	}
	switch {
	case sum.Lost > 0:
		return coded(exitUnhealthy, "demo: %s lost", count(sum.Lost, "event"))
	case sum.Pending > 0 && o.exit:
		return coded(exitUnhealthy, "demo: %s still pending at the end", count(sum.Pending, "event"))
	}
	return nil
}

// toolName is how the reader calls this program again.
func toolName(executable string) string {
	if strings.Contains(filepath.ToSlash(executable), "/go-build") {
		return "go run ./cmd/natsctl"
	}
	return "natsctl"
}

// demoInstanceCommand is one instance of the demo's service billing. The demo
// starts it, and ends it by closing its standard input.
func (a *app) demoInstanceCommand() *cobra.Command {
	var cfg demo.BillingConfig
	cmd := &cobra.Command{
		Use:    demoInstance,
		Short:  "One instance of the demo's service billing",
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		a.began = true
		cfg.Server = a.connection.server
		cfg.Logger = slog.New(slog.NewTextHandler(a.stderr, nil))
		// Ctrl-C reaches every process of the terminal; this one stays until
		// the demo has closed its books.
		signal.Ignore(os.Interrupt, syscall.SIGHUP)
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err := demo.RunBilling(ctx, cfg, a.stdin, a.stdout)
		if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE) {
			return nil // the demo is gone
		}
		return err
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Instance, "instance", "", "name of the instance")
	flags.StringVar(&cfg.Version, "release", "", "version of the service")
	flags.BoolVar(&cfg.Fast, "fast", false, "less work for each order")
	return cmd
}
