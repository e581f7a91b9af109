package inbox

import (
	"cmp"
	"slices"
	"time"
)

// Status is what an instance of an inbox is doing, as a value. Counts are of the
// latest Run.
type Status struct {
	Inbox      string            `json:"inbox"`
	Instance   string            `json:"instance"`
	Partitions []PartitionStatus `json:"partitions"` // that it owns

	Handled  int64         `json:"handled"`  // messages committed
	Failed   int64         `json:"failed"`   // runs of handlers that failed and were followed by another
	Dead     int64         `json:"dead"`     // messages that became dead letters
	Skipped  int64         `json:"skipped"`  // copies of sourced messages that were handled before
	Relayed  int64         `json:"relayed"`  // outputs brought to the stream of events
	Commits  int64         `json:"commits"`  // atomic batches
	Commit   time.Duration `json:"commit"`   // spent in them
	Resolved int64         `json:"resolved"` // shares of commits whose answer was lost, found stored
	Fenced   int64         `json:"fenced"`   // shares of commits refused because of another owner
	Hung     int64         `json:"hung"`     // partitions let go of because of a handler
	Claimed  int64         `json:"claimed"`
	Released int64         `json:"released"`
}

// PartitionStatus is one partition that the instance owns.
type PartitionStatus struct {
	Partition int           `json:"partition"`
	Epoch     uint64        `json:"epoch"`
	Position  uint64        `json:"position"` // committed
	Ahead     int           `json:"ahead"`    // messages handled and not yet committed
	Cached    int           `json:"cached"`   // entities in memory
	Running   time.Duration `json:"running"`  // how long the present handler has run
}

// Status says what this instance is doing. It is safe at any time.
func (in *Inbox) Status() Status {
	st := Status{Inbox: in.cfg.Name, Instance: in.cfg.Instance}
	e := in.engine.Load()
	if e == nil {
		return st
	}
	c := &e.counters
	st.Handled, st.Failed, st.Dead, st.Skipped = c.messages.Load(), c.failed.Load(), c.dead.Load(), c.skipped.Load()
	st.Relayed, st.Commits, st.Commit = c.relayed.Load(), c.commits.Load(), time.Duration(c.commitTime.Load())
	st.Resolved, st.Fenced, st.Hung = c.resolved.Load(), c.fenced.Load(), c.hung.Load()
	st.Claimed, st.Released = c.claimed.Load(), c.released.Load()
	for _, r := range e.snapshot() {
		st.Partitions = append(st.Partitions, r.status())
	}
	slices.SortFunc(st.Partitions, func(a, b PartitionStatus) int { return cmp.Compare(a.Partition, b.Partition) })
	return st
}

func (r *run) status() PartitionStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := PartitionStatus{Partition: r.part, Epoch: r.at.Epoch, Position: r.committed.Load(), Ahead: r.pending.messages, Cached: int(r.cached.Load())}
	if began := r.began.Load(); began != 0 {
		st.Running = time.Duration(r.e.clock() - began)
	}
	return st
}
