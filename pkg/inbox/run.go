package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Bounds of how far the handlers of a partition run ahead of its commits.
const (
	maxAhead   = 4096     // messages
	readAtOnce = 128      // messages looked at together, so that their entities are read together
	maxEntries = maxBatch // of one partition in one commit
)

// run is one partition under one claim: a goroutine that handles its messages
// in order, and what waits to be committed. It ends for good; the partition is
// then claimed anew, by this instance or another.
type run struct {
	e    *engine
	part int

	cache cache // of the goroutine

	stop    chan struct{} // closed: finish the message and end
	stopped sync.Once
	done    chan struct{} // closed when the goroutine has ended

	cached atomic.Int64 // entities in memory
	began  atomic.Int64 // when the handler that runs now began, ns of the engine's clock; 0 for none
	room   chan struct{}

	mu      sync.Mutex
	at      cursor // after the last message that was handled
	pending work
	flying  bool          // a commit of it is under way
	queued  bool          // it stands in the committer's line
	ended   error         // why it is over; nothing of it may be committed
	release bool          // commit the cursor without an owner, once all is committed
	late    time.Duration // by the engine's clock, when to let go although outputs wait to be relayed
	held    int           // states that are not committed yet: its part of engine.held

	// seq is the sequence of the stored cursor: of the committer.
	seq       uint64
	committed atomic.Uint64 // position
	// sourcedState is the greatest sequence of the state's stream that was
	// brought by its source and committed.
	sourcedState atomic.Uint64
}

func (e *engine) newRun(part int, at cursor, seq uint64) *run {
	r := &run{e: e, part: part, at: at, seq: seq, stop: make(chan struct{}), done: make(chan struct{}), room: make(chan struct{}, 1)}
	r.committed.Store(at.Position)
	return r
}

// halt makes the goroutine end after the message that it handles.
func (r *run) halt() { r.stopped.Do(func() { close(r.stop) }) }

// end makes the run over: nothing more of it is committed.
func (r *run) end(err error) {
	r.mu.Lock()
	first := r.ended == nil
	if first {
		r.ended = err
		r.unhold(r.held)
	}
	r.signalRoom()
	r.mu.Unlock()
	r.halt()
	if first {
		r.e.wake()
	}
}

func (r *run) over() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// work is the goroutine of the run.
func (r *run) work() {
	defer close(r.done)
	returned := false
	defer func() {
		if !returned { // a handler called runtime.Goexit
			r.end(errors.New("handler ended its goroutine"))
		}
		r.e.wake()
	}()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		before := r.position()
		err := r.follow()
		if err == nil || r.halted() {
			break
		}
		if r.position() > before {
			wait = 50 * time.Millisecond
		}
		level := slog.LevelDebug
		if wait > time.Second {
			level = slog.LevelWarn // it does not pass by itself
		}
		r.e.log.Log(r.e.base, level, "reading a partition is begun again", "partition", r.part, "error", err)
		if !r.rest(wait) {
			break
		}
	}
	returned = true
}

func (r *run) position() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at.Position
}

func (r *run) halted() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// rest waits, and reports false if the run is to stop first.
func (r *run) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.stop:
		return false
	case <-t.C:
		return true
	}
}

// follow reads from the position on until the run is to stop or reading fails.
func (r *run) follow() error {
	rd, err := newReader(r.e.base, r.e.server, r.e.mailStream, r.position()+1, r.e.in.subjects.PartitionMail(r.part))
	if err != nil {
		return err
	}
	defer rd.close()
	batch := make([]mail, 0, readAtOnce)
	for {
		batch, err = rd.take(r.stop, batch[:0], readAtOnce)
		if err != nil || len(batch) == 0 {
			return err
		}
		if err := r.handleAll(batch); err != nil || r.halted() {
			return err
		}
	}
}

// letter is a message on its way to a handler.
type letter struct {
	mail
	raw        envelope.Raw
	key, token string
	origin     string // stream and creation of the source that brought it
	originSeq  uint64
	err        error // why it is no message for a handler
}

// handleAll handles some messages, after their entities have been read.
func (r *run) handleAll(batch []mail) error {
	letters := make([]letter, 0, len(batch))
	missing := make(map[string]string)
	for i := range batch {
		l := r.open(batch[i])
		letters = append(letters, l)
		if l.err == nil && r.cache.get(l.token) == nil {
			missing[l.token] = l.key
		}
	}
	if err := r.load(r.e.base, missing); err != nil {
		return err
	}
	for i := range letters {
		if r.halted() {
			return nil
		}
		if err := r.handle(&letters[i]); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.cache.trim(max(r.e.cacheShare(), readAtOnce))
	r.cached.Store(int64(len(r.cache.by)))
	r.mu.Unlock()
	return nil
}

// open reads a message: whose it is, and from where.
func (r *run) open(m mail) letter {
	l := letter{mail: m}
	l.origin, l.originSeq = r.e.originOf(m.msg.Header)
	_, token, ok := r.e.in.subjects.ParseMail(m.msg.Subject)
	if !ok {
		l.err = fmt.Errorf("subject %q is not one of the mailbox", m.msg.Subject)
		return l
	}
	if l.raw, l.err = envelope.Unmarshal(m.msg); l.err != nil {
		return l
	}
	l.raw.Delivery.Stream, l.raw.Delivery.Sequence, l.raw.Delivery.Stored = r.e.mailStream, m.seq, m.at
	key, written, err := subject.DecodeKey(token)
	switch {
	case err != nil:
		l.err = err
		return l
	case !written: // a hash: only the attribute has the key
		key = l.raw.Key
	}
	l.key, l.token = key, tokenOf(key)
	if !written && l.token != token {
		l.err = fmt.Errorf("key %.100q is not the one of which %s is the hash", key, token)
	}
	if l.token != token {
		l.key, l.token = key, token // to be forwarded
	}
	return l
}

// handle takes one message through to the work that waits for a commit.
func (r *run) handle(l *letter) error {
	if l.seq <= r.at.Position {
		return nil
	}
	if r.at.passed(l.origin, l.originSeq) {
		r.e.counters.skipped.Add(1)
		return r.accept(l, nil, &call{}, nil, false, nil)
	}
	if l.err != nil {
		return r.bury(l, reasonInvalid, l.err, 0)
	}
	h := r.e.in.handlers[l.raw.Type]
	if to, forward, err := r.destination(h, l); err != nil {
		return r.bury(l, reasonUndecodable, err, 0)
	} else if forward {
		return r.forward(l, to)
	}
	for attempt := 1; ; attempt++ {
		ent, err := r.entity(l)
		if err != nil {
			return err
		}
		err = r.attempt(l, h, ent, attempt)
		if err == nil {
			return nil
		}
		if ended := r.over(); ended != nil {
			return ended
		}
		var undecodable *undecodableError
		var dead *deadLetterError
		switch {
		case errors.As(err, &undecodable):
			return r.bury(l, reasonUndecodable, err, attempt)
		case errors.As(err, &dead):
			return r.bury(l, reasonRejected, err, attempt)
		case attempt >= r.e.in.cfg.MaxAttempts:
			return r.bury(l, reasonExhausted, err, attempt)
		}
		r.e.counters.failed.Add(1)
		r.e.log.Warn("handler failed; the message is run again", "partition", r.part, "entity", l.key, "type", l.raw.Type, "sequence", l.seq, "attempt", attempt, "error", err)
		if !r.rest(delay(r.e.in.cfg.FirstDelay, r.e.in.cfg.MaxDelay, attempt)) {
			return nil
		}
	}
}

// entity gives the entity of a letter, read afresh if it could not be read
// before.
func (r *run) entity(l *letter) (*entity, error) {
	ent := r.cache.get(l.token)
	if ent != nil && ent.broken != nil && !ent.dirty && !ent.writing {
		r.cache.drop(ent)
		ent = nil
	}
	if ent == nil {
		if err := r.load(r.e.base, map[string]string{l.token: l.key}); err != nil {
			return nil, err
		}
		ent = r.cache.get(l.token)
	}
	return ent, nil
}

// delay doubles from the first, jittered over its upper half.
func delay(first, most time.Duration, attempt int) time.Duration {
	d := first
	for range attempt - 1 {
		if d *= 2; d >= most {
			d = most
			break
		}
	}
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreads load, guards nothing
}

// attempt runs the handler once. An error leaves the entity as it was before.
func (r *run) attempt(l *letter, h *Handler, ent *entity, number int) error {
	if h == nil {
		return fmt.Errorf("no handler for type %q in this program", l.raw.Type)
	}
	c := &call{in: r.e.in, id: r.e.mailID + strconv.FormatUint(l.seq, 10), part: r.part, event: &l.raw.Attributes}
	l.raw.Delivery.Attempt = number
	var res any
	var data []byte
	var changed bool
	err := ent.broken
	if err == nil {
		res, err = r.guarded(h, ent, c, &l.raw)
	}
	if err == nil {
		err = c.err
	}
	if err == nil {
		err = protect(func() (err error) {
			data, changed, err = r.e.in.outcome(ent, c)
			return err
		})
	}
	if err == nil && len(c.outs)+2 > maxEntries {
		err = fmt.Errorf("%w: %d outputs, at most %d are allowed", ErrTooLarge, len(c.outs), maxEntries-2)
	}
	if err != nil {
		if ent.broken == nil {
			ent.broken = protect(func() error { return r.e.in.restore(ent) })
		}
		if !h.answer {
			return err
		}
		c = &call{} // nothing of it is kept
		res, data, changed = nil, nil, false
	}
	var reply *answer
	if h.answer {
		reply = r.e.answerTo(l, res, err)
	}
	return r.accept(l, ent, c, data, changed, reply)
}

// guarded runs the handler under its deadline, and turns a panic into an error.
func (r *run) guarded(h *Handler, ent *entity, c *call, raw *envelope.Raw) (res any, err error) {
	ctx, cancel := context.WithTimeout(envelope.ContextWithCause(r.e.base, &raw.Attributes), r.e.in.cfg.HandlerTimeout)
	defer cancel()
	r.began.Store(r.e.clock())
	defer r.began.Store(0)
	err = protect(func() (err error) {
		res, err = h.run(ctx, r.e.in.cfg.Codecs, ent.cell, c, raw)
		return err
	})
	return res, err
}

// letGo asks for the last commit of a run whose goroutine has ended: one whose
// cursor has no owner.
//
// It waits for the relay for a moment: whoever has the partition next relays
// what is left, but there may be nobody next.
func (r *run) letGo(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late == 0 {
		r.late = now + relayPatience
	}
	if r.ended != nil || r.release || now < r.late && (r.flying || !r.pending.empty() || !r.e.relay.clear(r)) {
		return
	}
	r.release = true
	if !r.queued && !r.flying {
		r.queued = true
		r.e.committer.add(r)
	}
}

// relayPatience is how long the hand-over of a partition waits for its outputs
// to be relayed.
const relayPatience = 2 * time.Second

// destination tells whether a message belongs to another entity than the one
// in whose place it stands: by the handler's function, or because its key is
// spelled in another way than Agner spells it.
func (r *run) destination(h *Handler, l *letter) (key string, forward bool, err error) {
	if h != nil && h.rekey != nil && l.origin != "" && l.origin == r.e.eventsOrigin {
		key, err = r.rekey(h, l)
		return key, err == nil, err
	}
	return l.key, tokenOf(l.key) != l.token, nil
}

func (r *run) rekey(h *Handler, l *letter) (key string, err error) {
	err = protect(func() (err error) {
		key, err = h.rekey(r.e.in.cfg.Codecs, &l.raw)
		return err
	})
	return key, err
}

// forward sends the message on to another entity, in the commit that moves the
// position over it.
func (r *run) forward(l *letter, key string) error {
	raw := l.raw
	raw.Key = key
	c := &call{in: r.e.in, part: r.part}
	m, err := envelope.Marshal(&raw)
	if err != nil {
		return r.bury(l, reasonInvalid, err, 0)
	}
	m.Subject = r.e.in.subjects.Sent(tokenOf(key))
	c.outs, c.size = []*nats.Msg{m}, len(m.Data)+envelope.HeaderSize(m.Header)
	return r.accept(l, nil, c, nil, false, nil)
}
