package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agner-go/agner/internal/presence"
)

const (
	lookEvery = 100 * time.Millisecond // at what is to be done
	patience  = 3 * time.Second        // with a partition whose target does not take it
)

// lease is what an instance tells of itself in the bucket of leases.
type lease struct {
	Owns    map[int]uint64 `json:"owns"` // partition to epoch
	Leaving bool           `json:"leaving,omitempty"`
	Shuns   []int          `json:"shuns,omitempty"`
}

// owner holds this instance's lease, sees the others', and claims and releases
// partitions as decide says.
type owner struct {
	e       *engine
	key     string
	lease   *presence.Lease
	renewed time.Time
	told    string // value of the lease as last written

	members []member
	takers  string // who takes partitions, to see that it changes
	changed time.Duration
	free    map[int]time.Duration
	busy    map[int]time.Duration // since when a cursor has named a live owner that does not show it
	shuns   map[int]time.Duration // until when
	leaving bool

	mu       sync.Mutex
	seen     map[string]presence.Entry // the leases, by key
	claiming map[int]bool
	work     sync.WaitGroup // claims, and goroutines of runs
}

func newOwner(e *engine) *owner {
	return &owner{
		e: e, key: e.in.cfg.Name + "." + e.in.cfg.Instance,
		free: map[int]time.Duration{}, busy: map[int]time.Duration{}, shuns: map[int]time.Duration{}, claiming: map[int]bool{},
		seen: map[string]presence.Entry{},
	}
}

func (o *owner) now() time.Duration { return time.Duration(o.e.clock()) }

// run owns partitions until ctx ends, then hands all over.
func (o *owner) run(ctx context.Context, ready func()) error {
	o.work.Go(func() { o.watch(o.e.base) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	once := sync.OnceFunc(ready)
	for ctx.Err() == nil {
		if o.step(ctx) {
			once()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-o.e.bell:
		}
	}
	return o.drain(ctx)
}

// watch keeps what is known of the leases, until ctx ends.
func (o *owner) watch(ctx context.Context) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		o.mu.Lock()
		known := slices.Collect(maps.Values(o.seen))
		o.mu.Unlock()
		for change, err := range o.e.bucket.Watch(ctx, o.e.in.cfg.Name+".*", known...) {
			if err != nil {
				o.e.log.Debug("leases cannot be watched yet", "error", err)
				break
			}
			wait = 50 * time.Millisecond
			o.mu.Lock()
			if change.Kind == presence.Down {
				delete(o.seen, change.Entry.Key)
			} else {
				o.seen[change.Entry.Key] = change.Entry
			}
			o.mu.Unlock()
			o.e.wake()
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// step looks and acts once. It reports whether the instance has its lease.
func (o *owner) step(ctx context.Context) bool {
	o.reap()
	o.watchHandlers()
	if !o.keep(ctx) {
		return false
	}
	if o.look() {
		o.act(ctx)
	}
	return true
}

// keep claims or renews the lease. An instance without one goes on with what it
// owns: only a refused commit ends that.
func (o *owner) keep(ctx context.Context) bool {
	value, _ := json.Marshal(o.value()) // of numbers
	ctx, cancel := context.WithTimeout(ctx, o.e.in.cfg.LeaseTTL/2)
	defer cancel()
	if o.lease == nil {
		l, _, err := o.e.bucket.Seize(ctx, o.key, value)
		if err != nil {
			o.e.log.Debug("no lease yet", "error", err)
			return false
		}
		o.lease, o.renewed, o.told = l, time.Now(), string(value)
		return true
	}
	if o.told == string(value) && time.Since(o.renewed) < o.e.in.cfg.LeaseTTL/3 {
		return true
	}
	err := o.lease.Renew(ctx, value)
	switch {
	case err == nil:
		o.renewed, o.told = time.Now(), string(value)
	case errors.Is(err, presence.ErrLost):
		o.e.log.Warn("lease is lost; taking another", "error", err)
		o.lease = nil
		return false
	default:
		o.e.log.Debug("lease is not renewed", "error", err)
	}
	return true
}

func (o *owner) value() lease {
	v := lease{Owns: o.e.owned(), Leaving: o.leaving}
	for p, until := range o.shuns {
		if o.now() < until {
			v.Shuns = append(v.Shuns, p)
		}
	}
	slices.Sort(v.Shuns)
	return v
}

// look sorts who lives and what they own. It reports false while the watch has
// not seen this instance's own lease: then it has not seen the others' either.
func (o *owner) look() bool {
	o.mu.Lock()
	entries := slices.Collect(maps.Values(o.seen))
	_, oriented := o.seen[o.key]
	o.mu.Unlock()
	members := make([]member, 0, len(entries))
	for _, entry := range entries {
		id := strings.TrimPrefix(entry.Key, o.e.in.cfg.Name+".")
		var v lease
		if err := json.Unmarshal(entry.Value, &v); err != nil {
			continue // not an instance's
		}
		if id == o.e.in.cfg.Instance {
			v = o.value() // as it is now
		}
		m := member{id: id, owns: v.Owns, leaving: v.Leaving, shuns: map[int]bool{}}
		for _, p := range v.Shuns {
			m.shuns[p] = true
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.id, b.id) })
	o.see(members)
	return oriented
}

// see notes what has changed.
func (o *owner) see(members []member) {
	var takers strings.Builder
	for _, m := range members {
		if !m.leaving {
			fmt.Fprintf(&takers, "%s %v,", m.id, slices.Sorted(maps.Keys(m.shuns)))
		}
	}
	if s := takers.String(); s != o.takers {
		o.takers, o.changed = s, o.now()
	}
	o.members = members
	owners, _ := ownersOf(members)
	for p := range o.e.in.cfg.Partitions {
		_, owned := owners[p]
		if _, free := o.free[p]; owned {
			delete(o.free, p)
			delete(o.busy, p)
		} else if !free {
			o.free[p] = o.now()
		}
	}
}

// act does what decide says.
func (o *owner) act(ctx context.Context) {
	for _, a := range decide(view{
		now: o.now(), self: o.e.in.cfg.Instance, partitions: o.e.in.cfg.Partitions, members: o.members,
		changed: o.changed, free: o.free, settle: o.e.in.cfg.Settle, patience: patience,
	}) {
		switch a.kind {
		case claimPartition:
			o.claim(ctx, a.partition)
		case releasePartition:
			o.release(a.partition)
		}
	}
}

// claim claims a partition beside the owner's loop.
func (o *owner) claim(ctx context.Context, part int) {
	o.e.mu.Lock()
	_, runs := o.e.runs[part]
	o.e.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if runs || o.claiming[part] {
		return
	}
	o.claiming[part] = true
	members, since := o.members, o.busySince(part)
	o.work.Go(func() {
		defer func() {
			o.mu.Lock()
			delete(o.claiming, part)
			o.mu.Unlock()
		}()
		r, err := o.e.claim(ctx, part, func(owner string) bool {
			// It has just claimed it, and will show it in a moment; or it has let
			// go and its cursor says otherwise: then it is taken after a while.
			m := memberOf(members, owner)
			return m.id != "" && o.now()-since < time.Second
		})
		switch {
		case err == nil:
			o.start(r)
		case ctx.Err() == nil:
			o.e.log.Debug("partition is not claimed", "partition", part, "error", err)
		}
	})
}

// busySince is since when the partition has been free.
func (o *owner) busySince(part int) time.Duration {
	if since, ok := o.free[part]; ok {
		return since
	}
	return o.now()
}

func (o *owner) start(r *run) {
	o.e.mu.Lock()
	o.e.runs[r.part] = r
	o.e.mu.Unlock()
	o.e.counters.claimed.Add(1)
	o.e.log.Info("partition claimed", "partition", r.part, "epoch", r.at.Epoch, "position", r.at.Position)
	o.e.relay.open(r, r.seq)
	o.work.Go(r.work)
	o.e.wake()
}

// release lets the goroutine of a partition end; reap does the rest.
func (o *owner) release(part int) {
	o.e.mu.Lock()
	r := o.e.runs[part]
	o.e.mu.Unlock()
	if r == nil {
		return
	}
	owners, epochs := ownersOf(o.members)
	if owners[part] != o.e.in.cfg.Instance && epochs[part] > r.at.Epoch {
		r.end(errFenced) // nothing of it can be committed any more
		return
	}
	r.halt()
}

// reap moves runs that were halted towards their end: their last commit once
// the goroutine has ended, and out of the list when that is stored or when they
// are over for another reason.
func (o *owner) reap() {
	for _, r := range o.e.snapshot() {
		select {
		case <-r.done:
			r.letGo(o.now())
		default:
		}
		err := r.over()
		if err == nil {
			continue
		}
		o.e.mu.Lock()
		delete(o.e.runs, r.part)
		o.e.mu.Unlock()
		o.e.relay.close(r)
		if errors.Is(err, errReleased) {
			o.e.counters.released.Add(1)
			o.e.log.Info("partition released", "partition", r.part, "epoch", r.at.Epoch)
			continue
		}
		o.e.log.Warn("partition is lost", "partition", r.part, "epoch", r.at.Epoch, "error", err)
	}
}

// watchHandlers lets go of partitions whose handler hangs.
func (o *owner) watchHandlers() {
	limit := 2 * o.e.in.cfg.HandlerTimeout
	for _, r := range o.e.snapshot() {
		began := r.began.Load()
		if began == 0 || time.Duration(o.e.clock()-began) < limit {
			continue
		}
		o.e.counters.hung.Add(1)
		o.e.log.Error("handler ignores its deadline; its partition goes to another instance", "partition", r.part, "timeout", o.e.in.cfg.HandlerTimeout)
		o.shuns[r.part] = o.now() + time.Minute
		r.end(ErrHung)
	}
}

// drain hands all partitions over within the drain timeout.
func (o *owner) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.e.in.cfg.DrainTimeout)
	defer cancel()
	o.leaving = true
	for _, r := range o.e.snapshot() {
		r.halt()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		for _, r := range o.e.snapshot() {
			r.halt() // one whose claim was under way
		}
		o.reap()
		if o.lease != nil {
			o.keep(ctx)
		}
		if len(o.e.snapshot()) == 0 && !o.claims() {
			break
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-o.e.bell:
		}
	}
	left := o.e.snapshot()
	o.e.stop()
	for _, r := range left {
		r.end(errors.New("drain timeout"))
	}
	if o.lease != nil {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := o.lease.Release(bye); err != nil && !errors.Is(err, presence.ErrLost) {
			o.e.log.Debug("lease is not released; it expires", "error", err)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%d partitions were not handed over within the drain timeout of %s; others take them when the lease expires", len(left), o.e.in.cfg.DrainTimeout)
	}
	return o.wait(ctx)
}

// wait waits for the goroutines of runs. One whose handler hangs is left
// behind: its partition has gone already.
func (o *owner) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		o.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("after the drain timeout of %s: %w", o.e.in.cfg.DrainTimeout, ErrHung)
	}
}

func (o *owner) claims() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.claiming) > 0
}
