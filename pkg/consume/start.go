package consume

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Start says where a new durable begins. It has no say over one that exists:
// that continues where it stands. The zero value begins with the oldest event
// that is retained, so that nothing is missed by the order of deploys.
type Start struct {
	policy jetstream.DeliverPolicy
	seq    uint64
	time   time.Time
}

// FromOldest begins with the oldest event retained: the default.
func FromOldest() Start { return Start{policy: jetstream.DeliverAllPolicy} }

// FromNow begins with the first event stored after the durable is made.
func FromNow() Start { return Start{policy: jetstream.DeliverNewPolicy} }

// FromSequence begins with the event of that stream sequence, or the next one.
func FromSequence(seq uint64) Start {
	return Start{policy: jetstream.DeliverByStartSequencePolicy, seq: seq}
}

// FromTime begins with the first event stored at t or later.
func FromTime(t time.Time) Start {
	return Start{policy: jetstream.DeliverByStartTimePolicy, time: t}
}

func (s Start) apply(c *jetstream.ConsumerConfig) {
	c.DeliverPolicy = s.policy
	c.OptStartSeq = s.seq
	if s.policy == jetstream.DeliverByStartTimePolicy {
		t := s.time
		c.OptStartTime = &t
	}
}
