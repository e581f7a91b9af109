package group

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// Headers of an entry of the retry lane, docs/wire.md: where its event stands.
const (
	headerRetrySequence = "Agner-Retry-Sequence"
	headerRetryCreated  = "Agner-Retry-Created"
)

// entry is a retry or replay of one subscription that stands in its lane.
type entry struct {
	sequence uint64 // in the lane
	event    uint64 // sequence of its event in EVENTS, 0 if it says none
	created  int64  // of EVENTS when the event was read
}

// entries lists what a subscription has in its group's lane, waiting and due.
// The lane is a work queue, which allows no second consumer, so each message is
// asked for.
func (r *Reader) entries(ctx context.Context, group, name string) ([]entry, error) {
	lane, err := r.js.Stream(ctx, stream.RetryName(r.ns, group))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream.RetryName(r.ns, group), err)
	}
	var all []entry
	for _, subj := range []string{
		r.ns.Subject("retry." + group + ".wait." + name + ".*"),
		r.ns.RetryDue(group, name, "*"),
	} {
		for seq := uint64(1); ; seq++ {
			m, err := lane.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subj))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read retries of %s: %w", name, err)
			}
			seq = m.Sequence
			e := entry{sequence: seq}
			// Whatever is not valid stays 0, and so is not known to run again.
			e.event, _ = strconv.ParseUint(m.Header.Get(headerRetrySequence), 10, 64)
			e.created, _ = strconv.ParseInt(m.Header.Get(headerRetryCreated), 10, 64)
			all = append(all, e)
		}
	}
	return all, nil
}

// doomed are the entries that a reset to a sequence drops.
func doomed(all []entry, created int64, at uint64, retries Retries) []entry {
	var out []entry
	for _, e := range all {
		if retries == DropRetries || e.created == created && e.event >= at {
			out = append(out, e)
		}
	}
	return out
}

// drop removes entries. Each is named by its own sequence, never by subject: the
// same event may have failed again by now, and that retry is another one.
func (r *Reader) drop(ctx context.Context, group string, doomed []entry) (int, error) {
	if len(doomed) == 0 {
		return 0, nil
	}
	lane, err := r.js.Stream(ctx, stream.RetryName(r.ns, group))
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream.RetryName(r.ns, group), err)
	}
	n := 0
	for _, e := range doomed {
		err := lane.DeleteMsg(ctx, e.sequence)
		switch {
		case err == nil:
			n++
		case !errors.Is(err, jetstream.ErrMsgNotFound) && !isGone(err):
			return n, fmt.Errorf("drop retry %d of %s: %w", e.sequence, stream.RetryName(r.ns, group), err)
		}
	}
	return n, nil
}

// isGone tells whether a delete failed because there is no such message any
// more (error 10043): an instance has settled it.
func isGone(err error) bool {
	const codeNoMessage = 10043
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeNoMessage
}
