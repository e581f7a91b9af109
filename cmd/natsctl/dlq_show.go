package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
)

const dlqShowHelp = `Show a dead letter in full: why, where and when it died, the event with its
attributes and data, and what to try next. Data that are no text are shown in
hexadecimal; -o json gives them whole.

What a letter had no room for is taken from EVENTS while it stands there. What was
redacted stays hidden: it is replayed from EVENTS, and shown by nobody here.`

func (a *app) dlqShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show SEQ",
		Short:             "Show a dead letter in full",
		Long:              dlqShowHelp,
		Example:           "  natsctl dlq show 17\n  natsctl dlq show 17 -o json",
		Args:              between(1, 1, "the SEQ of one letter"),
		ValidArgsFunction: a.completeLetter,
		RunE: a.run(func(ctx context.Context, args []string) error {
			f, err := (&dlqFilter{}).read(nil, args, time.Now())
			if err != nil {
				return err
			}
			d, err := a.openDLQ(ctx)
			if err != nil {
				return err
			}
			defer d.Close()
			v, err := d.view(ctx, f.Sequences[0])
			if err != nil {
				return d.explain(ctx, err)
			}
			if p := a.printer(); !p.isTable() {
				return p.document(v)
			}
			return a.printLetter(v)
		}),
	}
}

// letterView is a letter as -o json prints it.
type letterView struct {
	*deadletter.Letter
	Headers nats.Header     `json:"headers"`
	Event   json.RawMessage `json:"event,omitempty"`       // in the JSON format of CloudEvents
	Fault   string          `json:"malformed,omitempty"`   // why there is no event
	Data    string          `json:"data,omitempty"`        // of what is no event, if it is text
	Bytes   []byte          `json:"data_base64,omitempty"` // if it is not
	// Original is "stands" or "gone", of a letter without the whole event.
	Original string   `json:"original,omitempty"`
	Next     []string `json:"next"`

	event envelope.Raw
}

func (d *dlq) view(ctx context.Context, seq uint64) (*letterView, error) {
	l, err := d.letters.Get(ctx, seq)
	if err != nil {
		return nil, err
	}
	v := &letterView{Letter: l, Headers: l.Header}
	data := l.Data
	e, eventErr := l.Event()
	if !l.Whole() {
		m, err := d.letters.Original(ctx, l)
		switch {
		case err == nil:
			v.Original = "stands"
		case errors.Is(err, deadletter.ErrOriginGone):
			v.Original = "gone"
		default:
			return nil, err
		}
		if err == nil && l.Redacted == "" {
			e, eventErr = envelope.Unmarshal(m)
			data = m.Data
		}
	}
	v.event = e
	if eventErr == nil {
		m, err := envelope.MarshalStructured(&e)
		if err != nil {
			return nil, err
		}
		v.Event = m.Data
	} else {
		v.Fault = fault(eventErr).Error()
		v.event.Data = data
		if utf8.Valid(data) {
			v.Data = string(data)
		} else {
			v.Bytes = data
		}
	}
	v.Next = v.next()
	return v, nil
}

// next is what to try.
func (v *letterView) next() []string {
	seq := v.Sequence
	discard := fmt.Sprintf("natsctl dlq discard %d", seq)
	if v.Reason == deadletter.ReasonInvalid || v.Original == "gone" {
		return []string{discard}
	}
	like := fmt.Sprintf("natsctl dlq replay --group %s --type %s --reason %s --dry-run", v.Group, v.Type, v.Reason)
	return []string{fmt.Sprintf("natsctl dlq replay %d", seq), like, discard}
}

func (a *app) printLetter(v *letterView) error {
	style := a.styleFor(a.stdout)
	w := a.stdout
	fmt.Fprintln(w, style.bold(fmt.Sprintf("Dead letter %d: %s, %s", v.Sequence, onLine(v.Type, 0), onLine(v.Reason, maxCell))))
	rows := [][2]string{
		{"subscription", v.Group + "/" + v.Subscription},
		{"error", v.Error},
		{"died", fmt.Sprintf("%s, %s ago, on instance %s", v.Stored.UTC().Format(time.RFC3339), ago(v.Stored), v.Instance)},
		{"runs", fmt.Sprintf("%d, after %s", v.Attempts, count(v.Round, "replay"))},
		{"failed", span(v.First, v.Last)},
	}
	for _, h := range v.History {
		rows = append(rows, [2]string{"earlier", fmt.Sprintf("%s, %s: %d runs: %s", h.At.UTC().Format(time.RFC3339), h.Reason, h.Attempts, h.Error)})
	}
	rows = append(rows, [2]string{"stands at", fmt.Sprintf("%s sequence %d, %s%s", v.Origin.Stream, v.Origin.Sequence, v.Origin.Subject, v.standing())})
	if v.Omitted != "" {
		rows = append(rows, [2]string{"omitted", v.Omitted + ": too large to be copied" + v.fromEvents("shown and replayed")})
	}
	if v.Redacted != "" {
		rows = append(rows, [2]string{"redacted", v.Redacted + ": by the group's own rule" + v.fromEvents("replayed")})
	}
	if err := printRows(a.printer(), rows); err != nil {
		return err
	}
	fmt.Fprintln(w, style.bold("Event"))
	if err := printRows(a.printer(), v.attributes()); err != nil {
		return err
	}
	fmt.Fprintln(w, style.bold("Data")+style.dim(fmt.Sprintf("  %d bytes", len(v.event.Data))))
	fmt.Fprint(w, readable(v.event.Data))
	if v.Stack != "" {
		fmt.Fprintln(w, style.bold("Stack"))
		fmt.Fprint(w, lines(v.Stack))
	}
	fmt.Fprintln(w, style.bold("Next"))
	for _, cmd := range v.Next {
		fmt.Fprintln(w, "  "+onLine(cmd, 0))
	}
	return nil
}

func (v *letterView) standing() string {
	if v.Original == "gone" {
		return ", where it is gone"
	}
	return ""
}

func (v *letterView) fromEvents(how string) string {
	if v.Original == "gone" {
		return "; the event is gone, so the letter cannot be replayed"
	}
	return "; it is " + how + " from EVENTS, while it stands there"
}

// attributes are those of the event, or the headers of what is none.
func (v *letterView) attributes() [][2]string {
	if v.Fault == "" {
		e := &v.event
		rows := [][2]string{{"type", e.Type}, {"source", e.Source}, {"id", e.ID}, {"key", e.Key}, {"subject", e.Subject}, {"datacontenttype", e.DataContentType}}
		if !e.Time.IsZero() {
			rows = append(rows, [2]string{"time", e.Time.UTC().Format(time.RFC3339Nano)})
		}
		for _, x := range e.Extensions {
			rows = append(rows, [2]string{x.Name, x.Value})
		}
		return slices.DeleteFunc(rows, func(r [2]string) bool { return r[1] == "" })
	}
	rows := [][2]string{{"malformed", v.Fault}}
	for _, name := range slices.Sorted(keysOf(v.Headers)) {
		if !strings.HasPrefix(name, "Agner-Dead-") && !strings.HasPrefix(name, "Nats-") {
			rows = append(rows, [2]string{name, strings.Join(v.Headers[name], " | ")})
		}
	}
	return rows
}

func keysOf(h nats.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range h {
			if !yield(name) {
				return
			}
		}
	}
}

func printRows(p *printer, rows [][2]string) error {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(p.w, "  %-*s  %s\n", width, onLine(r[0], maxCell), onLine(r[1], 0)); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	return nil
}

func span(first, last time.Time) string {
	if first.IsZero() || last.IsZero() {
		return "-"
	}
	if first.Equal(last) {
		return "at " + last.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("from %s to %s (%s)", first.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339), rounded(last.Sub(first)))
}

// maxShown bounds what of a body goes to a screen.
const maxShown = 16 << 10

// readable makes data fit for a terminal: JSON indented, text as it is, and all
// else in hexadecimal.
func readable(data []byte) string {
	if len(data) == 0 {
		return "  (none)\n"
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, data, "", "  ") == nil {
		data = pretty.Bytes()
	}
	text := utf8.Valid(data) && !bytes.ContainsRune(data, 0)
	rest := ""
	if len(data) > maxShown {
		cut := maxShown
		for text && !utf8.RuneStart(data[cut]) {
			cut--
		}
		rest = fmt.Sprintf("  … %d bytes more: -o json shows all\n", len(data)-cut)
		data = data[:cut]
	}
	if text {
		return lines(string(data)) + rest
	}
	return lines(hex.Dump(data)) + rest
}

// lines indents text, each of its lines fit for a terminal.
func lines(s string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		b.WriteString("  " + strings.ReplaceAll(indent, "\t", "    ") + onLine(line[len(indent):], 0) + "\n")
	}
	return b.String()
}
