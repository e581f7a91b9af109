package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// trimEvery is how often owners remove what is done from the streams, at
	// most: the server looks through all blocks of a stream for what a filter
	// matches, and stores nothing meanwhile. Half a second was seen for a
	// stream of 400,000 messages. So trimming takes one part in trimShare of
	// the time.
	trimEvery = 5 * time.Second
	trimShare = 50
)

// trim removes messages that are committed from the mailbox, and outputs that
// are relayed from the state, until ctx ends. It also looks whether the mailbox
// still sources what this program subscribes to.
func (e *engine) trim(ctx context.Context) {
	t := &trimmer{e: e, outs: make(map[int]uint64)}
	for every := trimEvery; pause(ctx, every); {
		if err := e.source(ctx); err != nil {
			e.log.Warn("sources of the mailbox cannot be checked", "error", err)
		}
		began := time.Now()
		for _, f := range []func(context.Context) error{t.trimMail, t.trimOuts, t.trimSent} {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				e.log.Debug("stream is not trimmed", "error", err)
			}
		}
		every = max(trimEvery, trimShare*time.Since(began))
	}
}

// trimmer remembers what has been trimmed.
type trimmer struct {
	e    *engine
	mail uint64
	sent uint64
	outs map[int]uint64
}

// trimMail removes from the mailbox all that is below what any partition has
// still to do. One instance does it for all, the owner of partition 0: the purge
// of a whole stream up to a sequence is cheap, that of one partition is not.
func (t *trimmer) trimMail(ctx context.Context) error {
	e := t.e
	if _, mine := e.owned()[0]; !mine {
		return nil
	}
	var low []int // partitions that keep the bound where it is
	above := ^uint64(0)
	for p := range e.in.cfg.Partitions {
		m, err := e.server.last(ctx, e.stateStream, e.in.subjects.Cursor(p))
		if err != nil {
			return err
		}
		var c cursor
		if m != nil {
			if c, err = decodeCursor(m.data); err != nil {
				return err
			}
		}
		if c.Mailbox != e.mailCreated {
			c.Position = 0 // of a mailbox that was made anew since
		}
		if c.Position <= t.mail {
			low = append(low, p)
		} else {
			above = min(above, c.Position)
		}
	}
	bound := above
	for _, p := range low {
		empty, err := t.emptyTo(ctx, p)
		if err != nil || empty == 0 {
			return err
		}
		bound = min(bound, empty)
	}
	if bound <= t.mail || bound == ^uint64(0) {
		return nil
	}
	if err := e.server.purge(ctx, e.mailStream, "", bound+1); err != nil {
		return err
	}
	t.mail = bound
	return nil
}

// emptyTo returns a sequence up to which the mailbox holds nothing of a partition,
// or 0. Count and sequence are of one answer: even a server that lags speaks the
// truth about what it has, and what comes later stands behind.
func (t *trimmer) emptyTo(ctx context.Context, part int) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := t.e.in.js.Stream(ctx, t.e.mailStream)
	if err != nil {
		return 0, fmt.Errorf("stream %s: look up: %w", t.e.mailStream, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(t.e.in.subjects.PartitionMail(part)))
	if err != nil {
		return 0, fmt.Errorf("stream %s: look up partition %d: %w", t.e.mailStream, part, err)
	}
	if len(info.State.Subjects) > 0 {
		return 0, nil
	}
	return info.State.LastSeq, nil
}

// trimOuts removes outputs that are relayed.
func (t *trimmer) trimOuts(ctx context.Context) error {
	for _, r := range t.e.snapshot() {
		done := t.e.relay.relayed(r)
		if done <= t.outs[r.part] {
			continue
		}
		if err := t.e.server.purge(ctx, t.e.stateStream, t.e.in.subjects.Outs(r.part), done+1); err != nil {
			return err
		}
		t.outs[r.part] = done
	}
	return nil
}

// trimSent removes messages between entities, and fired timers, that the mailbox
// has sourced: it does so in order, so whatever one partition has handled proves
// it for all before.
func (t *trimmer) trimSent(ctx context.Context) error {
	var done uint64
	for _, r := range t.e.snapshot() {
		done = max(done, r.sourcedState.Load())
	}
	if done <= t.sent {
		return nil
	}
	for _, filter := range []string{t.e.in.subjects.AllSent(), t.e.in.subjects.AllDue()} {
		if err := t.e.server.purge(ctx, t.e.stateStream, filter, done+1); err != nil {
			return err
		}
	}
	t.sent = done
	return nil
}
