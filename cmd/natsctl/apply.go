package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/stream"
)

const applyHelp = `Make what programs declare that they need: streams, buckets and durables. A
program prints its declaration as JSON (Declaration of a service, consumer,
publisher or inbox); with that applied it may run with Provision false, as
somebody who may create nothing.

It shows first what it would do, then asks; without a terminal it needs --yes.

  create     is missing, and is made; a durable that has vanished, where it stood
  update     gets what DETAILS lists: replicas, durability, or what a greater
             Generation declares; no event and no position is lost by it
  unchanged  is as declared
  drift      differs, and is used as it is: DETAILS says what can be done
  newer      is of a later generation than the declaration, and left alone
  conflict   is a durable that belongs to somebody else: nothing is applied
  orphaned   is a durable of a declared group that no declaration names: it is
             left alone, and keeps what it has not handled
  delete     the same, with --prune

Give the declarations of all programs that share a group. --prune deletes
orphaned durables from which nobody pulls, with their waiting retries and their
positions; no event is deleted from EVENTS or DEAD.

Applying again is safe: it finds what is left to be done.`

const applyExample = `  billing declare | natsctl apply -f - --dry-run
  natsctl apply -f billing.json -f shipping.json --yes
  natsctl apply -f billing.json --prune`

type applyFlags struct {
	files              []string
	prune, dryRun, yes bool
}

func (a *app) applyCommand() *cobra.Command {
	f := &applyFlags{}
	cmd := &cobra.Command{
		Use:     "apply -f FILE",
		Short:   "Make the streams and durables that programs declare (plan first)",
		Long:    applyHelp,
		Example: applyExample,
		GroupID: groupServices,
		Args:    between(0, 0, "no argument: files are given with -f"),
		RunE:    a.run(func(ctx context.Context, _ []string) error { return a.apply(ctx, f) }),
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVarP(&f.files, "file", "f", nil, "`file` with declarations, - for standard input; may be repeated")
	flags.BoolVar(&f.prune, "prune", false, "delete orphaned durables from which nobody pulls")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what it would do")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	_ = cmd.MarkFlagFilename("file", "json") // fails for unknown flags only
	_ = cmd.MarkFlagRequired("file")         // as above
	cmd.MarkFlagsMutuallyExclusive("dry-run", "yes")
	return cmd
}

// applyReport is what apply prints with -o json.
type applyReport struct {
	*declare.Plan
	DryRun bool `json:"dry_run"`
	Left   int  `json:"left"` // steps that were not done
}

func (a *app) apply(ctx context.Context, f *applyFlags) error {
	declared, err := a.declarations(f.files)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, d := range declared {
		if s.ns != "" && d.Namespace != string(s.ns) {
			return usagef("--namespace is %s, and a declaration is for namespace %q", s.ns, d.Namespace)
		}
	}
	p := &declare.Planner{JS: s.js, Prune: f.prune, Logger: slog.New(slog.DiscardHandler)} // the plan says it
	plan, err := p.Plan(ctx, declared...)
	if err != nil {
		return explainApply(err)
	}
	out := a.printer()
	if out.isTable() {
		if err := printSteps(out, plan); err != nil {
			return err
		}
	}
	applyErr := a.applyPlan(ctx, f, s, p, plan, out)
	if out.isTable() {
		return applyErr
	}
	if out.format == formatJSONL {
		err = list(out, plan.Steps, "", nil)
	} else {
		err = out.document(applyReport{Plan: plan, DryRun: f.dryRun, Left: plan.Pending()})
	}
	return errors.Join(applyErr, err)
}

// applyPlan asks, and does what the plan says.
func (a *app) applyPlan(ctx context.Context, f *applyFlags, s *session, p *declare.Planner, plan *declare.Plan, out *printer) error {
	if c := plan.Conflicts(); len(c) > 0 {
		return fmt.Errorf("%s %s: %w: %s", c[0].Kind, onLine(c[0].Name, 0), declare.ErrConflict, c[0].Note)
	}
	if plan.Pending() == 0 || f.dryRun {
		return nil
	}
	if !out.isTable() && !f.yes { // who is asked sees what about
		if err := printSteps(&printer{w: a.stderr, format: formatTable}, plan); err != nil {
			return err
		}
	}
	ok, err := a.confirm(ctx, f.yes, "Do this?")
	if err != nil || !ok {
		return err
	}
	var done []string
	err = p.Apply(ctx, plan, func(s *declare.Step) {
		done = append(done, s.String())
		if out.isTable() {
			fmt.Fprintf(a.stdout, "done: %s\n", onLine(s.String(), 0))
		}
	})
	// Opened afterwards: the log's own stream may be among what was made.
	log := a.recorder(ctx, s, "declarations")
	defer log.Close()
	reason, detail := outcome(err, map[string]string{"steps": strings.Join(done, "; ")})
	log.act("apply", "", reason, fmt.Sprintf("%d of %d steps", len(done), len(done)+plan.Pending()), detail)
	return explainApply(err)
}

// explainApply gives the exit code.
func explainApply(err error) error {
	if errors.Is(err, declare.ErrDeclaration) {
		return usagef("%w", err)
	}
	return err
}

// declarations reads all files, each of one declaration or several.
func (a *app) declarations(files []string) ([]declare.Declaration, error) {
	var all []declare.Declaration
	for _, name := range files {
		found, err := a.declarationsOf(name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (a *app) declarationsOf(name string) ([]declare.Declaration, error) {
	r := a.stdin
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the user's own file
		if errors.Is(err, os.ErrNotExist) {
			return nil, notFoundf("--file: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		r = file
	}
	found, err := declare.Read(r)
	if err != nil {
		return nil, usagef("--file %s: %w", name, err)
	}
	return found, nil
}

// printSteps prints a plan and its sum.
func printSteps(p *printer, plan *declare.Plan) error {
	err := list(p, plan.Steps, "ACTION\tKIND\tNAME\tDETAILS", func(s *declare.Step) []string {
		return []string{string(s.Action), s.Kind, onLine(s.Name, 0), onLine(details(s), 0)}
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.w, sum(plan))
	return err
}

// sum counts the steps of each action, in the order of the help text.
func sum(plan *declare.Plan) string {
	counts := map[declare.Action]int{}
	for _, s := range plan.Steps {
		counts[s.Action]++
	}
	var parts []string
	for _, action := range []declare.Action{
		declare.Create, declare.Update, declare.Unchanged, declare.Drift, declare.Newer,
		declare.Conflict, declare.Orphaned, declare.Delete,
	} {
		if n := counts[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, action))
		}
	}
	if plan.Pending() == 0 {
		parts = append(parts, "nothing to be done")
	}
	return strings.Join(parts, ", ")
}

// details says on one line what a step changes, what stays different, and why.
func details(s *declare.Step) string {
	var parts []string
	if s.Stream != "" {
		parts = append(parts, "on "+s.Stream)
	}
	for _, d := range s.Changes {
		parts = append(parts, d.Field+": "+orNone(d.Actual)+" -> "+d.Declared)
	}
	if o := s.Orphan; o != nil {
		parts = append(parts, orphaned(o)...)
	}
	parts = append(parts, differences(s.Drift)...)
	if s.Note != "" {
		parts = append(parts, s.Note)
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

func differences(drift []stream.Difference) []string {
	var parts []string
	for _, d := range drift {
		parts = append(parts, d.Field+" is "+orNone(d.Actual)+", declared "+orNone(d.Declared))
	}
	return parts
}

func orphaned(o *declare.Orphan) []string {
	parts := []string{count(int(min(o.Pending, 1<<30)), "event") + " pending"}
	if o.Retries > 0 {
		parts[0] += fmt.Sprintf(" (%d as retries)", o.Retries)
	}
	if !o.Oldest.IsZero() {
		parts = append(parts, "the oldest of "+rounded(time.Since(o.Oldest))+" ago")
	}
	if !o.Active.IsZero() && !o.Pulled {
		parts = append(parts, "last active "+rounded(time.Since(o.Active))+" ago")
	}
	return parts
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
