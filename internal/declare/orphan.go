package declare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/position"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// orphanItem is a subscription of a declared group that no declaration names:
// its durable on EVENTS, the one on the group's retry lane, or both.
type orphanItem struct {
	ns         subject.Namespace
	group, sub string
}

// orphans lists them, sorted.
func (p *Planner) orphans(ctx context.Context, d Declaration) ([]item, error) {
	ns := subject.Namespace(d.Namespace)
	declared := map[[2]string]bool{}
	groups := map[string]bool{}
	for _, c := range d.Durables {
		m := c.Config.Metadata
		groups[m[stream.MetaGroup]] = true
		declared[[2]string{m[stream.MetaGroup], m[stream.MetaSubscription]}] = true
	}
	if len(groups) == 0 {
		return nil, nil
	}
	streams := []string{ns.Stream(stream.EventsName)}
	for g := range groups {
		streams = append(streams, stream.RetryName(ns, g))
	}
	found := map[[2]string]bool{}
	for _, name := range streams {
		err := p.durables(ctx, name, func(m map[string]string) {
			id := [2]string{m[stream.MetaGroup], m[stream.MetaSubscription]}
			if groups[id[0]] && id[1] != "" && !declared[id] {
				found[id] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	ids := slices.SortedFunc(maps.Keys(found), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	items := make([]item, 0, len(ids))
	for _, id := range ids {
		items = append(items, orphanItem{ns, id[0], id[1]})
	}
	return items, nil
}

// durables gives the metadata of each durable of a stream that may be missing.
func (p *Planner) durables(ctx context.Context, name string, each func(metadata map[string]string)) error {
	str, err := p.JS.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: look up: %w", name, err)
	}
	list := str.ListConsumers(ctx)
	for i := range list.Info() {
		if i.Config.Durable != "" {
			each(i.Config.Metadata)
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("stream %s: list its durables: %w", name, err)
	}
	return nil
}

func (i orphanItem) durable() string { return subject.Durable(i.group, i.sub) }

func (i orphanItem) look(ctx context.Context, p *Planner) (*Step, error) {
	s := &Step{
		Action: Orphaned, Kind: KindDurable, Name: i.durable(), Stream: i.ns.Stream(stream.EventsName),
		Orphan: &Orphan{Group: i.group, Subscription: i.sub},
	}
	there := false
	for _, side := range i.sides() {
		ok, err := side.measure(ctx, p, s)
		if err != nil {
			return nil, err
		}
		there = there || ok
	}
	switch {
	case !there:
		s.Action = Unchanged // somebody has deleted it since it was listed
	case s.Orphan.Pulled:
		s.Note = "no declaration names it, but somebody pulls from it: an older version still runs"
	case p.Prune:
		s.Action, s.Note = Delete, fmt.Sprintf("%d events that it has not handled are given up", s.Orphan.Pending)
	default:
		s.Note = "no declaration names it and nobody pulls from it: --prune deletes it"
	}
	return s, nil
}

// side is one of the two durables of a subscription, with the subjects in its
// stream that are for this subscription alone.
type side struct {
	stream, durable string
	own             []string
}

func (i orphanItem) sides() [2]side {
	lane := "retry." + i.group + "."
	return [2]side{
		{stream: i.ns.Stream(stream.EventsName), durable: i.durable()},
		{stream: stream.RetryName(i.ns, i.group), durable: i.durable(), own: []string{
			i.ns.Subject(lane + "wait." + i.sub + ".*"),
			i.ns.Subject(lane + "due." + i.sub + ".*"),
			i.ns.Subject(lane + "mark." + i.sub + ".*"),
		}},
	}
}

// measure adds what one side has not handled, and tells whether its durable is
// there.
func (d side) measure(ctx context.Context, p *Planner, s *Step) (bool, error) {
	o := s.Orphan
	str, err := p.JS.Stream(ctx, d.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stream %s: look up: %w", d.stream, err)
	}
	for _, subj := range d.own[:min(2, len(d.own))] { // marks are no events
		if err := d.retries(ctx, str, subj, o); err != nil {
			return false, err
		}
	}
	c, err := str.Consumer(ctx, d.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("durable %s of stream %s: look up: %w", d.durable, d.stream, err)
	}
	i := c.CachedInfo()
	s.Found = max(s.Found, stream.GenerationOf(i.Config.Metadata))
	o.Type = cmp.Or(o.Type, i.Config.Metadata[stream.MetaType])
	o.saw(i)
	if d.own == nil {
		n := i.NumPending + uint64(max(i.NumAckPending, 0))
		o.Pending += n
		if n > 0 {
			return true, d.oldest(ctx, str, i.AckFloor.Stream+1, i.Config.FilterSubject, o)
		}
	}
	return true, nil
}

// saw notes signs of life.
func (o *Orphan) saw(i *jetstream.ConsumerInfo) {
	for _, t := range []*time.Time{i.Delivered.Last, i.AckFloor.Last} {
		if t != nil && t.After(o.Active) {
			o.Active = *t
		}
	}
	o.Pulled = o.Pulled || i.NumWaiting > 0 || !o.Active.IsZero() && time.Since(o.Active) < i.Config.AckWait
}

func (d side) retries(ctx context.Context, str jetstream.Stream, subj string, o *Orphan) error {
	i, err := str.Info(ctx, jetstream.WithSubjectFilter(subj))
	if err != nil {
		return fmt.Errorf("stream %s: count %s: %w", d.stream, subj, err)
	}
	var n uint64
	for _, messages := range i.State.Subjects {
		n += messages
	}
	o.Pending += n
	o.Retries += n
	if n == 0 {
		return nil
	}
	return d.oldest(ctx, str, 1, subj, o)
}

// oldestWithin bounds the question for the age of what is pending: who may not
// read events gets no answer, and prunes as well without it.
const oldestWithin = time.Second

// oldest notes the time of the first message from a sequence on.
func (d side) oldest(ctx context.Context, str jetstream.Stream, from uint64, subj string, o *Orphan) error {
	short, cancel := context.WithTimeout(ctx, oldestWithin)
	defer cancel()
	m, err := str.GetMsg(short, from, jetstream.WithGetMsgSubject(subj))
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: read the oldest of %s: %w", d.stream, subj, err)
	}
	if o.Oldest.IsZero() || m.Time.Before(o.Oldest) {
		o.Oldest = m.Time
	}
	return nil
}

// act deletes: the durable on EVENTS last, by which the rest is found again if
// this is interrupted.
func (i orphanItem) act(ctx context.Context, p *Planner, _ *Step) error {
	positions, err := position.Open(ctx, &stream.Provisioner{JS: p.JS, Bind: true, Logger: p.Logger}, i.ns)
	if err == nil {
		err = positions.Forget(ctx, i.durable())
	}
	if err != nil && !errors.Is(err, stream.ErrMissing) {
		return err
	}
	sides := i.sides()
	for _, d := range []side{sides[1], sides[0]} {
		if err := d.remove(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (d side) remove(ctx context.Context, p *Planner) error {
	str, err := p.JS.Stream(ctx, d.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: look up: %w", d.stream, err)
	}
	for _, subj := range d.own {
		if err := str.Purge(ctx, jetstream.WithPurgeSubject(subj)); err != nil {
			return fmt.Errorf("stream %s: purge %s: %w", d.stream, subj, err)
		}
	}
	if err := str.DeleteConsumer(ctx, d.durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("stream %s: delete durable %s: %w", d.stream, d.durable, err)
	}
	return nil
}
