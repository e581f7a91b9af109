package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Formats of -o.
const (
	formatTable = "table" // for people
	formatJSON  = "json"  // one document: indented on a terminal, else on one line
	formatJSONL = "jsonl" // one line for each item
)

// format is the value of -o. It is a pflag.Value, so that a wrong one is
// refused like any other wrong flag.
type format string

func (f *format) String() string { return string(*f) }

// Type names the value in help texts.
func (f *format) Type() string { return "table|json|jsonl" }

// Set takes one of the three formats.
func (f *format) Set(s string) error {
	switch s {
	case formatTable, formatJSON, formatJSONL:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("%q is none of table, json, jsonl", s)
}

// printer is the one way to standard output: what a command has to say, as
// -o asks for it.
type printer struct {
	w      io.Writer
	format format
	tty    bool
}

func (a *app) printer() *printer {
	return &printer{w: a.stdout, format: a.format, tty: isTerminal(a.stdout)}
}

func (p *printer) isTable() bool { return p.format == formatTable }

// document prints one JSON document.
func (p *printer) document(v any) error {
	enc := json.NewEncoder(p.w)
	enc.SetEscapeHTML(false) // nobody puts this into a page, and > stays readable
	if p.tty && p.format != formatJSONL {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// list prints items: an array for json, a line for each for jsonl, else rows of
// tab-separated cells under a head.
func list[T any](p *printer, items []T, head string, row func(T) []string) error {
	switch p.format {
	case formatJSON:
		if items == nil {
			items = []T{} // an empty list is [], not null
		}
		return p.document(items)
	case formatJSONL:
		for _, item := range items {
			if err := p.document(item); err != nil {
				return err
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, head)
	for _, item := range items {
		fmt.Fprintln(tw, strings.Join(row(item), "\t"))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// onLine makes any text fit for one line of a terminal: control characters,
// which could move the cursor or recolour the screen, become visible, and what
// is beyond most characters (0: no bound) is cut.
func onLine(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if most > 0 && n == most {
			b.WriteRune('…')
			break
		}
		n++
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printable is onLine for text of several lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r != unicode.ReplacementChar && unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// isTerminal tells whether a stream is a terminal: a character device other
// than the null device.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// style emphasises text where that helps: on a terminal that did not ask for
// none (https://no-color.org).
type style bool

func (a *app) styleFor(w io.Writer) style {
	return style(isTerminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb")
}

func (s style) wrap(code, text string) string {
	if !s || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string { return s.wrap("1", text) }
func (s style) dim(text string) string  { return s.wrap("2", text) }
