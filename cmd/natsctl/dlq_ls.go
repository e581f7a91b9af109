package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/deadletter"
)

const dlqListHelp = `List dead letters, those that died first first, a page at a time: --after with
the last sequence of one page begins the next. With --summary it counts them by
group, type and reason instead.
` + dlqFilterHelp

func (a *app) dlqListCommand() *cobra.Command {
	var f dlqFilter
	var summary bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters, or count them",
		Long:  dlqListHelp,
		Example: "  natsctl dlq ls\n  natsctl dlq ls --summary --since 24h\n" +
			"  natsctl dlq ls --group billing --type 'shop.>' --reason exhausted --error timeout\n" +
			"  natsctl dlq ls --limit 0 -o jsonl",
		Args: cobra.NoArgs,
	}
	a.addDLQFilter(cmd, &f)
	cmd.Flags().IntVarP(&f.Limit, "limit", "n", 50, "at most `N` letters, 0 for all")
	cmd.Flags().Uint64Var(&f.After, "after", 0, "begin after this `sequence`")
	cmd.Flags().BoolVar(&summary, "summary", false, "count by group, type and reason")
	cmd.MarkFlagsMutuallyExclusive("summary", "limit")
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		filter, err := f.read(cmd.Flags(), nil, time.Now())
		if err != nil {
			return err
		}
		d, err := a.openDLQ(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		// A long list is short-lived garbage over little that stays: collecting it
		// less often is a fifth of the time, for some 20 MiB.
		defer debug.SetGCPercent(debug.SetGCPercent(400))
		if summary {
			filter.Limit = 0
			err = a.dlqSummary(ctx, d, filter)
		} else {
			err = a.dlqList(ctx, d, filter)
		}
		if isMissing(err) {
			return a.noLetters(d)
		}
		return d.explain(ctx, err)
	})
	return cmd
}

func isMissing(err error) bool { return errors.Is(err, jetstream.ErrStreamNotFound) }

// noLetters is the list while nobody has made the stream.
func (a *app) noLetters(d *dlq) error {
	p := a.printer()
	if p.isTable() {
		fmt.Fprintf(a.stderr, "natsctl: no dead letters at %s\n", d.where)
		return nil
	}
	return list(p, []struct{}{}, "", nil)
}

// badLetter is a message of DEAD that is no dead letter, as -o json prints it.
type badLetter struct {
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
	Subject  string    `json:"subject"`
	Error    string    `json:"malformed"`
}

func (a *app) dlqList(ctx context.Context, d *dlq, f deadletter.Filter) error {
	out := a.newLetterList()
	limit := f.Limit
	if limit > 0 {
		f.Limit++ // one more, to know whether there is one
	}
	n, more := 0, false
	var last uint64
	for l, err := range d.letters.List(ctx, f) {
		if err != nil && l == nil {
			return err
		}
		if n++; limit > 0 && n > limit {
			more = true
			break
		}
		last = l.Sequence
		if err := out.add(l, err); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	switch {
	case n == 0 && a.printer().isTable():
		fmt.Fprintf(a.stderr, "natsctl: no dead letters match at %s\n", d.where)
	case more:
		fmt.Fprintf(a.stderr, "natsctl: the first %d; there are more: --after %d\n", limit, last)
	}
	return nil
}

// letterList prints letters as they come: in pieces, so that it holds no more of
// a long list than a screen.
type letterList struct {
	p    *printer
	tw   *tabwriter.Writer
	rows int
}

const letterPiece = 500

func (a *app) newLetterList() *letterList { return &letterList{p: a.printer()} }

func (w *letterList) add(l *deadletter.Letter, bad error) error {
	w.rows++
	if w.p.isTable() {
		return w.row(l, bad)
	}
	var item any = l
	if bad != nil {
		item = badLetter{l.Sequence, l.Stored, l.Subject, bad.Error()}
	}
	if w.p.format == formatJSONL {
		return w.p.document(item)
	}
	// One array, whose items are written as they come.
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(item); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	lead := ","
	if w.rows == 1 {
		lead = "["
	}
	return w.write(lead + string(bytes.TrimSpace(text.Bytes())))
}

func (w *letterList) write(s string) error {
	if _, err := io.WriteString(w.p.w, s); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func (w *letterList) row(l *deadletter.Letter, bad error) error {
	if w.tw == nil {
		w.tw = tabwriter.NewWriter(w.p.w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w.tw, "SEQ\tDIED\tGROUP\tTYPE\tKEY\tID\tREASON\tRUNS\tREPLAYS\tERROR")
	}
	if bad != nil {
		fmt.Fprintf(w.tw, "%d\t%s\t-\t-\t-\t-\tMALFORMED\t-\t-\t%s\n", l.Sequence, ago(l.Stored), onLine(bad.Error(), maxData))
	} else {
		fmt.Fprintf(w.tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", l.Sequence, ago(l.Stored), l.Group,
			onLine(l.Type, maxCell), cell(l.Key), cell(l.EventID), onLine(l.Reason, maxCell), l.Attempts, l.Round, onLine(l.Error, maxData))
	}
	if w.rows%letterPiece != 0 {
		return nil
	}
	return w.flush()
}

func (w *letterList) flush() error {
	if err := w.tw.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func (w *letterList) end() error {
	switch {
	case w.tw != nil:
		return w.flush()
	case w.p.format != formatJSON:
		return nil
	case w.rows == 0:
		return w.write("[]\n")
	}
	return w.write("]\n")
}

func cell(s string) string {
	if s == "" {
		return "-"
	}
	return onLine(s, maxCell)
}

// ago is how long something is past, in one or two units.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

func (a *app) dlqSummary(ctx context.Context, d *dlq, f deadletter.Filter) error {
	counts, err := d.letters.Count(ctx, f)
	if err != nil {
		return err
	}
	p := a.printer()
	if len(counts) == 0 && p.isTable() {
		fmt.Fprintf(a.stderr, "natsctl: no dead letters match at %s\n", d.where)
		return nil
	}
	return list(p, counts, "GROUP\tTYPE\tREASON\tLETTERS\tOLDEST\tNEWEST\tFIRST SEQ", func(c deadletter.Count) []string {
		return []string{cell(c.Group), cell(c.Type), cell(c.Reason), strconv.Itoa(c.Letters), ago(c.Oldest), ago(c.Newest), number(c.First)}
	})
}
