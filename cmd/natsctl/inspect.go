package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/pkg/service"
)

const inspectHelp = `Show what one instance is doing now: the handlers that run, the oldest first,
with the event or the call that each has, and how long it may take. HUNG is one
that ignored its deadline: its work was given to another, and it has not
returned.

--stacks shows where each of them is. --goroutines prints the stacks of all
goroutines of the process instead. Both stop the process for a moment.`

type inspectOptions struct {
	stacks, goroutines bool
	older              time.Duration
}

func (a *app) inspectCommand() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:     "inspect SERVICE/INSTANCE",
		Short:   "Show the handlers that run in an instance",
		Long:    inspectHelp,
		Example: "  natsctl inspect billing/billing-1 --older 10s --stacks\n  natsctl inspect billing/billing-1 --goroutines",
		GroupID: groupServices,
		Args:    between(1, 1, "one SERVICE/INSTANCE"),
		RunE:    a.run(func(ctx context.Context, args []string) error { return a.inspect(ctx, o, args[0]) }),
	}
	cmd.ValidArgsFunction = a.completeService
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.stacks, "stacks", false, "show the stack of each handler")
	flags.DurationVar(&o.older, "older", 0, "only handlers that have run for longer")
	flags.BoolVar(&o.goroutines, "goroutines", false, "print the stacks of all goroutines instead")
	return cmd
}

func (a *app) inspect(ctx context.Context, o inspectOptions, arg string) error {
	t, err := parseInstance(arg)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.goroutines {
		return a.dump(ctx, s, t)
	}
	request := control.InFlightRequest{Stacks: o.stacks, OlderMS: o.older.Milliseconds()}
	found, err := observe[[]service.InFlight](ctx, a, s, t, control.VerbInFlight, request)
	if err != nil {
		return err
	}
	p, running := a.printer(), found[0]
	if p.format == formatJSON {
		return p.document(running)
	}
	if err := list(p, running.Data, "AGE\tTIMEOUT\tHANDLER\tOF\tATTEMPT\tGOROUTINE\tSTATE", inFlightRow); err != nil || !p.isTable() {
		return err
	}
	if running.Truncated {
		fmt.Fprintf(a.stderr, "natsctl: %s are not shown: the answer was too large; ask with --older, or without --stacks\n", count(running.Omitted, "handler"))
	}
	for _, f := range running.Data {
		if f.Stack != "" {
			fmt.Fprintf(a.stdout, "\n%s\n", printable(f.Stack))
		}
	}
	return nil
}

func inFlightRow(f service.InFlight) []string {
	handler, of, attempt, state := "call "+f.Endpoint, cmp.Or(f.CausationID, "-"), "-", "running"
	if e := f.Event; e != nil {
		handler, of, attempt = "event "+e.Subscription, e.Type+" "+e.EventID, strconv.Itoa(e.Attempt)
	}
	if f.Hung {
		state = "HUNG"
	}
	return []string{rounded(f.Age), rounded(f.Timeout), onLine(handler, maxCell), onLine(of, 0), attempt, f.Goroutine, state}
}

func (a *app) dump(ctx context.Context, s *session, t target) error {
	found, err := observe[control.Goroutines](ctx, a, s, t, control.VerbGoroutines, nil)
	if err != nil {
		return err
	}
	p := a.printer()
	if !p.isTable() {
		return p.document(found[0])
	}
	if _, err := fmt.Fprintln(a.stdout, printable(found[0].Data.Dump)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if found[0].Truncated {
		fmt.Fprintf(a.stderr, "natsctl: cut: %d bytes of the dump of %s are missing\n", found[0].Omitted, count(found[0].Data.Count, "goroutine"))
	}
	return nil
}
