package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/publish"
)

const scheduleHelp = `List and cancel events that are to be published later: what services have
scheduled with publish.At, publish.In and publish.Cron.`

const scheduleListHelp = `List what is pending, in the order in which it was scheduled. DUE is the time of a
single event, or the cron expression of a repeated one with its time zone.

It reads one at a time, --limit of them at most; what fires meanwhile may be
listed or not.`

func (a *app) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedule",
		Short:   "List and cancel scheduled events",
		Long:    scheduleHelp,
		GroupID: groupEvents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("schedule %s: no such command", args[0])
			}
			return cmd.Help()
		},
	}
	limit := 0
	list := &cobra.Command{
		Use:     "ls",
		Short:   "List what is pending",
		Long:    scheduleListHelp,
		Example: "  natsctl schedule ls\n  natsctl schedule ls --limit 0 -o jsonl",
		Args:    between(0, 0, "no argument"),
		RunE:    a.run(func(ctx context.Context, _ []string) error { return a.scheduleList(ctx, limit) }),
	}
	list.Flags().IntVar(&limit, "limit", 1000, "list so many at most; 0 is all")
	cmd.AddCommand(list, &cobra.Command{
		Use:     "cancel ID...",
		Short:   "Cancel what is pending (changes SCHEDULED)",
		Long:    "Cancel scheduled events by the ids that `natsctl schedule ls` shows. What has fired\nalready stands; an id under which nothing is pending is exit code 3.",
		Example: "  natsctl schedule cancel daily-report",
		Args:    between(1, 1000, "at least one ID"),
		RunE:    a.run(a.scheduleCancel),
	})
	return cmd
}

// schedules runs f with a publisher, which knows the schedules.
func (a *app) schedules(ctx context.Context, f func(*session, *publish.Publisher) error) error {
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	pub, err := publish.New(s.js, publish.Config{Source: defaultSource, Namespace: string(s.ns), Provision: new(false)})
	if err != nil {
		return err
	}
	return f(s, pub)
}

func (a *app) scheduleList(ctx context.Context, limit int) error {
	if limit < 0 {
		return usagef("--limit %d: give 0 for all, or how many at most", limit)
	}
	return a.schedules(ctx, func(_ *session, pub *publish.Publisher) error {
		found := []publish.Schedule{}
		more := false
		for s, err := range pub.Schedules(ctx) {
			if err != nil {
				return err
			}
			if more = limit > 0 && len(found) == limit; more {
				break
			}
			found = append(found, s)
		}
		if more {
			fmt.Fprintf(a.stderr, "natsctl: there are more than %d: --limit 0 lists all\n", limit)
		}
		p := a.printer()
		if len(found) == 0 && p.isTable() {
			fmt.Fprintln(a.stderr, "natsctl: nothing is scheduled")
			return nil
		}
		return list(p, found, "ID\tDUE\tTYPE\tKEY\tEVENT\tSOURCE", func(s publish.Schedule) []string {
			typ := s.Type
			if s.Malformed != "" {
				typ = "MALFORMED: " + s.Malformed
			}
			return []string{onLine(s.ID, 0), dueOf(s), onLine(typ, maxCell), onLine(s.Key, maxCell), onLine(s.EventID, maxCell), onLine(s.Source, maxCell)}
		})
	})
}

func dueOf(s publish.Schedule) string {
	switch {
	case s.Cron == "":
		return s.At.UTC().Format(time.RFC3339)
	case s.Zone == "":
		return onLine(s.Cron, maxCell) + " UTC"
	}
	return onLine(s.Cron+" "+s.Zone, maxCell)
}

func (a *app) scheduleCancel(ctx context.Context, ids []string) error {
	return a.schedules(ctx, func(s *session, pub *publish.Publisher) error {
		log := a.recorder(ctx, s, "schedules")
		defer log.Close()
		var errs []error
		for _, id := range ids {
			err := pub.CancelSchedule(ctx, id)
			if !errors.Is(err, publish.ErrNoSchedule) {
				reason, detail := outcome(err, nil)
				log.act("schedule.cancel", "", reason, id, detail)
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if p := a.printer(); !p.isTable() {
				if err := p.document(map[string]string{"cancelled": id}); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(a.stdout, "cancelled %s\n", onLine(id, 0))
			}
		}
		return errors.Join(errs...)
	})
}
