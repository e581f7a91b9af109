package deadletter

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// List gives the letters that a filter selects, without their bodies, in the
// order of DEAD: that in which they died. It ends with the last one that stood
// there when it began, and holds a bounded number of them whatever it gives. To
// read on later, set Filter.After to the Sequence of the last one.
//
// A message of DEAD that is no dead letter comes as a Letter with its sequence,
// time and subject only, beside an error that matches ErrLetter; so does, as
// ErrNotFound, a letter of Filter.Sequences that is not there. Any other error is
// the last that is given: it matches ErrConfig or jetstream.ErrStreamNotFound, or
// is the server's.
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[*Letter, error] {
	return func(yield func(*Letter, error) bool) {
		sel, err := c.compile(f)
		if err != nil {
			yield(nil, err)
			return
		}
		dead, err := c.dead(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		if len(sel.Sequences) > 0 {
			c.listNamed(ctx, dead, sel.Sequences, yield)
			return
		}
		s, err := newScan(ctx, dead, sel)
		if err == nil {
			err = s.list(ctx, yield)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func (s *scan) list(ctx context.Context, yield func(*Letter, error) bool) error {
	n := 0
	stopped := false
	err := s.run(ctx, func(m jetstream.Msg, meta *jetstream.MsgMetadata) bool {
		h := m.Headers()
		if s.sel.byHeader() && !s.sel.matches(h) || meta.Timestamp.Before(s.sel.Since) {
			return true
		}
		n++
		more := yield(parseHeaders(m, h, meta))
		stopped = !more
		return more && n != s.sel.Limit
	})
	if stopped {
		return nil
	}
	return err
}

// parseHeaders reads what a scan gives: instead of the body there is its size.
func parseHeaders(m jetstream.Msg, h nats.Header, meta *jetstream.MsgMetadata) (*Letter, error) {
	raw := &jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: meta.Sequence.Stream, Header: h, Time: meta.Timestamp}
	l, err := Parse(raw)
	if err != nil {
		return &Letter{Sequence: raw.Sequence, Stored: raw.Time, Subject: raw.Subject}, err
	}
	l.Size, _ = strconv.Atoi(h.Get("Nats-Msg-Size")) // the server's own
	return l, nil
}

func (c *Client) listNamed(ctx context.Context, dead jetstream.Stream, sequences []uint64, yield func(*Letter, error) bool) {
	for _, seq := range sequences {
		l, err := c.get(ctx, dead, seq)
		switch {
		case err == nil:
			l.Data = nil
		case errors.Is(err, ErrNotFound) || errors.Is(err, ErrLetter):
			l = &Letter{Sequence: seq}
		default:
			yield(nil, err)
			return
		}
		if !yield(l, err) {
			return
		}
	}
}

// Count is how many letters of a group have one type and reason.
type Count struct {
	Group   string    `json:"group"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Letters int       `json:"letters"`
	Oldest  time.Time `json:"oldest"` // death
	Newest  time.Time `json:"newest"`
	First   uint64    `json:"first"` // sequence in DEAD
	Last    uint64    `json:"last"`
}

// Count counts what a filter selects, by group, type and reason; the most letters
// first. It reads the headers of all of them: one to two seconds for 100,000. What is
// no dead letter is counted by its subject, without a reason. The errors are those
// of List.
func (c *Client) Count(ctx context.Context, f Filter) ([]Count, error) {
	type kind struct{ group, typ, reason string }
	found := map[kind]*Count{}
	add := func(k kind, seq uint64, at time.Time) {
		n := found[k]
		if n == nil {
			n = &Count{Group: k.group, Type: k.typ, Reason: k.reason, Oldest: at, First: seq}
			found[k] = n
		}
		n.Letters++
		n.Newest, n.Last = at, seq
	}
	for l, err := range c.List(ctx, f) {
		switch {
		case errors.Is(err, ErrNotFound):
		case errors.Is(err, ErrLetter):
			group, typ, _, subjectErr := c.ns.ParseDead(l.Subject)
			if subjectErr != nil {
				typ = TypeInvalid
			}
			add(kind{group, typ, ""}, l.Sequence, l.Stored)
		case err != nil:
			return nil, err
		default:
			add(kind{l.Group, l.Type, l.Reason}, l.Sequence, l.Stored)
		}
	}
	out := make([]Count, 0, len(found))
	for _, n := range found {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Reason, b.Reason))
	})
	return out, nil
}
