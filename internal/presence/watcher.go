package presence

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// watcher is one [Bucket.Watch]: hints come in from hear, on a goroutine of nats.go;
// all else is run by the one that reads the changes.
type watcher struct {
	b      *Bucket
	filter string
	yield  func(Change) bool
	sub    *nats.Subscription
	wake   chan struct{}

	mu    sync.Mutex // for what hear writes
	dirty map[string]struct{}
	heard map[string]time.Time
	known map[string]heardOf // copied for hear

	keys       map[string]*tracked
	hinted     map[string]*hint
	troubled   time.Time     // when it last could not see for itself
	ahead      time.Duration // this process's clock before the server's
	surveyed   time.Time
	dropped    int // messages that were too many for this process
	reconnects uint64
	enough     bool // the reader of the changes wants no more
}

// heardOf is what a message of a holder is compared with.
type heardOf struct {
	lease string
	value []byte
}

// tracked is a key that was held when last seen.
type tracked struct {
	last  Entry     // as it was held
	heard time.Time // of its holder, by this process's clock
	next  time.Time // not to be read before
	late  bool      // should have expired, and has not

	marker Entry     // that it is gone, zero if it is not
	gone   time.Time // when that was seen
}

// hint is a message of a holder that was heard: what it announces is stored a
// moment later, or refused.
type hint struct {
	reads int
	next  time.Time
}

// hintReads are the times, after a read that found nothing new, of the next.
func hintReads() []time.Duration {
	return []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, time.Second}
}

// hear takes a message that a holder sends to the bucket, before it is stored:
// a hint that the holder lives, or that there is something to read.
func (w *watcher) hear(m *nats.Msg) {
	key := m.Subject[len(w.b.subject):]
	now := time.Now()
	w.mu.Lock()
	k, ok := w.known[key]
	same := ok && m.Header.Get(headerOperation) == "" && m.Header.Get(headerLease) == k.lease && bytes.Equal(m.Data, k.value)
	if same {
		w.heard[key] = now
	} else {
		w.dirty[key] = struct{}{}
	}
	w.mu.Unlock()
	if !same {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !w.enough {
		planned := time.Now().Add(w.rest())
		timer.Reset(time.Until(planned))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
		}
		if time.Since(planned) > w.b.ttl {
			w.troubled = time.Now() // this process was paused
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.troubled = time.Now()
			if pause(ctx, again) != nil {
				return
			}
		}
	}
}

// rest is how long nothing is to be looked at, unless somebody is heard.
func (w *watcher) rest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dirty) > 0 {
		return 0
	}
	next := w.surveyed.Add(w.surveyEvery())
	for key, t := range w.keys {
		if h := w.heard[key]; h.After(t.heard) && t.gone.IsZero() {
			t.heard = h
		}
		if at := t.due(w.b.ttl); at.Before(next) {
			next = at
		}
	}
	for _, h := range w.hinted {
		if h.next.Before(next) {
			next = h.next
		}
	}
	return max(time.Until(next), time.Millisecond)
}

// surveyEvery is how often all keys are read, although nothing says that one has
// changed. It finds what was not heard; what was heard before and is not any
// more is read when it is due.
func (w *watcher) surveyEvery() time.Duration {
	if w.b.put != w.b.subject {
		return 2 * w.b.ttl // holders may write through another domain, unheard
	}
	return 5 * w.b.ttl
}

// due is when a key is to be read next.
func (t *tracked) due(ttl time.Duration) time.Time {
	at := t.heard.Add(ttl + overdue)
	if t.next.After(at) {
		return t.next
	}
	return at
}

// look reads what is to be looked at.
func (w *watcher) look(ctx context.Context) error {
	if n := w.b.nc.Stats().Reconnects; n != w.reconnects || !w.b.nc.IsConnected() {
		w.troubled = time.Now()
		if err := w.orient(ctx); err != nil {
			return err
		}
		w.reconnects = n
		return nil
	}
	dropped, err := w.sub.Dropped()
	if time.Since(w.surveyed) >= w.surveyEvery() || err == nil && dropped != w.dropped {
		w.dropped = dropped
		return w.survey(ctx)
	}
	keys := w.toRead()
	if len(keys) == 0 {
		return nil
	}
	entries, err := w.read(ctx, keys)
	if err == nil {
		w.apply(keys, entries)
	}
	return err
}

func (w *watcher) toRead() (keys []string) {
	now := time.Now()
	w.mu.Lock()
	for key := range w.dirty {
		w.hinted[key] = &hint{next: now}
	}
	clear(w.dirty)
	w.mu.Unlock()
	for key, t := range w.keys {
		if _, ok := w.hinted[key]; !ok && !t.due(w.b.ttl).After(now) {
			keys = append(keys, key)
		}
	}
	for key, h := range w.hinted {
		if !h.next.After(now) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (w *watcher) read(ctx context.Context, keys []string) ([]Entry, error) {
	if len(keys) > 1 {
		return w.b.several(ctx, keys)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	e, err := w.b.Get(ctx, keys[0])
	if errors.Is(err, ErrKey) {
		return nil, nil // a subject that somebody made up
	}
	return []Entry{e}, err
}

// orient finds out what has changed while nobody looked, and how the server's
// clock stands.
func (w *watcher) orient(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	info, err := w.b.str.Info(asking)
	if err != nil {
		return err
	}
	w.ahead = time.Since(info.TimeStamp)
	return w.survey(ctx)
}

// survey reads all keys.
func (w *watcher) survey(ctx context.Context) error {
	all, err := w.b.scan(ctx, w.filter)
	if err != nil {
		return err
	}
	w.surveyed = time.Now()
	w.apply(slices.Collect(maps.Keys(w.keys)), all)
	return nil
}

// apply draws the conclusions from what was read: entries, and nothing of the
// other keys that were asked for.
func (w *watcher) apply(asked []string, entries []Entry) {
	now := time.Now()
	found := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		found[e.Key] = struct{}{}
		w.followUp(e, now)
		w.one(e, now)
	}
	for _, key := range asked {
		if _, ok := found[key]; !ok {
			e := Entry{Key: key, State: Absent}
			w.followUp(e, now)
			w.one(e, now)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = make(map[string]heardOf, len(w.keys))
	for key, t := range w.keys {
		if t.gone.IsZero() { // of one that is gone, each word is news
			w.known[key] = heardOf{t.last.Lease, t.last.Value}
		}
	}
	for key := range w.heard {
		if _, ok := w.keys[key]; !ok {
			delete(w.heard, key)
		}
	}
}

// followUp forgets the hint that led to this read, or plans the next read if it
// showed nothing new.
func (w *watcher) followUp(e Entry, now time.Time) {
	h, ok := w.hinted[e.Key]
	if !ok {
		return
	}
	news := e.State == Held
	switch t := w.keys[e.Key]; {
	case t == nil:
	case t.gone.IsZero():
		// A newer revision alone may be a renewal that was heard and not read,
		// from before the message that gave the hint.
		news = e.State != Held || e.Lease != t.last.Lease || !bytes.Equal(e.Value, t.last.Value)
	default:
		news = e.Revision > max(t.last.Revision, t.marker.Revision)
	}
	if news || h.reads == len(hintReads()) {
		delete(w.hinted, e.Key)
		return
	}
	h.next = now.Add(hintReads()[h.reads])
	h.reads++
}

func (w *watcher) one(e Entry, now time.Time) {
	t := w.keys[e.Key]
	switch {
	case w.enough:
	case e.State == Held && t == nil:
		w.up(e, now)
	case t == nil:
	case e.State == Held:
		w.held(t, e, now)
	case e.State == Released:
		reason := Goodbye
		if e.Lease != "" && e.Lease != t.last.Lease {
			reason = Superseded
		}
		w.down(t, reason, e)
	default:
		w.gone(t, e, now)
	}
}

// held is a known key that is held, perhaps by another.
func (w *watcher) held(t *tracked, e Entry, now time.Time) {
	switch {
	case e.Revision < t.last.Revision: // by a replica that is behind
		t.next = now.Add(again)
		return
	case e.Lease != t.last.Lease:
		reason := Superseded
		if !t.gone.IsZero() {
			reason = Lapsed
		}
		w.down(t, reason, e)
		w.up(e, now)
		return
	}
	t.marker, t.gone = Entry{}, time.Time{}
	if t.heard.IsZero() {
		t.heard = w.since(e, now)
	}
	if e.Revision == t.last.Revision {
		if since := now.Sub(t.heard); since > w.b.ttl {
			t.next = now.Add(again)
			t.late = since > w.b.ttl+lateness
		}
		return
	}
	changed := !bytes.Equal(e.Value, t.last.Value)
	t.last, t.heard, t.next, t.late = e, w.since(e, now), time.Time{}, false
	if changed {
		w.emit(Change{Kind: Changed, Entry: e})
	}
}

// gone is a known key that has expired, or of which nothing is known.
func (w *watcher) gone(t *tracked, e Entry, now time.Time) {
	if t.gone.IsZero() {
		t.marker, t.gone = e, now
		w.mu.Lock()
		heard := w.heard[t.last.Key]
		w.mu.Unlock()
		// A renewal that was heard keeps an entry for its TTL; if it did not, the
		// server could not store it.
		t.late = t.late || now.Sub(heard) < w.b.ttl-lateness
	}
	wait := grace
	if t.late || t.gone.Sub(w.troubled) < w.b.ttl+grace {
		wait = longGrace(w.b.ttl)
	}
	if left := wait - now.Sub(t.gone); left > 0 {
		t.next = now.Add(min(left, again))
		t.heard = time.Time{}
		return
	}
	reason := Lapsed
	if e.State == Absent {
		reason = Unknown
	}
	w.down(t, reason, e)
}

func (w *watcher) up(e Entry, now time.Time) {
	w.keys[e.Key] = &tracked{last: e, heard: w.since(e, now)}
	w.emit(Change{Kind: Up, Entry: e})
}

// since is when an entry was stored, by this process's clock. A wrong guess, as
// after a change of the server's leader, costs a read that comes too early.
func (w *watcher) since(e Entry, now time.Time) time.Time {
	age := min(max(now.Sub(e.Time)-w.ahead, 0), w.b.ttl)
	return now.Add(-age)
}

func (w *watcher) down(t *tracked, reason Reason, marker Entry) {
	delete(w.keys, t.last.Key)
	w.emit(Change{Kind: Down, Entry: t.last, Reason: reason, Marker: marker})
}

func (w *watcher) emit(c Change) {
	if !w.enough && !w.yield(c) {
		w.enough = true
	}
}
