package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/deadletter"
)

const dlqReplayHelp = `Give the events of dead letters back to the one subscription that failed, as the
same events, and remove the letters. Other groups and subscriptions see nothing of
it. Of one key the oldest event goes first. What fails again becomes a new dead
letter.

It says first how many it would replay, and which it would leave and why; then it
asks. Letters named by their sequences are replayed unasked; without a terminal it
needs --yes.

A replay that was interrupted can be run again: within an hour no event is
doubled, unless the server was killed meanwhile too.
` + dlqFilterHelp

const dlqDiscardHelp = `Remove dead letters for good: nobody will handle their events, and nothing brings
the letters back. It says first how many it would discard; then it asks, and
without a terminal it needs --yes. "dlq export" keeps a copy.
` + dlqFilterHelp

// dlqFlags are those of the commands that do something to letters.
type dlqFlags struct {
	dlqFilter
	all, dryRun, yes bool
	file             string
}

func (a *app) dlqReplayCommand() *cobra.Command {
	return a.dlqActCommand(&cobra.Command{
		Use:   "replay [SEQ...]",
		Short: "Give dead letters back to the subscription that failed",
		Long:  dlqReplayHelp,
		Example: "  natsctl dlq replay 17\n  natsctl dlq replay --group billing --reason exhausted --dry-run\n" +
			"  natsctl dlq replay --group billing --since 2h --yes\n  natsctl dlq replay --all",
	}, replayVerb{})
}

func (a *app) dlqDiscardCommand() *cobra.Command {
	return a.dlqActCommand(&cobra.Command{
		Use:     "discard [SEQ...]",
		Short:   "Remove dead letters for good",
		Long:    dlqDiscardHelp,
		Example: "  natsctl dlq discard 17\n  natsctl dlq discard --type shop.order.placed.v1 --until 24h --dry-run",
	}, discardVerb{})
}

// dlqVerb is what differs between replay and discard.
type dlqVerb interface {
	names() (verb, done string)
	asks(f deadletter.Filter) bool
	plan(ctx context.Context, d *dlq, f deadletter.Filter) (deadletter.Plan, error)
	do(ctx context.Context, d *dlq, f deadletter.Filter) iter.Seq2[deadletter.Result, error]
}

type replayVerb struct{}

func (replayVerb) names() (verb, done string)    { return "replay", "replayed" }
func (replayVerb) asks(f deadletter.Filter) bool { return len(f.Sequences) == 0 }
func (replayVerb) plan(ctx context.Context, d *dlq, f deadletter.Filter) (deadletter.Plan, error) {
	return d.letters.Plan(ctx, f)
}

func (replayVerb) do(ctx context.Context, d *dlq, f deadletter.Filter) iter.Seq2[deadletter.Result, error] {
	return d.letters.Replay(ctx, f)
}

type discardVerb struct{}

func (discardVerb) names() (verb, done string)  { return "discard", "discarded" }
func (discardVerb) asks(deadletter.Filter) bool { return true }

// plan of a discard: whatever is there can be discarded.
func (discardVerb) plan(ctx context.Context, d *dlq, f deadletter.Filter) (deadletter.Plan, error) {
	var p deadletter.Plan
	at := map[string]int{}
	for l, err := range d.letters.List(ctx, f) {
		if err != nil && l == nil {
			return p, err
		}
		if errors.Is(err, deadletter.ErrNotFound) {
			p.Skipped++
			p.Lines = append(p.Lines, deadletter.PlanLine{Letters: 1, First: l.Sequence, Skip: err, Why: err.Error()})
			continue
		}
		p.Last = max(p.Last, l.Sequence)
		p.Eligible++
		name := l.Group + "/" + l.Subscription
		i, known := at[name]
		if !known {
			i = len(p.Lines)
			at[name] = i
			p.Lines = append(p.Lines, deadletter.PlanLine{Group: l.Group, Subscription: l.Subscription, First: l.Sequence})
		}
		p.Lines[i].Letters++
	}
	return p, nil
}

func (discardVerb) do(ctx context.Context, d *dlq, f deadletter.Filter) iter.Seq2[deadletter.Result, error] {
	return d.letters.Discard(ctx, f)
}

func (a *app) dlqActCommand(cmd *cobra.Command, v dlqVerb) *cobra.Command {
	var f dlqFlags
	cmd.ValidArgsFunction = a.completeLetter
	a.addDLQFilter(cmd, &f.dlqFilter)
	cmd.Flags().BoolVar(&f.all, "all", false, "all dead letters")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what it would do")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "yes")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		filter, err := f.read(cmd.Flags(), args, time.Now())
		if err != nil {
			return err
		}
		verb, _ := v.names()
		switch {
		case filter.All() && !f.all:
			return usagef("which ones? Name letters by their sequences, give a filter, or --all to %s them all", verb)
		case !filter.All() && f.all:
			return usagef("--all and a filter: give one or the other")
		}
		d, err := a.openDLQ(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		return a.dlqAct(ctx, d, filter, &f, v)
	})
	return cmd
}

// dlqReport is what a replay or discard prints with -o json.
type dlqReport struct {
	Verb     string          `json:"verb"`
	Filter   string          `json:"filter"`
	DryRun   bool            `json:"dry_run"`
	Plan     deadletter.Plan `json:"plan"`
	Done     int             `json:"done"`
	Repeated int             `json:"repeated"` // among the done: finished from an interrupted run
	Skipped  int             `json:"skipped"`
	Seconds  float64         `json:"seconds"`
	Errors   []dlqResult     `json:"errors"`            // the first of the skipped
	Stopped  string          `json:"stopped,omitempty"` // why the rest was left
}

// dlqResult is one letter, as -o jsonl prints it.
type dlqResult struct {
	Letter       uint64 `json:"letter"`
	EventID      string `json:"event_id,omitempty"`
	Group        string `json:"group,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Stream       string `json:"stream,omitempty"`
	Sequence     uint64 `json:"sequence,omitempty"`
	Repeated     bool   `json:"repeated,omitempty"`
	Skipped      string `json:"skipped,omitempty"`
}

func resultOf(r *deadletter.Result) dlqResult {
	out := dlqResult{
		Letter: r.Letter.Sequence, EventID: r.Letter.EventID, Group: r.Letter.Group, Subscription: r.Letter.Subscription,
		Stream: r.Stream, Sequence: r.Sequence, Repeated: r.Repeated,
	}
	if r.Skipped != nil {
		out.Skipped = r.Skipped.Error()
	}
	return out
}

func (a *app) dlqAct(ctx context.Context, d *dlq, f deadletter.Filter, flags *dlqFlags, v dlqVerb) error {
	verb, done := v.names()
	p := a.printer()
	plan, err := v.plan(ctx, d, f)
	if err != nil {
		return d.explain(ctx, err)
	}
	if plan.Lines == nil {
		plan.Lines = []deadletter.PlanLine{}
	}
	report := &dlqReport{Verb: verb, Filter: f.String(), DryRun: flags.dryRun, Plan: plan, Errors: []dlqResult{}}
	if p.isTable() {
		a.printDLQPlan(report)
	}
	if flags.dryRun {
		if p.isTable() {
			return nil
		}
		return p.document(report)
	}
	if plan.Eligible > 0 {
		if v.asks(f) {
			ok, err := a.confirm(ctx, flags.yes, fmt.Sprintf("%s %s at %s?", capital(verb), count(plan.Eligible, "dead letter"), d.where))
			if err != nil || !ok {
				return err
			}
		}
		if len(f.Sequences) == 0 {
			f.Through = plan.Last // these letters, and none that died meanwhile
		}
	}
	began := time.Now()
	err = a.dlqRun(v.do(ctx, d, f), report, a.newProgress(done, plan.Eligible))
	report.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	return a.dlqEnd(ctx, d, report, done, err)
}

// dlqRun takes the results.
func (a *app) dlqRun(results iter.Seq2[deadletter.Result, error], report *dlqReport, show *progress) error {
	p := a.printer()
	defer show.clear()
	for r, err := range results {
		if err != nil {
			return err
		}
		line := resultOf(&r)
		if report.add(&r, line) && p.isTable() {
			show.clear()
			fmt.Fprintf(a.stderr, "natsctl: skipped: %s\n", onLine(line.Skipped, 0))
		}
		if p.format == formatJSONL {
			if err := p.document(line); err != nil {
				return err
			}
		}
		show.update(report.Done, report.Skipped)
	}
	return nil
}

// add counts a result, and says whether it is to be told.
func (r *dlqReport) add(result *deadletter.Result, line dlqResult) (tell bool) {
	if result.Skipped == nil {
		r.Done++
		if result.Repeated {
			r.Repeated++
		}
		return false
	}
	r.Skipped++
	if len(r.Errors) == maxReported {
		return false
	}
	r.Errors = append(r.Errors, line)
	return true
}

// dlqEnd sums up, and turns what was left undone into the command's error.
func (a *app) dlqEnd(ctx context.Context, d *dlq, report *dlqReport, done string, err error) error {
	if err = d.explain(ctx, err); err != nil {
		report.Stopped = err.Error()
	}
	text := fmt.Sprintf("%s %s", count(report.Done, "dead letter"), done)
	if report.Repeated > 0 {
		text += fmt.Sprintf(" (%d of them by an earlier run, which was interrupted)", report.Repeated)
	}
	text += fmt.Sprintf(", %d skipped, %.1f s", report.Skipped, report.Seconds)
	p := a.printer()
	switch p.format {
	case formatJSON:
		if err := p.document(report); err != nil {
			return err
		}
	case formatJSONL:
		fmt.Fprintln(a.stderr, text)
	default:
		fmt.Fprintln(a.stdout, text)
	}
	switch {
	case errors.Is(err, errInterrupted):
		return fmt.Errorf("interrupted after %s: run it again for the rest", count(report.Done, "dead letter"))
	case err != nil:
		return err
	case report.Skipped > 0 && report.Done == 0 && report.Plan.Eligible == 0 && allMissing(report.Plan):
		return notFoundf("no such dead letter: `natsctl dlq ls` lists those there are")
	case report.Skipped > 0:
		return coded(exitError, "%s of %d skipped", count(report.Skipped, "dead letter"), report.Skipped+report.Done)
	}
	return nil
}

func allMissing(p deadletter.Plan) bool {
	for _, line := range p.Lines {
		if !errors.Is(line.Skip, deadletter.ErrNotFound) {
			return false
		}
	}
	return true
}

// printDLQPlan says what would be done.
func (a *app) printDLQPlan(r *dlqReport) {
	for _, line := range r.Plan.Lines {
		who := ""
		if line.Group != "" {
			who = " of " + line.Group + "/" + line.Subscription
		}
		fmt.Fprint(a.stdout, count(line.Letters, "dead letter"), who, ", the first is ", line.First)
		if line.FromEvents > 0 && line.Skip == nil {
			fmt.Fprintf(a.stdout, ", %d from EVENTS since the letters do not hold the whole event", line.FromEvents)
		}
		if line.Skip != nil {
			fmt.Fprint(a.stdout, ": skipped: ", onLine(line.Why, 0))
		}
		fmt.Fprintln(a.stdout)
	}
	fmt.Fprintf(a.stdout, "to %s: %d, skipped: %d\n", r.Verb, r.Plan.Eligible, r.Plan.Skipped)
}

func capital(s string) string { return string(s[0]-'a'+'A') + s[1:] }
