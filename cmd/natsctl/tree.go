package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/pkg/supervise"
)

const treeHelp = `Show the supervision trees of instances: of each child its state and for how
long, starts and restarts, of a supervisor how much of its budget of restarts is
used, and the last error.

States are running, starting, backoff (it failed, and is started again soon),
parked (it waits for the broker), stopping, stopped, done, and abandoned: it did
not stop, and goes on.

With -o json it prints an array of instances with their trees, stacks included.`

func (a *app) treeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tree [SERVICE[/INSTANCE]]",
		Short:   "Show supervision trees",
		Long:    treeHelp,
		Example: "  natsctl tree\n  natsctl tree billing/billing-1 -o json",
		GroupID: groupServices,
		Args:    between(0, 1, "at most one SERVICE[/INSTANCE]"),
		RunE:    a.run(a.tree),
	}
	cmd.ValidArgsFunction = a.completeService
	return cmd
}

func (a *app) tree(ctx context.Context, args []string) error {
	t := target{control.All, control.All}
	if len(args) == 1 {
		var err error
		if t, err = parseTarget(args[0]); err != nil {
			return err
		}
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := observe[supervise.Status](ctx, a, s, t, control.VerbTree, nil)
	if err != nil {
		return err
	}
	p := a.printer()
	if !p.isTable() {
		return list(p, all, "", nil)
	}
	var rows [][]string
	for _, o := range all {
		rows = append(rows, treeRows(o.Service+"/"+o.Instance, &o.Data, 0)...)
		if o.Truncated {
			rows = append(rows, []string{fmt.Sprintf("  … cut, %d children are missing", o.Omitted), "", "", "", "", "", ""})
		}
	}
	return list(p, rows, "CHILD\tSTATE\tSINCE\tSTARTS\tRESTARTS\tBUDGET\tLAST ERROR", func(cells []string) []string { return cells })
}

func treeRows(name string, node *supervise.Status, depth int) [][]string {
	since, budget, last := "-", "-", "-"
	if !node.Since.IsZero() {
		since = time.Since(node.Since).Round(time.Second).String()
	}
	if b := node.Supervisor; b != nil {
		budget = fmt.Sprintf("%d of %d in %s", b.RestartsUsed, b.MaxRestarts, b.Period)
	}
	if node.LastError != nil {
		last = onLine(node.LastError.Error, maxCell)
	}
	rows := [][]string{{
		strings.Repeat("  ", depth) + onLine(name, maxCell), string(node.State), since,
		strconv.FormatUint(node.Starts, 10), strconv.FormatUint(node.Restarts, 10), budget, last,
	}}
	for i := range node.Children {
		rows = append(rows, treeRows(node.Children[i].Name, &node.Children[i], depth+1)...)
	}
	return rows
}
