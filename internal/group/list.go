package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/position"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// ErrNotFound reports a group or subscription that has no durable.
var ErrNotFound = errors.New("no such subscription")

// Subscription is one subscription of a group, as the server has it.
type Subscription struct {
	Group   string `json:"group"`
	Name    string `json:"subscription"`
	Type    string `json:"type"`
	Durable string `json:"durable"`
	Filter  string `json:"filter"`

	Floor    uint64 `json:"floor"`     // up to this sequence all is settled
	Saved    uint64 `json:"saved"`     // floor in AGNER_POSITIONS
	Pending  uint64 `json:"pending"`   // events not delivered yet
	InFlight int    `json:"in_flight"` // events delivered and not settled

	RetriesWaiting  int    `json:"retries_waiting"`   // whose time has not come
	RetriesDue      uint64 `json:"retries_due"`       // and not delivered yet
	RetriesInFlight int    `json:"retries_in_flight"` // delivered and not settled

	// Dead counts the dead letters of this group and these types; another
	// subscription of the group to the same type has the same count.
	Dead uint64 `json:"dead"`

	Paused      bool      `json:"paused"`
	PausedUntil time.Time `json:"paused_until,omitzero"`

	// Resets counts the resets of the subscription. ResetUnfinished says that
	// the last one was interrupted: run it again.
	Resets          uint64 `json:"resets"`
	ResetUnfinished bool   `json:"reset_unfinished"`

	info *jetstream.ConsumerInfo
}

// Reader reads groups. It is safe for concurrent use.
type Reader struct {
	js jetstream.JetStream
	ns subject.Namespace
}

// NewReader returns a Reader of a namespace.
func NewReader(js jetstream.JetStream, ns subject.Namespace) *Reader { return &Reader{js: js, ns: ns} }

// List returns the subscriptions of a group, or of all groups if that is "",
// sorted by group and name. The error matches ErrNotFound if a group is named
// and has none, jetstream.ErrStreamNotFound if there is no stream EVENTS.
func (r *Reader) List(ctx context.Context, group string) ([]Subscription, error) {
	events, err := r.js.Stream(ctx, r.ns.Stream(stream.EventsName))
	if err != nil {
		return nil, fmt.Errorf("list groups: stream %s: %w", r.ns.Stream(stream.EventsName), err)
	}
	var subs []Subscription
	durables := events.ListConsumers(ctx)
	for i := range durables.Info() {
		meta := i.Config.Metadata
		if meta[stream.MetaSubscription] == "" || group != "" && meta[stream.MetaGroup] != group {
			continue
		}
		subs = append(subs, subscription(i))
	}
	if err := durables.Err(); err != nil {
		return nil, fmt.Errorf("list groups: consumers of %s: %w", r.ns.Stream(stream.EventsName), err)
	}
	if len(subs) == 0 && group != "" {
		return nil, fmt.Errorf("group %s: %w", group, ErrNotFound)
	}
	slices.SortFunc(subs, func(a, b Subscription) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	return subs, r.complete(ctx, subs)
}

// Find returns one subscription of a group, or all of them if name is "". The
// errors are those of List.
func (r *Reader) Find(ctx context.Context, group, name string) ([]Subscription, error) {
	subs, err := r.List(ctx, group)
	if err != nil || name == "" {
		return subs, err
	}
	for _, s := range subs {
		if s.Name == name {
			return []Subscription{s}, nil
		}
	}
	return nil, fmt.Errorf("group %s: %w: %s", group, ErrNotFound, name)
}

func subscription(i *jetstream.ConsumerInfo) Subscription {
	s := Subscription{
		Group: i.Config.Metadata[stream.MetaGroup], Name: i.Config.Metadata[stream.MetaSubscription],
		Type: i.Config.Metadata[stream.MetaType], Durable: i.Name, Filter: i.Config.FilterSubject,
		Floor: i.AckFloor.Stream, Pending: i.NumPending, InFlight: i.NumAckPending,
		Paused: i.Paused, info: i,
	}
	if i.Paused {
		s.PausedUntil = time.Now().Add(i.PauseRemaining).Round(time.Second)
	}
	return s
}

// complete adds what does not stand in the durable itself.
func (r *Reader) complete(ctx context.Context, subs []Subscription) error {
	positions, err := position.Open(ctx, &stream.Provisioner{JS: r.js, Bind: true}, r.ns)
	if err != nil && !errors.Is(err, stream.ErrMissing) {
		return err
	}
	waiting := map[string]map[string]int{} // by group and subscription
	for i := range subs {
		s := &subs[i]
		if positions != nil {
			p, _, err := positions.Load(ctx, s.Durable)
			if err != nil {
				return err
			}
			s.Saved, s.Resets = p.Floor, p.Generation
			s.ResetUnfinished = p.Generation != position.GenerationOf(s.info.Config)
		}
		if waiting[s.Group] == nil {
			if waiting[s.Group], err = r.waiting(ctx, s.Group); err != nil {
				return err
			}
		}
		s.RetriesWaiting = waiting[s.Group][s.Name]
		if err := r.lane(ctx, s); err != nil {
			return err
		}
		if s.Dead, err = r.dead(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// waiting counts the schedules of a group's lane for each subscription.
func (r *Reader) waiting(ctx context.Context, group string) (map[string]int, error) {
	counts := map[string]int{}
	name := stream.RetryName(r.ns, group)
	lane, err := r.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return counts, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	prefix := strings.TrimSuffix(r.ns.RetryWait(group, "", 0), ".0") // retry.<group>.wait.
	i, err := lane.Info(ctx, jetstream.WithSubjectFilter(prefix+"*.*"))
	if err != nil {
		return nil, fmt.Errorf("stream %s: count retries: %w", name, err)
	}
	for subj := range i.State.Subjects {
		sub, _, _ := strings.Cut(strings.TrimPrefix(subj, prefix), ".")
		counts[sub]++
	}
	return counts, nil
}

// lane adds the state of the durable on the retry lane, if it has one.
func (r *Reader) lane(ctx context.Context, s *Subscription) error {
	c, err := r.js.Consumer(ctx, stream.RetryName(r.ns, s.Group), s.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("retry lane of %s: %w", s.Durable, err)
	}
	i := c.CachedInfo()
	s.RetriesDue, s.RetriesInFlight = i.NumPending, i.NumAckPending
	s.Paused = s.Paused || i.Paused
	return nil
}

// dead counts the dead letters of a subscription's types in its group.
func (r *Reader) dead(ctx context.Context, s *Subscription) (uint64, error) {
	types := strings.TrimPrefix(s.Filter, r.ns.Subject("events."))
	n, _, err := r.matching(ctx, r.ns.Stream(stream.DeadName), r.ns.Subject("dead."+s.Group+"."+types), 1)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	return n, err
}
