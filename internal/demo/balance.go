package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// GroupBalance is one group's side of the balance.
type GroupBalance struct {
	Events     int `json:"events"`     // of its types
	Handled    int `json:"handled"`    // of those, by a run that returned nil
	Dead       int `json:"dead"`       // of those not handled: dead letters that stand
	Pending    int `json:"pending"`    // still in the stream or the retry lane for it
	Lost       int `json:"lost"`       // none of these
	Duplicates int `json:"duplicates"` // runs that returned nil beyond the first
}

// Balance holds the records of the handlers against the streams.
type Balance struct {
	// Published counts the events in EVENTS by source and id, and what is no
	// event by its sequence.
	Published int `json:"published"`
	// Handled counts those that every group of their type has handled.
	Handled int `json:"handled"`
	// Dead counts the dead letters that there ever were; Standing those that
	// were not replayed.
	Dead     int `json:"dead"`
	Standing int `json:"dead_standing"`
	// Pending counts those that some group has still to handle.
	Pending int `json:"pending"`
	// Lost counts those that some group has neither handled, nor as a dead
	// letter, nor still to come.
	Lost int `json:"lost"`
	// Duplicates counts second stores and second successful runs.
	Duplicates int `json:"duplicates"`
	// Unsubscribed counts those of types that no group handles.
	Unsubscribed int `json:"unsubscribed"`
	// Outside counts those that were published by others than the shop.
	Outside int `json:"outside"`

	Groups map[string]GroupBalance `json:"groups"`
}

// Strike draws the balance of what stands now.
func (b *Books) Strike(ctx context.Context, ledger *Ledger) (Balance, error) {
	if err := b.catchUp(ctx); err != nil {
		return Balance{}, err
	}
	standing, err := b.standing(ctx)
	if err != nil {
		return Balance{}, err
	}
	pending, err := b.pendingOf(ctx)
	if err != nil {
		return Balance{}, err
	}
	dead := map[string]map[uint64]bool{}
	for _, l := range standing {
		if dead[l.Group] == nil {
			dead[l.Group] = map[uint64]bool{}
		}
		dead[l.Group][l.Origin.Sequence] = true
	}
	t := tally{ledger: ledger, dead: dead, pending: pending, groups: map[string]GroupBalance{}, seen: map[identity]bool{}}
	for _, name := range []string{billing, notify, orders} {
		t.groups[name] = GroupBalance{}
	}
	for _, e := range b.from(0) {
		t.count(&e)
	}
	return t.balance(b.deadTotal(), len(standing)), nil
}

// tally counts event by event.
type tally struct {
	ledger  *Ledger
	dead    map[string]map[uint64]bool // by group and sequence in EVENTS
	pending map[string]int             // by group, as the server counts
	groups  map[string]GroupBalance
	seen    map[identity]bool
	sum     Balance
	open    []string // a group for each event that it has neither handled nor dead
}

// fate of an event in one group.
type fate int

const (
	fateHandled fate = iota
	fateDead
	fateOpen // pending or lost: the server's count decides
)

func (t *tally) count(e *booked) {
	if e.valid && t.seen[e.id] {
		t.sum.Duplicates++ // stored twice
		return
	}
	t.seen[e.id] = e.valid
	t.sum.Published++
	if e.outside() {
		t.sum.Outside++
	}
	groups := groupsOf(e.typ)
	if len(groups) == 0 {
		t.sum.Unsubscribed++
		return
	}
	worst := fateHandled
	for _, group := range groups {
		f := t.fateIn(group, e)
		worst = max(worst, f)
		if f == fateOpen {
			t.open = append(t.open, group)
		}
	}
	if worst == fateHandled {
		t.sum.Handled++
	}
}

func (t *tally) fateIn(group string, e *booked) fate {
	g := t.groups[group]
	defer func() { t.groups[group] = g }()
	g.Events++
	handled := 0
	if e.valid {
		handled = t.ledger.of(group, e.id).handled
	}
	switch {
	case handled > 0:
		g.Handled++
		g.Duplicates += handled - 1
		t.sum.Duplicates += handled - 1
		return fateHandled
	case t.dead[group][e.seq]:
		g.Dead++
		return fateDead
	}
	return fateOpen
}

// balance settles what is open: as many as the server still holds for a group
// are pending, the rest is lost.
func (t *tally) balance(deadEver, standing int) Balance {
	for _, group := range t.open {
		g := t.groups[group]
		if t.pending[group] > 0 {
			t.pending[group]--
			g.Pending++
			t.sum.Pending++
		} else {
			g.Lost++
			t.sum.Lost++
		}
		t.groups[group] = g
	}
	t.sum.Dead, t.sum.Standing, t.sum.Groups = deadEver, standing, t.groups
	return t.sum
}

// pendingOf asks the server what it still holds for each group: what its
// durables on EVENTS have not had acknowledged, and what stands in its lane.
func (b *Books) pendingOf(ctx context.Context) (map[string]int, error) {
	pending := map[string]int{}
	events, err := b.js.Stream(ctx, stream.EventsName)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream.EventsName, err)
	}
	durables := events.ListConsumers(ctx)
	for info := range durables.Info() {
		if group := info.Config.Metadata["agner.group"]; group != "" {
			pending[group] += int(info.NumPending) + info.NumAckPending //nolint:gosec // counts of a demo
		}
	}
	if err := durables.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, fmt.Errorf("durables of stream %s: %w", stream.EventsName, err)
	}
	for _, group := range []string{billing, notify, orders} {
		lane, err := b.js.Stream(ctx, stream.RetryName("", group))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", stream.RetryName("", group), err)
		}
		pending[group] += int(lane.CachedInfo().State.Msgs) //nolint:gosec // as above
	}
	return pending, nil
}

// Settle waits until every event is handled or dead, or ctx ends, and returns
// the balance as it then is.
func (b *Books) Settle(ctx context.Context, ledger *Ledger) (Balance, error) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		// A look of its own time: the last one must come to its end.
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		balance, err := b.Strike(look, ledger)
		cancel()
		if err != nil || balance.Pending == 0 && balance.Lost == 0 {
			return balance, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return balance, nil
		}
	}
}
