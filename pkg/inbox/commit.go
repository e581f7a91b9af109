package inbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// committer stores the work of all partitions of this instance, as much as fits
// into one atomic batch at a time: while one is under way, handlers run on and
// the next one grows.
type committer struct {
	e    *engine
	mu   sync.Mutex
	line []*run // that have work, in the order in which they came
	bell chan struct{}
}

func newCommitter(e *engine) *committer {
	return &committer{e: e, bell: make(chan struct{}, 1)}
}

// add puts a run into the line. Called with run.mu held.
func (c *committer) add(r *run) {
	c.mu.Lock()
	c.line = append(c.line, r)
	c.mu.Unlock()
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// share is one partition's part of a commit.
type share struct {
	r *run
	w *work
}

// gather takes work from the front of the line until a batch is full.
func (c *committer) gather() []share {
	c.mu.Lock()
	line := c.line
	c.line = nil
	c.mu.Unlock()
	var shares []share
	room, bytes := maxBatch, maxBatchBytes
	for i, r := range line {
		w, fits := r.takeWork(room, bytes)
		if !fits {
			c.mu.Lock()
			c.line = append(line[i:len(line):len(line)], c.line...)
			c.mu.Unlock()
			break
		}
		if w == nil {
			continue
		}
		shares = append(shares, share{r, w})
		room, bytes = room-w.size(), bytes-w.bytes
		if room <= 0 || bytes <= 0 {
			c.mu.Lock()
			c.line = append(line[i+1:len(line):len(line)], c.line...)
			c.mu.Unlock()
			break
		}
	}
	return shares
}

// run commits until ctx ends.
func (c *committer) run(ctx context.Context) {
	for {
		shares := c.gather()
		if len(shares) == 0 {
			select {
			case <-c.bell:
				continue
			case <-ctx.Done():
				return
			}
		}
		c.commit(ctx, shares)
	}
}

// commit stores the shares, however long that takes: it ends with each share
// either stored, or refused because the partition has another owner, or given
// up because ctx has ended. The same batch is safe to send again: the cursors'
// compare-and-set refuses what was stored already.
func (c *committer) commit(ctx context.Context, shares []share) {
	began := time.Now()
	for wait := 10 * time.Millisecond; len(shares) > 0; wait = min(2*wait, time.Second) {
		msgs := make([]*nats.Msg, 0, maxBatch)
		for _, s := range shares {
			msgs = c.e.commitMessages(s.r, s.w, msgs)
		}
		seq, err := c.e.server.publishBatch(ctx, msgs)
		switch {
		case err == nil:
			c.e.counters.commits.Add(1)
			c.e.counters.commitTime.Add(int64(time.Since(began)))
			c.settle(shares, seq-uint64(len(msgs))+1)
			return
		case isCode(err, codeWrongLast):
			shares = c.inspect(ctx, shares)
		case ctx.Err() != nil:
		case isCode(err, codeWrongLastPending):
			c.e.log.Debug("commit waits for another write to a cursor", "error", err)
		default:
			c.e.log.Warn("commit is sent again", "partitions", len(shares), "messages", len(msgs), "error", err)
		}
		if len(shares) > 0 && !pause(ctx, wait) {
			for _, s := range shares {
				s.r.end(fmt.Errorf("stopped with a commit in doubt: %w", ctx.Err()))
			}
			return
		}
	}
}

// settle hands on what a stored batch led to. first is the sequence of its
// first message.
func (c *committer) settle(shares []share, first uint64) {
	for _, s := range shares {
		outs := make([]output, 0, len(s.w.outs))
		at := first + 1 + uint64(len(s.w.states))
		for i, m := range s.w.outs {
			if rest, ok := c.e.in.subjects.OutRest(s.r.part, m.Subject); ok {
				outs = append(outs, output{seq: at + uint64(i), rest: rest, header: m.Header, data: m.Data})
			}
		}
		c.stored(s, first, outs)
		first += uint64(s.w.size()) //nolint:gosec // a length
	}
}

func (c *committer) stored(s share, seq uint64, outs []output) {
	c.e.counters.messages.Add(int64(s.w.messages))
	c.e.relay.add(s.r, outs)
	s.r.landed(s.w, seq)
	for _, a := range s.w.answers {
		c.e.reply(a)
	}
	if s.w.cursor.Owner == "" {
		c.e.wake()
	}
}

// inspect finds out why a batch was refused, by the cursors: it was stored by
// an attempt whose answer was lost; or some partitions have another owner; or a
// state that was read was not the stored one. It returns the shares that are to
// be tried again.
func (c *committer) inspect(ctx context.Context, shares []share) []share {
	type finding struct {
		share
		seq    uint64
		cursor cursor
	}
	found := make([]finding, 0, len(shares))
	stored, fenced := 0, 0
	for _, s := range shares {
		m, err := c.e.server.last(ctx, c.e.stateStream, c.e.in.subjects.Cursor(s.r.part))
		if err != nil {
			return shares // asked again with the next refusal
		}
		f := finding{share: s}
		if m != nil {
			f.seq = m.seq
			if f.cursor, err = decodeCursor(m.data); err != nil {
				c.e.log.Error("cursor cannot be read", "partition", s.r.part, "error", err)
			}
		}
		switch {
		case f.seq == s.r.seq:
		case f.cursor.same(s.w.cursor):
			stored++
		default:
			fenced++
		}
		found = append(found, f)
	}
	var again []share
	for _, f := range found {
		switch {
		case f.seq != f.r.seq && f.cursor.same(f.w.cursor):
			c.e.counters.resolved.Add(1)
			c.settle([]share{f.share}, f.seq) // its messages stand one behind the other
		case f.seq != f.r.seq:
			c.e.counters.fenced.Add(1)
			f.r.end(fmt.Errorf("%w: %s has epoch %d, ours is %d", errFenced, f.cursor.Owner, f.cursor.Epoch, f.w.cursor.Epoch))
		case stored == 0 && fenced == 0 && f.w.doubtful():
			f.r.end(errStale)
		default:
			again = append(again, f.share)
		}
	}
	return again
}

// doubtful tells whether the commit depends on states that were read and not
// written by this claim.
func (w *work) doubtful() bool {
	if len(w.guards) > 0 {
		return true
	}
	for _, ent := range w.states {
		if !ent.proven {
			return true
		}
	}
	return false
}
