package inbox

import (
	"context"
	"time"
)

// trimEvery is how often owners remove what is done from the streams.
const trimEvery = 5 * time.Second

// trim removes messages that are committed from the mailbox, and outputs that
// are relayed from the state, until ctx ends.
func (e *engine) trim(ctx context.Context) {
	mail, outs := map[int]uint64{}, map[int]uint64{}
	for pause(ctx, trimEvery) {
		for _, r := range e.snapshot() {
			if done := r.committed.Load(); done > mail[r.part] {
				if err := purge(ctx, e.nc, e.api, e.mailStream, e.in.subjects.PartitionMail(r.part), done+1); err != nil {
					e.log.Debug("mailbox is not trimmed", "partition", r.part, "error", err)
					continue
				}
				mail[r.part] = done
			}
			if done := e.relay.relayed(r); done > outs[r.part] {
				if err := purge(ctx, e.nc, e.api, e.stateStream, e.in.subjects.Outs(r.part), done+1); err != nil {
					e.log.Debug("outputs are not trimmed", "partition", r.part, "error", err)
					continue
				}
				outs[r.part] = done
			}
		}
	}
}
