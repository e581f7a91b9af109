package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

const tailHelp = `Watch the events of the stream EVENTS as they are stored.

Without --since it begins with the next event. --since goes back first: to a
time ago (90s, 2h), to a time (RFC 3339), or to a stream sequence (1 is the
oldest). It then follows until Ctrl-C; --count ends it after so many events,
--no-follow once all that is stored has been shown.

Watching changes nothing: nothing is acknowledged, no group misses anything.
A message that is no CloudEvent is shown as what it is.

With -o json or jsonl it prints whole CloudEvents in their JSON format, one
after the other, which "natsctl publish --file" reads.`

const tailExample = `  natsctl tail
  natsctl tail --since 1h --type 'shop.order.>'
  natsctl tail --since 1 --key o-1
  natsctl tail --count 1 -o json`

type tailOptions struct {
	since, typ, key string
	count           int
	noFollow        bool
}

func (a *app) tailCommand() *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:     "tail",
		Short:   "Watch events as they are stored",
		Long:    tailHelp,
		Example: tailExample,
		GroupID: groupEvents,
		Args:    cobra.NoArgs,
		RunE:    a.run(func(ctx context.Context, _ []string) error { return a.tail(ctx, o) }),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.since, "since", "", "begin at this `duration|time|sequence` instead of now")
	flags.StringVar(&o.typ, "type", "", "only this type, or `pattern` ('*' is one part, '>' all below)")
	flags.StringVar(&o.key, "key", "", "only events with this `key`")
	flags.IntVarP(&o.count, "count", "n", 0, "end after `N` events")
	flags.BoolVar(&o.noFollow, "no-follow", false, "end when all that is stored has been shown")
	_ = cmd.RegisterFlagCompletionFunc("type", a.completeType) // fails for unknown flags only
	return cmd
}

func (a *app) tail(ctx context.Context, o tailOptions) error {
	if o.count < 0 {
		return usagef("--count %d is less than 0", o.count)
	}
	cfg, err := startAt(o.since, time.Now())
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, a.surviveAndSay()...)
	if err != nil {
		return err
	}
	defer s.Close()
	filter, err := tailFilter(s.ns, o)
	if err != nil {
		return err
	}
	t := &tailer{
		app: a, options: o, filter: filter, view: a.newEventView(s.ns),
		js: s.js, stream: s.ns.Stream(stream.EventsName),
	}
	return quietStop(ctx, t.run(ctx, cfg))
}

// quietStop makes the end by Ctrl-C a good one.
func quietStop(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// surviveAndSay keeps a long watch alive over a lost connection, and says so.
func (a *app) surviveAndSay() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				fmt.Fprintln(a.stderr, "natsctl: connection lost, trying to get it back")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { fmt.Fprintln(a.stderr, "natsctl: connection is back") }),
	}
}

// startAt turns --since into where to begin.
func startAt(since string, now time.Time) (jetstream.OrderedConsumerConfig, error) {
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	if since == "" {
		return cfg, nil
	}
	if seq, err := strconv.ParseUint(since, 10, 64); err == nil {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(seq, 1)
		return cfg, nil
	}
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		ago, err := time.ParseDuration(since)
		if err != nil || ago < 0 {
			return cfg, usagef("--since %q is no duration (90s, 2h), no RFC 3339 time (%s), and no sequence (42)",
				since, now.UTC().Format(time.RFC3339))
		}
		at = now.Add(-ago)
	}
	if at.After(now) {
		return cfg, usagef("--since %s is still to come: leave it out to begin now", since)
	}
	cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &at
	return cfg, nil
}

// eventFilter is what --type and --key ask for: as subjects, which the server
// filters by, and the key itself where subjects cannot tell.
type eventFilter struct {
	subjects []string
	key      string // to be compared; empty where the subjects decide
}

func tailFilter(ns subject.Namespace, o tailOptions) (eventFilter, error) {
	pattern := o.typ
	if pattern == "" {
		pattern = ">"
	}
	all, err := ns.Filter(pattern)
	if err != nil {
		return eventFilter{}, usagef("--type: %w", err)
	}
	if o.key == "" {
		return eventFilter{subjects: []string{all}}, nil
	}
	subjects, exact := subject.Keyed(all, o.key)
	if exact {
		return eventFilter{subjects: subjects}, nil
	}
	return eventFilter{subjects: subjects, key: o.key}, nil
}

// passes looks at the key where the subject did not decide.
func (f *eventFilter) passes(m jetstream.Msg) bool {
	if f.key == "" {
		return true
	}
	e, err := readEvent(m)
	return err == nil && e.Key == f.key
}
