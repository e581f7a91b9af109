package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// output is one event that a commit holds for the stream of events.
type output struct {
	seq    uint64 // in the stream of the state
	rest   string // of its subject
	header nats.Header
	data   []byte
}

// marker is the record, in the stream of events, of how far the outputs of a
// partition have been relayed. Each batch of outputs replaces it by
// compare-and-set, so that the server refuses a second relay of the same
// outputs, by whomever and whenever.
type marker struct {
	// Position is the sequence, in the stream of the state, of the last output
	// that was relayed.
	Position uint64 `json:"position"`
	// State is the creation of that stream in nanoseconds since 1970.
	State int64 `json:"state"`
}

// relay moves outputs to the stream of events.
type relay struct {
	e    *engine
	mu   sync.Mutex
	from map[*run]*outbox
	line []*run
	bell chan struct{}
}

// outbox is what one run has to relay.
type outbox struct {
	outs []output
	// known tells whether marker and what earlier owners left are read.
	known  bool
	marker uint64 // sequence of the marker in the stream of events
	done   uint64 // position of the marker
	queued bool
	start  uint64 // sequence of the cursor of this claim
}

// advance takes note of a marker: what is not behind it has been relayed.
func (b *outbox) advance(marker, position uint64) {
	b.marker, b.done = marker, max(b.done, position)
	i := 0
	for i < len(b.outs) && b.outs[i].seq <= position {
		i++
	}
	b.outs = slices.Delete(b.outs, 0, i)
}

func newRelay(e *engine) *relay {
	return &relay{e: e, from: make(map[*run]*outbox), bell: make(chan struct{}, 1)}
}

func (l *relay) ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// open begins with a run: what earlier owners left is relayed first.
func (l *relay) open(r *run, claimed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from[r] = &outbox{start: claimed, queued: true}
	l.line = append(l.line, r)
	l.ring()
}

// close forgets a run: whoever has the partition next relays what is left.
func (l *relay) close(r *run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.from, r)
}

// add takes the outputs of a commit.
func (l *relay) add(r *run, outs []output) {
	if len(outs) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.from[r]
	if b == nil {
		return
	}
	b.outs = append(b.outs, outs...)
	if !b.queued {
		b.queued = true
		l.line = append(l.line, r)
	}
	l.ring()
}

// clear tells whether nothing of a run waits to be relayed.
func (l *relay) clear(r *run) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.from[r]
	return b == nil || b.known && len(b.outs) == 0
}

// relayed is how far the outputs of a run have been relayed.
func (l *relay) relayed(r *run) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.from[r]; b != nil {
		return b.done
	}
	return 0
}

// run relays until ctx ends.
func (l *relay) run(ctx context.Context) {
	for {
		l.mu.Lock()
		line := l.line
		l.line = nil
		for _, r := range line {
			if b := l.from[r]; b != nil {
				b.queued = false
			}
		}
		l.mu.Unlock()
		if len(line) == 0 {
			select {
			case <-l.bell:
				continue
			case <-ctx.Done():
				return
			}
		}
		l.learn(ctx, line)
		l.send(ctx, line)
		if ctx.Err() != nil {
			return
		}
	}
}

// learn reads what must be known of each run before its outputs are relayed,
// side by side.
func (l *relay) learn(ctx context.Context, line []*run) {
	var wg sync.WaitGroup
	for _, r := range line {
		l.mu.Lock()
		b := l.from[r]
		l.mu.Unlock()
		if b == nil || b.known {
			continue
		}
		wg.Go(func() {
			for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
				err := l.recover(ctx, r, b)
				if err == nil || r.over() != nil {
					return
				}
				l.e.log.Warn("outputs that earlier owners left cannot be read yet", "partition", r.part, "error", err)
				if !pause(ctx, wait) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// recover reads the marker and the outputs behind it that stand before this
// run's claim.
func (l *relay) recover(ctx context.Context, r *run, b *outbox) error {
	seq, m, err := l.marker(ctx, r.part)
	if err != nil {
		return err
	}
	left, err := l.left(ctx, r.part, m.Position+1, b.start)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b.known, b.outs = true, append(left, b.outs...)
	// The marker may be read late, after another owner has relayed what this
	// one committed.
	b.advance(seq, m.Position)
	if len(b.outs) == 0 && r.halted() {
		l.e.wake()
	}
	return nil
}

func (l *relay) marker(ctx context.Context, part int) (uint64, marker, error) {
	var m marker
	s, err := l.e.server.last(ctx, l.e.eventsStream, l.e.in.subjects.Relay(part))
	if err != nil || s == nil {
		return 0, m, err
	}
	if err := json.Unmarshal(s.data, &m); err != nil {
		return 0, m, fmt.Errorf("read relay marker of partition %d: %w", part, err)
	}
	if m.State != l.e.stateCreated {
		return s.seq, marker{}, nil // of a state that was made anew since
	}
	return s.seq, m, nil
}

// left reads the outputs of a partition from a sequence up to a claim. It goes
// by a replica that may lag, so it reads until it sees the cursor of that claim,
// or a later one of the partition.
func (l *relay) left(ctx context.Context, part int, from, claim uint64) ([]output, error) {
	if from > claim {
		return nil, nil
	}
	rd, err := newReader(ctx, l.e.server, l.e.stateStream, from, l.e.in.subjects.Outs(part), l.e.in.subjects.Cursor(part))
	if err != nil {
		return nil, err
	}
	defer rd.close()
	var outs []output
	var batch []mail
	for {
		if batch, err = rd.take(ctx.Done(), batch[:0], readAtOnce); err != nil {
			return nil, err
		}
		if len(batch) == 0 {
			return nil, ctx.Err()
		}
		for _, m := range batch {
			rest, ok := l.e.in.subjects.OutRest(part, m.msg.Subject)
			if ok && m.seq < claim {
				outs = append(outs, output{seq: m.seq, rest: rest, header: m.msg.Header, data: m.msg.Data})
			}
			if m.seq >= claim && !ok {
				return outs, nil
			}
		}
	}
}

// parcel is what one run has in a batch for the stream of events.
type parcel struct {
	r        *run
	n        int
	position uint64
}

// send relays what the runs have, batch by batch.
func (l *relay) send(ctx context.Context, line []*run) {
	for ctx.Err() == nil {
		msgs, parcels := l.pack(line)
		if len(parcels) == 0 {
			return
		}
		l.deliver(ctx, msgs, parcels)
	}
}

// pack fills one batch: for each run its marker, then outputs in order.
func (l *relay) pack(line []*run) (msgs []*nats.Msg, parcels []parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := 0
	for _, r := range line {
		b := l.from[r]
		if b == nil || !b.known || len(b.outs) == 0 || len(msgs)+2 > maxBatch || bytes > maxBatchBytes {
			continue
		}
		p := parcel{r: r}
		at := len(msgs)
		msgs = append(msgs, nil)
		for _, o := range b.outs {
			if len(msgs) == maxBatch || bytes > maxBatchBytes {
				break
			}
			msgs = append(msgs, l.event(o))
			p.n, p.position, bytes = p.n+1, o.seq, bytes+len(o.data)
		}
		msgs[at] = l.mark(r.part, b.marker, p.position)
		parcels = append(parcels, p)
	}
	return msgs, parcels
}

func (l *relay) mark(part int, expected, position uint64) *nats.Msg {
	data, _ := json.Marshal(marker{Position: position, State: l.e.stateCreated}) // of two numbers
	return &nats.Msg{
		Subject: l.e.in.subjects.Relay(part),
		Header:  nats.Header{headerExpected: {strconv.FormatUint(expected, 10)}},
		Data:    data,
	}
}

// event is an output as the stream of events gets it: without what the state's
// stream added.
func (l *relay) event(o output) *nats.Msg {
	h := make(nats.Header, len(o.header)+3)
	maps.Copy(h, o.header)
	maps.DeleteFunc(h, func(k string, _ []string) bool { return strings.HasPrefix(k, "Nats-") })
	return &nats.Msg{Subject: l.e.in.ns.Subject("events." + o.rest), Header: h, Data: o.data}
}

// deliver stores one batch, or finds that it is stored, or that somebody else
// relays for the partition now.
func (l *relay) deliver(ctx context.Context, msgs []*nats.Msg, parcels []parcel) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		seq, err := l.e.server.publishBatch(ctx, msgs)
		switch {
		case err == nil:
			first := seq - uint64(len(msgs)) + 1
			for _, p := range parcels {
				l.advance(p.r, first, p.position)
				first += uint64(p.n) + 1 //nolint:gosec // a length
				l.e.counters.relayed.Add(int64(p.n))
			}
			return
		case isCode(err, codeWrongLast):
			if l.reread(ctx, parcels) {
				return // packed anew from what is left
			}
		case ctx.Err() == nil:
			l.e.log.Warn("outputs are relayed again", "partitions", len(parcels), "error", err)
		}
		if !pause(ctx, wait) || l.allOver(parcels) {
			return
		}
	}
}

func (l *relay) allOver(parcels []parcel) bool {
	return !slices.ContainsFunc(parcels, func(p parcel) bool { return p.r.over() == nil })
}

// reread takes the markers as they stand, after a refusal.
func (l *relay) reread(ctx context.Context, parcels []parcel) bool {
	for _, p := range parcels {
		seq, m, err := l.marker(ctx, p.r.part)
		if err != nil {
			return false
		}
		l.advance(p.r, seq, m.Position)
	}
	return true
}

// advance takes note of the marker of a run.
func (l *relay) advance(r *run, markerSeq, position uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.from[r]
	if b == nil {
		return
	}
	b.advance(markerSeq, position)
	if len(b.outs) == 0 && r.halted() {
		l.e.wake()
	}
}
