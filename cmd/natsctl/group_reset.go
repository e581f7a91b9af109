package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/group"
)

const groupResetHelp = `Set a group, or one subscription of it, to another place in EVENTS. It says first
what that would do to each subscription, then asks; without a terminal it needs
--yes.

  --to-seq N    the event of that sequence of EVENTS is the next
  --to-time T   the first event stored at T or later: a time as in RFC 3339, or
                how long ago, such as 2h
  --to-start    the oldest event that is retained
  --to-end      the next event to be stored: all that stand there are skipped

Instances may run. What they hold when the reset comes (IN FLIGHT) they still
run, so going back those events may run once more than planned, and going on
they are not skipped. Failed events that wait in the retry lane are dropped from
there if they will run again anyway, else kept; --drop-retries drops all of the
subscription, and those are given up without a dead letter.

A reset that was interrupted is mended by running it again.`

// resetFlags are the flags of group reset.
type resetFlags struct {
	seq                      uint64
	at                       string
	start, end               bool
	dropRetries, dryRun, yes bool
}

func (a *app) groupResetCommand() *cobra.Command {
	f := &resetFlags{}
	cmd := a.withGroupCompletion(&cobra.Command{
		Use:   "reset GROUP[/SUBSCRIPTION]",
		Short: "Set a group to another place in history (changes the group)",
		Long:  groupResetHelp,
		Example: "  natsctl group reset billing --to-time 2h --dry-run\n" +
			"  natsctl group reset billing/shop-order-placed-v1 --to-seq 4711 --yes",
		Args: between(1, 1, "one GROUP[/SUBSCRIPTION]"),
		RunE: a.run(func(ctx context.Context, args []string) error { return a.groupReset(ctx, args[0], f) }),
	})
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Uint64Var(&f.seq, "to-seq", 0, "next is the event of this sequence of EVENTS")
	flags.StringVar(&f.at, "to-time", "", "next is the first event stored at this `time`, or so long ago")
	flags.BoolVar(&f.start, "to-start", false, "next is the oldest event")
	flags.BoolVar(&f.end, "to-end", false, "next is the event to be stored next")
	flags.BoolVar(&f.dropRetries, "drop-retries", false, "drop all failed events that wait for another attempt")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what it would do")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.MarkFlagsOneRequired("to-seq", "to-time", "to-start", "to-end")
	cmd.MarkFlagsMutuallyExclusive("to-seq", "to-time", "to-start", "to-end")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "yes")
	return cmd
}

func (f *resetFlags) target(now time.Time) (group.Target, error) {
	switch {
	case f.end:
		return group.ToEnd(), nil
	case f.start:
		return group.ToStart(), nil
	case f.at != "":
		if ago, err := time.ParseDuration(f.at); err == nil && ago >= 0 {
			return group.ToTime(now.Add(-ago)), nil
		}
		t, err := time.Parse(time.RFC3339Nano, f.at)
		if err != nil {
			return group.Target{}, usagef("--to-time %q: give a time as 2026-01-02T15:04:05Z, or how long ago, such as 2h", f.at)
		}
		return group.ToTime(t), nil
	}
	return group.ToSequence(f.seq), nil
}

// resetReport is what a reset prints with -o json.
type resetReport struct {
	*group.Plan
	DryRun bool         `json:"dry_run"`
	Done   []group.Done `json:"done"`
}

func (a *app) groupReset(ctx context.Context, name string, f *resetFlags) error {
	to, err := f.target(time.Now())
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	r := group.NewReader(s.js, s.ns)
	g, sub, _ := strings.Cut(name, "/")
	retries := group.KeepRetries
	if f.dropRetries {
		retries = group.DropRetries
	}
	plan, err := r.MakePlan(ctx, g, sub, to, retries)
	if err != nil {
		return err
	}
	report := resetReport{Plan: plan, DryRun: f.dryRun, Done: []group.Done{}}
	p := a.printer()
	if p.isTable() {
		if err := printPlan(p, plan); err != nil {
			return err
		}
	}
	if !f.dryRun {
		ok, err := a.confirm(ctx, f.yes, "Reset "+name+"?")
		if err != nil || !ok {
			return err
		}
		log := a.recorder(ctx, s, "groups")
		defer log.Close()
		err = r.Apply(ctx, plan, func(d group.Done) {
			report.Done = append(report.Done, d)
			if p.isTable() {
				fmt.Fprintf(a.stdout, "%s: set, next is %d; dropped from the retry lane: %d\n", onLine(d.Subscription, 0), d.Position, d.RetriesDropped)
			}
		})
		reason, detail := outcome(err, resetDetail(report.Done))
		log.act("group.reset", g, reason, name, detail)
		if err != nil {
			return err
		}
	}
	if p.isTable() {
		return nil
	}
	return p.document(report)
}

// resetDetail says of each subscription what it was set to.
func resetDetail(done []group.Done) map[string]string {
	detail := make(map[string]string, len(done))
	for _, d := range done {
		detail[d.Subscription] = fmt.Sprintf("next %d, retries dropped %d", d.Position, d.RetriesDropped)
	}
	return detail
}

func printPlan(p *printer, plan *group.Plan) error {
	return list(p, plan.Steps, "SUBSCRIPTION\tNEXT\tBECOMES\tRUN AGAIN\tSKIPPED\tIN FLIGHT\tRETRIES KEPT\tDROPPED", func(s group.Step) []string {
		return []string{
			onLine(s.Subscription, 0), number(s.Next), number(s.Position), number(s.Again), number(s.Skipped),
			strconv.Itoa(s.InFlight), strconv.Itoa(s.RetriesKept), strconv.Itoa(s.RetriesDropped),
		}
	})
}
