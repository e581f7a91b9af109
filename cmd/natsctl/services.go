package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

const servicesHelp = `List the services that are there: their instances, states, versions and
endpoints, with requests, errors and the average time of a request.

Every Agner service is registered and answers; one of nats.go/micro only answers.
An instance that is registered and does not answer hangs, is cut off, or was
killed within the last seconds. It is waited for less than a second,
or longer with a --timeout of more than 5s, for a connection that is slow.

With -o json it prints an array of instances, with -o jsonl one on each line.
No service is an empty list; a SERVICE that nobody answers for is exit code 3.`

func (a *app) servicesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "services [SERVICE]",
		Aliases: []string{"ps"},
		Short:   "List services, their instances and endpoints",
		Long:    servicesHelp,
		Example: "  natsctl services\n  natsctl services billing -o json",
		GroupID: groupServices,
		Args:    between(0, 1, "at most one SERVICE"),
		RunE:    a.run(a.services),
	}
	cmd.ValidArgsFunction = a.completeService
	return cmd
}

func (a *app) services(ctx context.Context, args []string) error {
	name := ""
	if len(args) == 1 {
		name = args[0]
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	limit, cancel := context.WithTimeout(ctx, a.connection.timeout)
	defer cancel()
	found, err := s.fleetNow(limit, name)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(found) == 0 && a.permission(nil) != nil {
		return a.permission(nil)
	}
	if len(found) == 0 && name != "" {
		return notFoundf("nobody answers for service %q: `natsctl services` lists who is there", name)
	}
	p := a.printer()
	if len(found) == 0 && p.isTable() {
		fmt.Fprintf(a.stderr, "natsctl: no service answers at %s\n", s.where)
		return nil
	}
	if !p.isTable() {
		return list(p, found, "", nil)
	}
	return list(p, found.rows(), "SERVICE\tINSTANCE\tSTATE\tVERSION\tHOST\tUP\tENDPOINT\tREQUESTS\tERRORS\tAVERAGE",
		func(cells []string) []string { return cells })
}

// rows gives each endpoint a line; an instance without any has one as well.
func (f fleet) rows() [][]string {
	var rows [][]string
	for _, i := range f {
		up := "-"
		if !i.Started.IsZero() {
			up = time.Since(i.Started).Round(time.Second).String()
		}
		head := []string{
			onLine(i.Service, maxCell), onLine(i.Instance, maxCell), i.stateText(), onLine(i.Version, maxCell),
			orDash(onLine(i.Host, maxCell)), up,
		}
		if len(i.Endpoints) == 0 {
			rows = append(rows, append(head, "-", "-", "-", "-"))
		}
		for _, e := range i.Endpoints {
			rows = append(rows, append(head[:len(head):len(head)], onLine(e.Name, maxCell),
				strconv.FormatInt(e.Requests, 10), strconv.FormatInt(e.Errors, 10), rounded(e.Average)))
		}
	}
	return rows
}

// stateText is the state for people.
func (i *instance) stateText() string {
	state := orDash(onLine(i.State, maxCell))
	if !i.Answers {
		state += ", no answer"
	}
	return state
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// rounded is a duration with three digits.
func rounded(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	}
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
