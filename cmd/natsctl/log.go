package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/subject"
)

const logHelp = `Show the fleet log: what happened to the fleet itself, and when. Instances that
came up, drained and went down, and why; children that were restarted or did not
stop; subscriptions that were paused, healed or lost events; dead letters; acts
of administrators.

It is kept for 7 days. --since goes back to a time ago (90s, 2h) or a time
(RFC 3339) instead of a day; --follow goes on with what comes.

With -o json it prints an array of records, with -o jsonl or --follow one on each
line.`

const logExample = `  natsctl log
  natsctl log --since 1h --kind down
  natsctl log -f --service billing
  natsctl log --since 2026-01-02T03:00:00Z -o jsonl`

type logOptions struct {
	since, kind, service, instance string
	follow                         bool
}

// logBack is where the log begins unless it is said.
const logBack = "24h"

func (a *app) logCommand() *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Show what happened to the fleet",
		Long:    logHelp,
		Example: logExample,
		GroupID: groupServices,
		Args:    cobra.NoArgs,
		RunE:    a.run(func(ctx context.Context, _ []string) error { return a.fleetLog(ctx, o) }),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.since, "since", logBack, "begin at this `duration|time`")
	flags.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
	flags.StringVar(&o.kind, "kind", "", "only this `kind`, such as down or restarted")
	flags.StringVar(&o.service, "service", "", "only this `service`")
	flags.StringVar(&o.instance, "instance", "", "only this `instance`")
	_ = cmd.RegisterFlagCompletionFunc("service", a.completeService)   // fails for unknown flags only
	_ = cmd.RegisterFlagCompletionFunc("instance", a.completeInstance) // as above
	return cmd
}

func (a *app) fleetLog(ctx context.Context, o logOptions) error {
	since, err := sinceTime(o.since, time.Now())
	if err != nil {
		return err
	}
	if err := subject.CheckName("kind", o.kind); o.kind != "" && err != nil {
		return usagef("--kind: %w", err)
	}
	s, err := a.connect(ctx, a.surviveAndSay()...)
	if err != nil {
		return err
	}
	defer s.Close()
	q := fleetlog.Query{
		Namespace: s.ns, Since: since, Follow: o.follow,
		Kind: fleetlog.Kind(o.kind), Service: o.service, Instance: o.instance,
	}
	if o.follow {
		return quietStop(ctx, a.followLog(ctx, s, q))
	}
	var all []fleetlog.Record
	for r, err := range fleetlog.Read(ctx, s.js, q) {
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			fmt.Fprintf(a.stderr, "natsctl: nothing was ever logged at %s\n", s.where)
		case err != nil && !a.malformedRecord(err):
			return err
		case err == nil:
			all = append(all, r)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p := a.printer()
	if len(all) == 0 && p.isTable() {
		return nil
	}
	return list(p, all, "TIME\tKIND\tINSTANCE\tOBJECT\tWHY", func(r fleetlog.Record) []string { return logRow(r, time.DateTime) })
}

// sinceTime reads --since as tail does, without sequences.
func sinceTime(since string, now time.Time) (time.Time, error) {
	cfg, err := startAt(since, now)
	switch {
	case err != nil:
		return time.Time{}, err
	case cfg.OptStartTime == nil:
		return time.Time{}, usagef("--since %q is no duration (90s, 2h) and no RFC 3339 time", since)
	}
	return *cfg.OptStartTime, nil
}

// malformedRecord says of a message that it is no record, and tells whether it
// was that.
func (a *app) malformedRecord(err error) bool {
	var bad *fleetlog.MalformedError
	if !errors.As(err, &bad) {
		return false
	}
	fmt.Fprintf(a.stderr, "natsctl: %s\n", onLine(bad.Error(), 0))
	return true
}

// followLog prints what comes, and waits for a log that nobody has begun.
func (a *app) followLog(ctx context.Context, s *session, q fleetlog.Query) error {
	const every = 500 * time.Millisecond
	p := a.printer()
	waited := false
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for r, err := range fleetlog.Read(ctx, s.js, q) {
			switch {
			case errors.Is(err, jetstream.ErrStreamNotFound):
				if !waited {
					fmt.Fprintln(a.stderr, "natsctl: nothing was ever logged: waiting for the first record")
				}
				waited = true
			case err != nil && !a.malformedRecord(err):
				return err
			case err == nil:
				if err := printRecord(p, r); err != nil {
					return err
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func printRecord(p *printer, r fleetlog.Record) error {
	if !p.isTable() {
		return p.document(r)
	}
	row := logRow(r, time.DateTime)
	_, err := fmt.Fprintf(p.w, "%s  %-13s  %-24s  %-24s  %s\n", row[0], row[1], row[2], row[3], row[4])
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// logRow is a record for people.
func logRow(r fleetlog.Record, layout string) []string {
	object := r.Object
	if object == "" {
		object = "-"
	}
	var why []string
	for _, part := range []string{r.Reason, r.Text} {
		if part != "" {
			why = append(why, part)
		}
	}
	text := strings.Join(why, ": ")
	if id := r.Detail["event"]; id != "" {
		text += " (event " + id + ")"
	}
	if r.By != "" {
		text += " (by " + r.By + ")"
	}
	return []string{
		r.Time.Local().Format(layout), onLine(string(r.Kind), maxCell), onLine(r.Service+"/"+r.Instance, maxCell),
		onLine(object, maxCell), onLine(text, maxData),
	}
}
