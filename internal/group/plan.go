package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// ErrTarget reports a position that no reset can go to.
var ErrTarget = errors.New("position is not valid")

// Target is where a reset puts subscriptions: the next event they are given. The
// zero value is ToStart.
type Target struct {
	kind targetKind
	seq  uint64
	time time.Time
}

type targetKind int

const (
	toStart targetKind = iota
	toEnd
	toSequence
	toTime
)

// ToStart is the oldest event that is retained.
func ToStart() Target { return Target{kind: toStart} }

// ToEnd is the next event to be stored: all that stand there are skipped.
func ToEnd() Target { return Target{kind: toEnd} }

// ToSequence is the event of that stream sequence, or the next one there is.
func ToSequence(seq uint64) Target { return Target{kind: toSequence, seq: seq} }

// ToTime is the first event stored at t or later.
func ToTime(t time.Time) Target { return Target{kind: toTime, time: t} }

// Retries says what becomes of a subscription's entries in the retry lane. In
// either case those of events that will run again are dropped: these come again
// from the stream, as they would have come from the lane.
type Retries int

const (
	// KeepRetries keeps the entries of events before the new position: events
	// that failed, whose turn comes as if nothing had happened.
	KeepRetries Retries = iota
	// DropRetries drops those too: they are given up without a dead letter.
	DropRetries
)

// Plan is what a reset would do. It says how things stood when it was made;
// they move on while instances run.
type Plan struct {
	Group  string `json:"group"`
	Stream string `json:"stream"`
	Steps  []Step `json:"subscriptions"`

	created int64
	retries Retries
}

// Step is what a reset would do to one subscription.
type Step struct {
	Subscription string `json:"subscription"`
	Durable      string `json:"durable"`

	Floor    uint64 `json:"floor"`     // up to this sequence all is settled now
	Next     uint64 `json:"next"`      // the sequence that is delivered next now
	Position uint64 `json:"position"`  // the sequence that will be delivered next
	Again    uint64 `json:"again"`     // events delivered before that will run again
	Skipped  uint64 `json:"skipped"`   // events that will not run
	InFlight int    `json:"in_flight"` // events that instances hold now, and still run

	RetriesDropped int `json:"retries_dropped"`
	RetriesKept    int `json:"retries_kept"`

	// Remade says that the durable is deleted and made again, because the
	// server sets none before the place where it was made to begin.
	Remade bool `json:"remade"`
}

// MakePlan says what a reset of one subscription, or of all of a group if name
// is "", would do. It changes nothing. The errors are those of List, and
// ErrTarget for a sequence that the stream has not come to.
func (r *Reader) MakePlan(ctx context.Context, group, name string, to Target, retries Retries) (*Plan, error) {
	subs, err := r.Find(ctx, group, name)
	if err != nil {
		return nil, fmt.Errorf("plan reset: %w", err)
	}
	p := &Plan{Group: group, Stream: r.ns.Stream(stream.EventsName), retries: retries}
	events, err := r.js.Stream(ctx, p.Stream)
	if err != nil {
		return nil, fmt.Errorf("plan reset: stream %s: %w", p.Stream, err)
	}
	p.created = events.CachedInfo().Created.UnixNano()
	at, err := r.resolve(ctx, to, p.Stream, events.CachedInfo().State)
	if err != nil {
		return nil, fmt.Errorf("plan reset of group %s: %w", group, err)
	}
	for i := range subs {
		step, err := r.step(ctx, p, &subs[i], at)
		if err != nil {
			return nil, fmt.Errorf("plan reset of %s: %w", subs[i].Durable, err)
		}
		p.Steps = append(p.Steps, step)
	}
	return p, nil
}

// resolve turns a target into a sequence.
func (r *Reader) resolve(ctx context.Context, to Target, name string, s jetstream.StreamState) (uint64, error) {
	switch to.kind {
	case toEnd:
		return s.LastSeq + 1, nil
	case toTime:
		return r.sequenceAt(ctx, name, to.time)
	case toSequence:
		if to.seq == 0 || to.seq > s.LastSeq+1 {
			return 0, fmt.Errorf("%w: sequence %d; %s holds %d to %d, and %d is the next one", ErrTarget, to.seq, name, s.FirstSeq, s.LastSeq, s.LastSeq+1)
		}
		return to.seq, nil
	case toStart:
	}
	return max(s.FirstSeq, 1), nil
}

func (r *Reader) step(ctx context.Context, p *Plan, s *Subscription, at uint64) (Step, error) {
	step := Step{
		Subscription: s.Name, Durable: s.Durable, Floor: s.Floor, Next: s.info.Delivered.Stream + 1,
		Position: at, InFlight: s.InFlight,
	}
	after, _, err := r.matching(ctx, p.Stream, s.Filter, at)
	if err != nil {
		return step, err
	}
	if after > s.Pending {
		step.Again = after - s.Pending
	} else {
		step.Skipped = s.Pending - after
	}
	if step.Remade, err = r.refuses(ctx, p.Stream, s.info.Config, at); err != nil {
		return step, err
	}
	entries, err := r.entries(ctx, s.Group, s.Name)
	if err != nil {
		return step, err
	}
	drop := doomed(entries, p.created, at, p.retries)
	step.RetriesDropped, step.RetriesKept = len(drop), len(entries)-len(drop)
	return step, nil
}

// refuses tells whether the server will not set a durable to a sequence
// (nats-server 2.15, consumer.resetStartingSeq): it knows no event before the
// durable's own start.
func (r *Reader) refuses(ctx context.Context, name string, c jetstream.ConsumerConfig, at uint64) (bool, error) {
	switch c.DeliverPolicy {
	case jetstream.DeliverAllPolicy:
		return false, nil
	case jetstream.DeliverByStartSequencePolicy:
		return at < c.OptStartSeq, nil
	case jetstream.DeliverByStartTimePolicy:
		start, err := r.sequenceAt(ctx, name, *c.OptStartTime)
		return at < start, err
	default:
		return true, nil
	}
}
