package consume

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// InFlight is one event whose handler runs in this process: a plain value.
type InFlight struct {
	Subscription string        `json:"subscription"`
	EventID      string        `json:"event_id"`
	Type         string        `json:"type"`
	Stream       string        `json:"stream"` // EVENTS, or the retry lane
	Sequence     uint64        `json:"sequence"`
	Attempt      int           `json:"attempt"`         // from 1
	Batch        int           `json:"batch,omitempty"` // events that run together with this one, itself included
	Age          time.Duration `json:"age_ns"`          // since its handler began
	Timeout      time.Duration `json:"timeout_ns"`      // the age at which its context ends
	Hung         bool          `json:"hung,omitempty"`  // it was given up: its event is retried, its handler has not returned
	Goroutine    string        `json:"goroutine"`       // the runtime's id, as in a dump of goroutines
}

// InFlight lists the handlers that run, and those that were given up and have
// not returned; the oldest first.
func (c *Consumer) InFlight() []InFlight {
	var all []InFlight
	for _, k := range c.counts {
		k.mu.Lock()
		l := k.loop
		k.mu.Unlock()
		if l != nil {
			all = append(all, l.inFlight()...)
		}
	}
	slices.SortStableFunc(all, func(a, b InFlight) int { return cmp.Compare(b.Age, a.Age) })
	return all
}

func (l *loop) inFlight() (all []InFlight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := l.unsettled.head; d != nil; d = d.next {
		if !d.settled && d.worker != "" {
			all = l.appendInFlight(all, d)
		}
	}
	for lead := range l.hung {
		for _, d := range lead.together() {
			all = l.appendInFlight(all, d)
		}
	}
	return all
}

// appendInFlight describes a delivery once its handler has begun, with loop.mu
// held. It reads the message, since the attempt is its worker's.
func (l *loop) appendInFlight(all []InFlight, d *delivery) []InFlight {
	lead := d.lead()
	age := lead.turn.ran(l.clock)
	if age == 0 {
		return all
	}
	subj, attempt := d.msg.Subject, 1
	if d.src == l.lane {
		subj = d.msg.Header.Get(headerRetrySubject)
		if n, err := strconv.Atoi(d.msg.Header.Get(headerRetryAttempt)); err == nil {
			attempt = n
		}
	}
	typ, _, _ := l.ns.ParseEvent(subj) // what is no event's subject has no type
	batch := 0
	if d.mates != nil {
		batch = len(d.mates)
	}
	return append(all, InFlight{
		Subscription: l.sub.name, EventID: d.eventID(), Type: typ,
		Stream: d.src.durable.stream, Sequence: d.seq, Attempt: attempt, Batch: batch,
		Age: age, Timeout: l.sub.handlerTimeout, Hung: d.settled, Goroutine: d.worker,
	})
}
