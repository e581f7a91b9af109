package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// ErrSources reports a mailbox that does not source the subscribed types and may
// not be changed: Provision is false, or Agner did not make it.
var ErrSources = errors.New("the mailbox does not source the subscribed types")

// subscribed lists the filters of the handlers' types, sorted.
func (in *Inbox) subscribed() ([]string, error) {
	var filters []string
	for typ, h := range in.handlers {
		if !h.subscribed {
			continue
		}
		f, err := in.ns.Filter(typ)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	slices.Sort(filters)
	return filters, nil
}

// source makes the mailbox source the types that this program subscribes to,
// beside those that others do. All types come by one source, so that they keep
// their order among each other; a change restarts it behind the last event that
// is known to have been sourced, and what comes twice is skipped by its origin.
//
// Two programs may do this at once, and an update is no compare-and-set, so the
// result is looked at again, now and by the trimmer later.
func (e *engine) source(ctx context.Context) error {
	want, err := e.in.subscribed()
	if err != nil || len(want) == 0 {
		return err
	}
	for range 20 {
		missing, err := e.addSources(ctx, want)
		if err != nil || !missing {
			return err
		}
		if !pause(ctx, delay(20*time.Millisecond, time.Second, 1)) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("stream %s: %w: others keep changing its sources", e.mailStream, ErrSources)
}

// addSources adds what is missing, and reports whether anything was.
func (e *engine) addSources(ctx context.Context, want []string) (missing bool, err error) {
	s, err := e.in.js.Stream(ctx, e.mailStream)
	if err != nil {
		return false, fmt.Errorf("stream %s: look up: %w", e.mailStream, err)
	}
	cfg := s.CachedInfo().Config
	at := slices.IndexFunc(cfg.Sources, func(src *jetstream.StreamSource) bool { return src.Name == e.eventsStream })
	var have []string
	if at >= 0 {
		for _, t := range cfg.Sources[at].SubjectTransforms {
			have = append(have, t.Source)
		}
	}
	all := slices.Concat(have, want)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == len(have) {
		return false, nil
	}
	if !e.in.cfg.provision() || cfg.Metadata[stream.MetaGeneration] == "" {
		return false, fmt.Errorf("stream %s: %w: add a source of %s with %v, each to %s", e.mailStream, ErrSources, e.eventsStream, want, e.in.subjects.Partitioned(e.in.cfg.Partitions))
	}
	// Without a start the server would begin at the time of the mailbox's last
	// message, once that has been trimmed.
	src := &jetstream.StreamSource{Name: e.eventsStream, OptStartSeq: 1}
	for _, f := range all {
		src.SubjectTransforms = append(src.SubjectTransforms, jetstream.SubjectTransformConfig{
			Source: f, Destination: e.in.subjects.Partitioned(e.in.cfg.Partitions),
		})
	}
	if at >= 0 {
		done, err := e.sourced(ctx)
		if err != nil {
			return false, err
		}
		src.OptStartSeq = max(done+1, cfg.Sources[at].OptStartSeq)
		cfg.Sources[at] = src
	} else {
		cfg.Sources = append(cfg.Sources, src)
	}
	if _, err := e.in.js.UpdateStream(ctx, cfg); err != nil {
		return false, fmt.Errorf("stream %s: add sources: %w", e.mailStream, err)
	}
	e.log.Info("mailbox sources more types", "types", all, "from", src.OptStartSeq)
	return true, nil
}

// sourced is a sequence in the stream of events up to which the mailbox has all
// that it sources: the source brings them in order, so what any partition has
// handled is a proof for all of them.
func (e *engine) sourced(ctx context.Context) (uint64, error) {
	var done uint64
	for p := range e.in.cfg.Partitions {
		m, err := e.server.last(ctx, e.stateStream, e.in.subjects.Cursor(p))
		if err != nil {
			return 0, err
		}
		if m == nil {
			continue
		}
		c, err := decodeCursor(m.data)
		if err != nil {
			return 0, err
		}
		done = max(done, c.Origins[e.eventsOrigin])
	}
	return done, nil
}
