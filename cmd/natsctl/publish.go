package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

const publishHelp = `Publish events to the stream EVENTS, acknowledged.

One event: --data gives its data, "-" for all of standard input. Many: --file,
or standard input if there is neither, with one event on each line: either a
CloudEvent in JSON, known by its specversion, whose attributes stand, or bare
data for TYPE, with --key and --source. Empty lines are passed over. Data are
JSON unless --content-type says otherwise.

A line that is no valid event is reported with its number and left out; the
others are published, and the exit code is 1. An error that is not the line's
(no server, no permission, a full stream) stops the rest. Events of one key are
stored in the order of their lines. What "tail -o jsonl" and "nats" print can be
published again.

With -o json it prints one summary, with -o jsonl one line for each event.`

const publishExample = `  natsctl publish shop.order.placed.v1 --key o-1 --data '{"order_id":"o-1","cents":500}'
  natsctl publish shop.order.placed.v1 --file orders.ndjson
  natsctl tail --since 1h --no-follow -o jsonl | natsctl publish --server nats://other:4222`

// defaultSource says where events come from that a person typed.
const defaultSource = "/natsctl"

type publishOptions struct {
	data, file  string
	key, source string
	id          string
	contentType string

	hasData bool
}

func (a *app) publishCommand() *cobra.Command {
	var o publishOptions
	cmd := &cobra.Command{
		Use:     "publish [TYPE]",
		Short:   "Publish events, from the command line, a file or standard input",
		Long:    publishHelp,
		Example: publishExample,
		GroupID: groupEvents,
		Args:    between(0, 1, "at most one TYPE: data are given with --data"),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		o.hasData = cmd.Flags().Changed("data")
		typ := ""
		if len(args) == 1 {
			typ = args[0]
		}
		return a.publish(ctx, typ, o)
	})
	cmd.ValidArgsFunction = a.completeType
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.data, "data", "", "`data` of the one event, - for standard input")
	flags.StringVar(&o.file, "file", "", "`file` with one event on each line, - for standard input")
	flags.StringVar(&o.key, "key", "", "ordering and partition `key` of bare data")
	flags.StringVar(&o.source, "source", defaultSource, "`URI` reference of the source of bare data")
	flags.StringVar(&o.id, "id", "", "`id` of the one event; publishing it again stores nothing (default a new one)")
	flags.StringVar(&o.contentType, "content-type", publish.DefaultContentType, "media `type` of bare data")
	cmd.MarkFlagsMutuallyExclusive("data", "file")
	return cmd
}

func (a *app) publish(ctx context.Context, typ string, o publishOptions) error {
	if err := o.check(typ); err != nil {
		return err
	}
	single, err := a.singleEvent(typ, o)
	if err != nil {
		return err
	}
	var lines io.ReadCloser
	if single == nil {
		if lines, err = a.openLines(o.file); err != nil {
			return err
		}
		defer func() { _ = lines.Close() }() // it was only read
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	pub, err := publish.New(s.js, publish.Config{Source: o.source, Namespace: string(s.ns), AckTimeout: a.connection.timeout})
	if err != nil {
		return usagef("%w", err)
	}
	if single != nil {
		return a.publishOne(ctx, pub, single)
	}
	r := &lineReader{template: o.template(typ), typeGiven: typ != ""}
	return a.publishLines(ctx, pub, r, lines)
}

func (o *publishOptions) check(typ string) error {
	switch {
	case o.hasData && typ == "":
		return usagef("--data needs a TYPE: natsctl publish TYPE --data ...")
	case o.id != "" && !o.hasData:
		return usagef("--id is for one event: give its --data too; lines bring their own ids")
	}
	return nil
}

// template is the event that bare data become.
func (o *publishOptions) template(typ string) envelope.Raw {
	return envelope.Raw{Attributes: envelope.Attributes{
		Type: typ, Source: o.source, Key: o.key, ID: o.id, DataContentType: o.contentType,
	}}
}

func (a *app) singleEvent(typ string, o publishOptions) (*envelope.Raw, error) {
	if !o.hasData {
		return nil, nil //nolint:nilnil // no single event is an answer
	}
	data := []byte(o.data)
	if o.data == "-" {
		var err error
		if data, err = io.ReadAll(io.LimitReader(a.stdin, maxLine)); err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
	}
	e := o.template(typ)
	e.Data = data
	if err := checkData(&e); err != nil {
		return nil, usagef("--data: %w", err)
	}
	return &e, nil
}

// openLines opens the file, or standard input, that holds many events.
func (a *app) openLines(file string) (io.ReadCloser, error) {
	if file != "" && file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user's own file
		if errors.Is(err, os.ErrNotExist) {
			return nil, notFoundf("--file: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		return f, nil
	}
	if isTerminal(a.stdin) {
		fmt.Fprintln(a.stderr, "Reading events from standard input, one on each line; Ctrl-D ends.")
	}
	return io.NopCloser(a.stdin), nil
}

// published is the result of one event, as -o jsonl prints it.
type published struct {
	Line      int    `json:"line,omitempty"`
	Type      string `json:"type,omitempty"`
	ID        string `json:"id,omitempty"`
	Stream    string `json:"stream,omitempty"`
	Sequence  uint64 `json:"sequence,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"`
	Error     string `json:"error,omitempty"`
}

func stored(line int, typ string, ack publish.Ack) published {
	return published{Line: line, Type: typ, ID: ack.ID, Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}
}

func (p published) String() string {
	note := ""
	if p.Duplicate {
		note = ", which held it already"
	}
	return fmt.Sprintf("published %s, id %s: %s sequence %d%s", p.Type, p.ID, p.Stream, p.Sequence, note)
}

func (a *app) publishOne(ctx context.Context, pub *publish.Publisher, e *envelope.Raw) error {
	ctx, cancel := context.WithTimeout(ctx, a.connection.timeout)
	defer cancel()
	ack, err := pub.PublishRaw(ctx, *e)
	if closeErr := pub.Close(ctx); err == nil {
		err = closeErr
	}
	if err != nil {
		return explainPublish(err)
	}
	p, result := a.printer(), stored(0, e.Type, ack)
	if p.isTable() {
		fmt.Fprintln(a.stdout, result)
		return nil
	}
	return p.document(result)
}

// lineFault tells whether a publish failed because of the event itself, so
// that others may succeed.
func lineFault(err error) bool {
	var attribute *envelope.AttributeError
	if errors.As(err, &attribute) || is(err, publish.ErrTooLarge, envelope.ErrTooLarge) {
		return true
	}
	return errors.Is(err, publish.ErrNotSent) && isSubjectError(err)
}

// explainPublish gives the exit code and the way out where there is one.
func explainPublish(err error) error {
	switch {
	case lineFault(err):
		return coded(exitUsage, "%w", err)
	case strings.Contains(err.Error(), "JetStream not enabled"):
		return fmt.Errorf("this server has no JetStream: start it with -js, or use `natsctl dev`: %w", err)
	}
	return err
}
