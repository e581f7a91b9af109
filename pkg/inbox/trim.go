package inbox

import (
	"context"
	"time"
)

// trimEvery is how often owners remove what is done from the streams.
const trimEvery = 5 * time.Second

// trim removes messages that are committed from the mailbox, and outputs that
// are relayed from the state, until ctx ends. It also looks whether the mailbox
// still sources what this program subscribes to.
func (e *engine) trim(ctx context.Context) {
	var sent uint64
	mail, outs := map[int]uint64{}, map[int]uint64{}
	for pause(ctx, trimEvery) {
		if err := e.source(ctx); err != nil {
			e.log.Warn("sources of the mailbox cannot be checked", "error", err)
		}
		e.trimSent(ctx, &sent)
		for _, r := range e.snapshot() {
			if done := r.committed.Load(); done > mail[r.part] {
				if err := e.server.purge(ctx, e.mailStream, e.in.subjects.PartitionMail(r.part), done+1); err != nil {
					e.log.Debug("mailbox is not trimmed", "partition", r.part, "error", err)
					continue
				}
				mail[r.part] = done
			}
			if done := e.relay.relayed(r); done > outs[r.part] {
				if err := e.server.purge(ctx, e.stateStream, e.in.subjects.Outs(r.part), done+1); err != nil {
					e.log.Debug("outputs are not trimmed", "partition", r.part, "error", err)
					continue
				}
				outs[r.part] = done
			}
		}
	}
}

// trimSent removes messages between entities, and fired timers, that the mailbox
// has sourced: it does so in order, so whatever one partition has handled proves
// it for all before.
func (e *engine) trimSent(ctx context.Context, sent *uint64) {
	var done uint64
	for _, r := range e.snapshot() {
		done = max(done, r.sourcedState.Load())
	}
	if done <= *sent {
		return
	}
	for _, filter := range []string{e.in.subjects.AllSent(), e.in.subjects.AllDue()} {
		if err := e.server.purge(ctx, e.stateStream, filter, done+1); err != nil {
			e.log.Debug("sent messages are not trimmed", "error", err)
			return
		}
	}
	*sent = done
}
