package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agner-go/agner/internal/group"
	"github.com/agner-go/agner/pkg/deadletter"
)

const dlqHelp = `See the dead letters: events that a subscription has given up, each with the
reason. Once the reason is mended, replay gives them back to the one subscription
that failed; discard drops them; export writes them out.`

const dlqFilterHelp = `
Filters are combined: a letter must match all of them. The server itself filters
by group, type, key and time; for the others the headers of the rest are read.`

func (a *app) dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "dlq",
		Aliases: []string{"dead"},
		Short:   "See dead letters, replay or discard them",
		Long:    dlqHelp,
		GroupID: groupEvents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("dlq %s: no such command", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(a.dlqListCommand(), a.dlqShowCommand(), a.dlqReplayCommand(), a.dlqDiscardCommand(), a.dlqExportCommand())
	return cmd
}

// dlqFilter is what the flags select.
type dlqFilter struct {
	deadletter.Filter
	since, until string
}

func (a *app) addDLQFilter(cmd *cobra.Command, f *dlqFilter) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.Group, "group", "", "only of this `group`")
	flags.StringVar(&f.Subscription, "subscription", "", "only of this `subscription`")
	flags.StringVar(&f.Type, "type", "", "only this type, or `pattern` ('*' is one part, '>' all below)")
	flags.StringVar(&f.Key, "key", "", "only events with this `key`")
	flags.StringVar(&f.Reason, "reason", "", "only `one` of invalid, undecodable, exhausted, rejected, killed")
	flags.StringVar(&f.Error, "error", "", "only with this `text` in the error")
	flags.StringVar(&f.since, "since", "", "only that died at this `time` or later, or at most so long ago (2h)")
	flags.StringVar(&f.until, "until", "", "only that died before this `time`, or longer ago (2h)")
	a.completeDLQ(cmd)
}

func (a *app) completeDLQ(cmd *cobra.Command) {
	counted := func(name func(deadletter.Count) string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
				return a.dlqNames(ctx, s, name)
			})
		}
	}
	for flag, complete := range map[string]func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective){
		"group": counted(func(c deadletter.Count) string { return c.Group }),
		"type":  counted(func(c deadletter.Count) string { return c.Type }),
		"subscription": func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
				subs, err := group.NewReader(s.js, s.ns).List(ctx, "")
				names := map[string]bool{}
				for _, sub := range subs {
					names[sub.Name] = true
				}
				return sortedKeys(names), err
			})
		},
		"reason": cobra.FixedCompletions([]string{
			deadletter.ReasonInvalid, deadletter.ReasonUndecodable, deadletter.ReasonExhausted, deadletter.ReasonRejected, deadletter.ReasonKilled,
		}, cobra.ShellCompDirectiveNoFileComp),
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete) // fails for unknown flags only
	}
}

// dlqCompleted bounds the letters whose names are offered.
const dlqCompleted = 5000

// dlqNames are those of the letters that died last.
func (a *app) dlqNames(ctx context.Context, s *session, name func(deadletter.Count) string) ([]string, error) {
	c, err := deadletter.New(s.js, deadletter.Config{Namespace: string(s.ns)})
	if err != nil {
		return nil, err
	}
	counts, err := c.Count(ctx, deadletter.Filter{Limit: dlqCompleted})
	names := map[string]bool{}
	for _, n := range counts {
		names[name(n)] = true
	}
	return sortedKeys(names), err
}

// completeLetter offers the sequences of letters, each with what it is.
func (a *app) completeLetter(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && cmd.Name() == "show" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
		c, err := deadletter.New(s.js, deadletter.Config{Namespace: string(s.ns)})
		if err != nil {
			return nil, err
		}
		var out []string
		for l, err := range c.List(ctx, deadletter.Filter{Limit: 100}) {
			if l == nil {
				return out, err
			}
			out = append(out, fmt.Sprintf("%d\t%s %s: %s", l.Sequence, l.Group, l.Type, onLine(l.Error, maxCell)))
		}
		return out, nil
	})
}

// read takes the arguments, sequences of letters, and the flags together.
func (f *dlqFilter) read(flags *pflag.FlagSet, args []string, now time.Time) (deadletter.Filter, error) {
	out := f.Filter
	for _, arg := range args {
		seq, err := strconv.ParseUint(arg, 10, 63)
		if err != nil || seq == 0 {
			return out, usagef("%q is no sequence of a dead letter: `natsctl dlq ls` lists them", arg)
		}
		out.Sequences = append(out.Sequences, seq)
	}
	if len(args) > 0 && flags != nil {
		var mixed error
		flags.Visit(func(flag *pflag.Flag) {
			switch flag.Name {
			case "group", "subscription", "type", "key", "reason", "error", "since", "until", "all", "limit", "after":
				mixed = usagef("--%s selects letters, and so do their sequences: give one or the other", flag.Name)
			}
		})
		if mixed != nil {
			return out, mixed
		}
	}
	for _, t := range []struct {
		flag, value string
		at          *time.Time
	}{{"since", f.since, &out.Since}, {"until", f.until, &out.Until}} {
		if t.value == "" {
			continue
		}
		if ago, err := time.ParseDuration(t.value); err == nil && ago >= 0 {
			*t.at = now.Add(-ago)
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, t.value)
		if err != nil {
			return out, usagef("--%s %q: give a time as %s, or how long ago, such as 2h", t.flag, t.value, now.UTC().Format(time.RFC3339))
		}
		*t.at = at
	}
	return out, nil
}

// dlq is an open connection to the dead letters.
type dlq struct {
	*session
	letters *deadletter.Client
	log     *recorder // nil before the first act
}

// openDLQ connects. What is done to letters is told to the fleet log.
func (a *app) openDLQ(ctx context.Context) (*dlq, error) {
	s, err := a.connect(ctx, a.surviveAndSay()...)
	if err != nil {
		return nil, err
	}
	d := &dlq{session: s}
	d.letters, err = deadletter.New(s.js, deadletter.Config{
		Namespace: string(s.ns),
		Record: func(ctx context.Context, act deadletter.Act) error {
			d.record(ctx, a, act)
			return nil
		},
	})
	if err != nil {
		s.Close()
		return nil, usagef("%w", err)
	}
	return d, nil
}

// record tells the fleet log of an act.
func (d *dlq) record(ctx context.Context, a *app, act deadletter.Act) {
	if d.log == nil {
		d.log = a.recorder(ctx, d.session, "dead-letters")
	}
	reason, detail := "begin", map[string]string(nil)
	if act.Over {
		reason = "end"
		detail = map[string]string{"done": strconv.Itoa(act.Done), "skipped": strconv.Itoa(act.Skipped), "letters": fmt.Sprint(act.First)}
		if act.Err != nil {
			detail["error"] = act.Err.Error()
		}
	}
	d.log.act("dlq."+act.Verb, act.Filter.Group, reason, act.Filter.String(), detail)
}

func (d *dlq) Close() {
	if d.log != nil {
		d.log.Close()
	}
	d.session.Close()
}

// explain says what to do about an error where that is not obvious.
func (d *dlq) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return errInterrupted
	case isMissing(err):
		return notFoundf("there are no dead letters at %s: the first service makes their stream: %w", d.where, err)
	}
	return err
}

var errInterrupted = errors.New("interrupted")
