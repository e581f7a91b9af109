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

const groupHelp = `See the subscriptions of consumer groups as the server has them, and change their
place in history. No instance has to answer, and none has to stop.`

const groupListHelp = `List the subscriptions of a group, or of all groups:

  FLOOR      up to this sequence of EVENTS all is settled
  PENDING    events not delivered yet
  IN FLIGHT  events delivered and not settled
  RETRIES    failed events that wait in the retry lane, due ones included
  DEAD       dead letters of the group and these types
  STATE      running, paused, or reset unfinished: run that reset again`

func (a *app) groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "group",
		Short:   "See consumer groups, and reset them to another place",
		Long:    groupHelp,
		GroupID: groupEvents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("group %s: no such command", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(
		a.withGroupCompletion(&cobra.Command{
			Use:     "ls [GROUP]",
			Short:   "List the subscriptions of a group, or of all",
			Long:    groupListHelp,
			Example: "  natsctl group ls\n  natsctl group ls billing -o json",
			Args:    between(0, 1, "at most one GROUP"),
			RunE:    a.run(a.groupList),
		}),
		a.withGroupCompletion(&cobra.Command{
			Use:     "show GROUP[/SUBSCRIPTION]",
			Short:   "Show subscriptions in full",
			Long:    "Show all that the server knows of a group's subscriptions, or of one of them.",
			Example: "  natsctl group show billing/shop-order-placed-v1",
			Args:    between(1, 1, "one GROUP[/SUBSCRIPTION]"),
			RunE:    a.run(a.groupShow),
		}),
		a.groupResetCommand(),
	)
	return cmd
}

func (a *app) withGroupCompletion(cmd *cobra.Command) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
			subs, err := group.NewReader(s.js, s.ns).List(ctx, "")
			names := map[string]bool{}
			for _, sub := range subs {
				names[sub.Group] = true
				if cmd.Name() != "ls" {
					names[sub.Group+"/"+sub.Name] = true
				}
			}
			return sortedKeys(names), err
		})
	}
	return cmd
}

// ofGroups connects and reads subscriptions.
func (a *app) ofGroups(ctx context.Context, name string) ([]group.Subscription, error) {
	s, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	g, sub, _ := strings.Cut(name, "/")
	return group.NewReader(s.js, s.ns).Find(ctx, g, sub)
}

func (a *app) groupList(ctx context.Context, args []string) error {
	subs, err := a.ofGroups(ctx, strings.Join(args, ""))
	if err != nil {
		return err
	}
	p := a.printer()
	if len(subs) == 0 && p.isTable() {
		fmt.Fprintln(a.stderr, "natsctl: no group has a durable on EVENTS")
		return nil
	}
	return list(p, subs, "GROUP\tSUBSCRIPTION\tFLOOR\tPENDING\tIN FLIGHT\tRETRIES\tDEAD\tSTATE", func(s group.Subscription) []string {
		return []string{
			onLine(s.Group, maxCell), onLine(s.Name, 0), number(s.Floor), number(s.Pending), strconv.Itoa(s.InFlight),
			number(uint64(max(s.RetriesWaiting+s.RetriesInFlight, 0)) + s.RetriesDue), number(s.Dead), stateOf(s),
		}
	})
}

func stateOf(s group.Subscription) string {
	switch {
	case s.ResetUnfinished:
		return "reset unfinished"
	case s.Paused:
		return "paused"
	}
	return "running"
}

func (a *app) groupShow(ctx context.Context, args []string) error {
	subs, err := a.ofGroups(ctx, args[0])
	if err != nil {
		return err
	}
	p := a.printer()
	if !p.isTable() {
		return list(p, subs, "", nil)
	}
	for i, s := range subs {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		until := ""
		if s.Paused && !s.PausedUntil.IsZero() {
			until = " until " + s.PausedUntil.UTC().Format(time.RFC3339)
		}
		rows := [][2]string{
			{"subscription", s.Group + "/" + s.Name},
			{"type", s.Type},
			{"durable", s.Durable + " on EVENTS, filter " + s.Filter},
			{"state", stateOf(s) + until},
			{"floor", fmt.Sprintf("%d, saved %d", s.Floor, s.Saved)},
			{"pending", number(s.Pending)},
			{"in flight", strconv.Itoa(s.InFlight)},
			{"retries", fmt.Sprintf("%d waiting, %d due, %d in flight", s.RetriesWaiting, s.RetriesDue, s.RetriesInFlight)},
			{"dead letters", fmt.Sprintf("%d of the group and these types", s.Dead)},
			{"resets", number(s.Resets)},
		}
		if err := list(p, rows, a.styleFor(a.stdout).bold(onLine(s.Durable, 0)), func(r [2]string) []string {
			return []string{"  " + r[0], onLine(r[1], 0)}
		}); err != nil {
			return err
		}
	}
	return nil
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
