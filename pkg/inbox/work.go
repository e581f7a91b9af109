package inbox

import (
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
)

// work is what one partition has done since its last commit, or the part of it
// that is in the commit under way.
type work struct {
	cursor   cursor // as the commit is to leave it
	states   []*entity
	data     [][]byte // of states, once the work is taken
	outs     []*nats.Msg
	guards   []*entity // read, not written, and the cause of outputs
	answers  []answer
	messages int
	bytes    int
}

// answer is what an asker gets after the commit.
type answer struct {
	to string
	m  *nats.Msg
}

// size is how many messages the commit of the work has.
func (w *work) size() int { return 1 + len(w.states) + len(w.outs) }

func (w *work) empty() bool { return w.messages == 0 }

// messages builds the work's part of a commit: the cursor first, whose
// compare-and-set is the fence.
func (e *engine) commitMessages(r *run, w *work, into []*nats.Msg) []*nats.Msg {
	into = append(into, &nats.Msg{
		Subject: e.in.subjects.Cursor(r.part),
		Header:  nats.Header{headerExpected: {strconv.FormatUint(r.seq, 10)}, headerRollup: e.values.rollup},
		Data:    w.cursor.encode(),
	})
	for i, ent := range w.states {
		into = append(into, e.stateMessage(ent, w.data[i]))
	}
	guards := w.guards
	for _, out := range w.outs {
		// Another try has headers of its own: a copy of the first may still be
		// on its way.
		m := &nats.Msg{Subject: out.Subject, Data: out.Data, Header: make(nats.Header, len(out.Header)+4)}
		for k, v := range out.Header {
			m.Header[k] = v
		}
		if len(guards) > 0 {
			m.Header[headerExpected] = []string{strconv.FormatUint(guards[0].seq, 10)}
			m.Header[headerExpectedOf] = []string{e.in.subjects.Entity(guards[0].token)}
			guards = guards[1:]
		}
		into = append(into, m)
	}
	return into
}

// accept adds what a message led to to the work, once there is room for it, and
// moves the position. It returns an error only if the run is over.
func (r *run) accept(l *letter, ent *entity, c *call, data []byte, changed bool, reply *answer) error {
	for {
		r.mu.Lock()
		if r.ended != nil {
			r.mu.Unlock()
			return r.ended
		}
		w := &r.pending
		more := len(c.outs)
		crowded := false
		if changed && !ent.dirty {
			more++
			crowded = r.e.crowded()
		}
		if w.empty() || !crowded && w.size()+more <= maxEntries && w.messages < maxAhead && w.bytes < maxBatchBytes {
			break
		}
		r.mu.Unlock()
		select {
		case <-r.room:
		case <-r.stop:
			if r.over() != nil {
				return r.over()
			}
			<-r.room // a commit takes the work, or the run ends
		}
	}
	defer r.mu.Unlock()
	w := &r.pending
	if changed {
		if !ent.dirty {
			ent.dirty = true
			w.states = append(w.states, ent)
			r.held++
			r.e.held.Add(1)
		}
		w.bytes += len(data)
		ent.data = data
	} else if ent != nil && !ent.proven && !ent.dirty && !ent.writing && len(c.outs) > 0 {
		w.guards = append(w.guards, ent)
	}
	w.outs = append(w.outs, c.outs...)
	w.bytes += c.size
	if reply != nil {
		w.answers = append(w.answers, *reply)
		w.bytes += len(reply.m.Data)
	}
	w.messages++
	r.at.advance(l.seq, l.origin, l.originSeq)
	if !r.queued && !r.flying {
		r.queued = true
		r.e.committer.add(r)
	}
	return nil
}

// takeWork hands the work to a commit, if it fits into what is left of it.
func (r *run) takeWork(room, bytes int) (*work, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued = false
	if r.ended != nil || r.pending.empty() && !r.release {
		return nil, true
	}
	if r.pending.size() > room || r.pending.bytes > bytes && room < maxBatch {
		r.queued = true
		return nil, false
	}
	w := r.pending
	r.pending = work{}
	r.flying = true
	w.cursor = r.at.clone()
	if r.release {
		w.cursor.Owner = ""
	}
	w.data = make([][]byte, len(w.states))
	for i, ent := range w.states {
		w.data[i] = ent.data
		ent.dirty, ent.writing = false, true
	}
	guards := w.guards[:0]
	for _, ent := range w.guards {
		if !ent.writing {
			guards = append(guards, ent)
		}
	}
	w.guards = guards
	r.signalRoom()
	return &w, true
}

// unhold takes n states off those that are not committed yet. Called with r.mu
// held.
func (r *run) unhold(n int) {
	r.held -= n
	r.e.held.Add(int64(-n))
}

func (r *run) signalRoom() {
	select {
	case r.room <- struct{}{}:
	default:
	}
}

// landed takes note of a commit.
func (r *run) landed(w *work, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq = seq
	r.flying = false
	r.unhold(min(len(w.states), r.held)) // none of a run that has ended
	r.committed.Store(w.cursor.Position)
	r.sourcedState.Store(w.cursor.Origins[r.e.stateOrigin])
	for _, ent := range w.states {
		ent.writing, ent.proven = false, true
	}
	if w.cursor.Owner == "" {
		r.release = false
		if r.ended == nil {
			r.ended = errReleased
		}
		return
	}
	if (!r.pending.empty() || r.release) && !r.queued {
		r.queued = true
		r.e.committer.add(r)
	}
}

var errReleased = errors.New("released")
