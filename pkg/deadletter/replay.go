package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Headers of the retry lane, docs/wire.md: where the event stands, and which
// attempt is to come.
const (
	headerRetryAttempt  = "Agner-Retry-Attempt"
	headerRetryRound    = "Agner-Retry-Round"
	headerRetryStream   = "Agner-Retry-Stream"
	headerRetrySequence = "Agner-Retry-Sequence"
	headerRetryCreated  = "Agner-Retry-Created"
	headerRetrySubject  = "Agner-Retry-Subject"
	headerRetryFirst    = "Agner-Retry-First"
	headerRetryHistory  = "Agner-Retry-History"
)

// Bounds of the history that an event carries through its replays.
const (
	maxHistory      = 4
	maxHistoryError = 120 // bytes, escaped
)

// maxHeaderBytes is the server's limit of a header block.
const maxHeaderBytes = 65_535

// Replay gives the events of the letters that a filter selects back to the
// subscriptions that failed, of one key the oldest event first, and removes the
// letters. It yields a Result for each; an error is the last that it yields, and
// leaves the rest as it is. Ending the iteration early, or ctx, does too. In each
// case the replay can be run again: the package's documentation says what it
// guarantees then.
//
// It first reads the headers of all that it is to replay, and keeps 48 bytes for
// each. Of letters in DEAD that are stored meanwhile it replays none.
//
// The error matches ErrConfig or jetstream.ErrStreamNotFound, or is the server's.
func (c *Client) Replay(ctx context.Context, f Filter) iter.Seq2[Result, error] {
	return c.act(ctx, VerbReplay, f, func(ctx context.Context, dead jetstream.Stream, yield func(Result, error) bool) {
		r := &replay{c: c, dead: dead}
		c.spread(ctx, func(give func(item) bool) error { return r.plan(ctx, f, give) }, r.one, yield)
	})
}

// ReplayOne replays the letter with a sequence of DEAD. The error matches what
// Result.Skipped does, or is one of Replay's; after any of them the letter still
// stands, and ReplayOne may be called again.
func (c *Client) ReplayOne(ctx context.Context, seq uint64) (Result, error) {
	for r, err := range c.Replay(ctx, Filter{Sequences: []uint64{seq}}) {
		if err == nil && r.Skipped != nil {
			err = fmt.Errorf("replay: %w", r.Skipped)
		}
		return r, err
	}
	return Result{}, fmt.Errorf("replay: dead letter %d: %w", seq, context.Cause(ctx)) // nothing came, so ctx has ended
}

// act runs a replay or discard between its two records.
func (c *Client) act(ctx context.Context, verb string, f Filter, run func(context.Context, jetstream.Stream, func(Result, error) bool)) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		a := Act{Verb: verb, Filter: f, At: time.Now().UTC()}
		fail := func(err error) { yield(Result{}, fmt.Errorf("%s: %w", verb, err)) }
		if _, err := c.compile(f); err != nil {
			fail(err)
			return
		}
		dead, err := c.dead(ctx)
		if err != nil {
			fail(err)
			return
		}
		if err := c.record(ctx, a); err != nil {
			fail(fmt.Errorf("nothing was done, since it could not be recorded: %w", err))
			return
		}
		wanted := true
		run(ctx, dead, func(r Result, err error) bool {
			if err != nil {
				a.Err = err
				return false
			}
			a.add(&r)
			wanted = yield(r, nil)
			return wanted
		})
		a.Over, a.At = true, time.Now().UTC()
		err = c.record(context.WithoutCancel(ctx), a)
		if err != nil {
			err = fmt.Errorf("the end could not be recorded: %w", err)
		}
		if a.Err != nil {
			err = a.Err
		}
		if err != nil && wanted {
			fail(err)
		}
	}
}

// replay is one run of Replay: what its letters share.
type replay struct {
	c       *Client
	dead    jetstream.Stream
	lanes   once[laneLook]
	streams once[streamLook]
}

// laneLook is what is wrong with the lane of a subscription, if anything.
type laneLook struct{ err error }

// order is what a replay keeps of a letter until its turn.
type order struct {
	seq, created, origin, shard uint64
	skip                        error
}

// plan gives the letters in the order of their events.
func (r *replay) plan(ctx context.Context, f Filter, give func(item) bool) error {
	var all []order
	for l, err := range r.c.List(ctx, f) {
		switch {
		case err != nil && l == nil:
			return err
		case err != nil:
			all = append(all, order{seq: l.Sequence, skip: err})
		default:
			all = append(all, order{
				seq: l.Sequence, created: uint64(l.Origin.Created), origin: l.Origin.Sequence, //nolint:gosec // not negative
				shard: shardOf(l.Group + " " + l.Subscription + l.Subject[strings.LastIndexByte(l.Subject, '.')+1:]),
			})
		}
	}
	slices.SortFunc(all, func(a, b order) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.origin, b.origin), cmp.Compare(a.seq, b.seq))
	})
	for _, o := range all {
		if !give(item{seq: o.seq, shard: o.shard, skip: o.skip}) {
			break
		}
	}
	return nil
}

// one replays one letter. An error that is not the letter's own ends the replay.
func (r *replay) one(ctx context.Context, it item) (Result, error) {
	if it.skip != nil {
		return Result{Letter: &Letter{Sequence: it.seq}, Skipped: it.skip}, nil //nolint:nilerr // it is said in the result
	}
	l, err := r.c.get(ctx, r.dead, it.seq)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLetter) {
		return Result{Letter: &Letter{Sequence: it.seq}, Skipped: err}, nil
	}
	if err != nil {
		return Result{}, err
	}
	m, err := r.message(ctx, l)
	if skips(err) {
		return Result{Letter: l, Skipped: err}, nil
	}
	if err != nil {
		return Result{}, err
	}
	id := fmt.Sprintf("dead.%d.%d", r.dead.CachedInfo().Created.UnixNano(), l.Sequence)
	lane := stream.RetryName(r.c.ns, l.Group)
	ack, err := r.c.js.PublishMsg(ctx, m, jetstream.WithMsgID(id), jetstream.WithExpectStream(lane))
	if err != nil {
		return Result{}, fmt.Errorf("dead letter %d to %s: it may be there: run this again within %s: %w", l.Sequence, m.Subject, DedupWindow, err)
	}
	// Only now: an interruption before this leaves both, and the next replay
	// finds the lane's copy by its id.
	if err := remove(ctx, r.dead, l.Sequence); err != nil {
		return Result{}, fmt.Errorf("dead letter %d is replayed, but could not be removed: run this again within %s: %w", l.Sequence, DedupWindow, err)
	}
	return Result{Letter: l, Stream: ack.Stream, Subject: m.Subject, Sequence: ack.Sequence, Repeated: ack.Duplicate}, nil
}

// skips tells whether an error concerns one letter only.
func skips(err error) bool {
	return errors.Is(err, ErrNoLane) || errors.Is(err, ErrNoSubscription) || errors.Is(err, ErrOriginGone) || errors.Is(err, ErrTooLarge)
}

// remove deletes a letter. One that somebody else has removed is no error.
func remove(ctx context.Context, dead jetstream.Stream, seq uint64) error {
	const codeNoMessage jetstream.ErrorCode = 10043
	err := dead.DeleteMsg(ctx, seq)
	var api *jetstream.APIError
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.As(err, &api) && api.ErrorCode == codeNoMessage {
		return nil
	}
	return err
}

// message makes the message for the lane, if the letter can be replayed: the
// event, and where it comes from.
func (r *replay) message(ctx context.Context, l *Letter) (*nats.Msg, error) {
	if err := r.lane(ctx, l); err != nil {
		return nil, err
	}
	e, err := r.c.event(ctx, l, &r.streams)
	if err != nil {
		return nil, err
	}
	key := subject.NoKey
	if _, token, err := r.c.ns.ParseEvent(e.Subject); err == nil {
		key = subject.SafeKey(token)
	}
	h := foreign(e.Header)
	h[headerRetryAttempt] = []string{"1"}
	h[headerRetryRound] = []string{strconv.Itoa(l.Round + 1)}
	h[headerRetryStream] = []string{l.Origin.Stream}
	h[headerRetrySequence] = []string{strconv.FormatUint(l.Origin.Sequence, 10)}
	h[headerRetryCreated] = []string{strconv.FormatInt(l.Origin.Created, 10)}
	h[headerRetrySubject] = []string{e.Subject}
	h[headerRetryHistory] = history(l)
	if !l.First.IsZero() {
		h[headerRetryFirst] = []string{l.First.UTC().Format(time.RFC3339Nano)}
	}
	m := &nats.Msg{Subject: r.c.ns.RetryDue(l.Group, l.Subscription, key), Header: h, Data: e.Data}
	const ids = 256 // bytes that the publish adds
	head, most := envelope.HeaderSize(h)+ids, r.c.js.Conn().MaxPayload()
	if head > maxHeaderBytes || int64(head+len(e.Data)) > most {
		return nil, fmt.Errorf("dead letter %d: %w: %d bytes of headers and %d of body, where the server takes %d and %d in all: raise its max_payload, or discard the letter",
			l.Sequence, ErrTooLarge, head, len(e.Data), maxHeaderBytes, most)
	}
	return m, nil
}

// lane checks that somebody takes the event: a lane without the subscription would
// keep it for ever.
func (r *replay) lane(ctx context.Context, l *Letter) error {
	look := r.lanes.get(l.Group+" "+l.Subscription, func() (laneLook, bool) {
		name := stream.RetryName(r.c.ns, l.Group)
		_, err := r.c.js.Consumer(ctx, name, subject.Durable(l.Group, l.Subscription))
		switch {
		case err == nil:
			return laneLook{}, true
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return laneLook{fmt.Errorf("%w: group %s, stream %s: start the service first: %w", ErrNoLane, l.Group, name, err)}, true
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			return laneLook{fmt.Errorf("%w: group %s, subscription %s: start a version of the service that has it first: %w",
				ErrNoSubscription, l.Group, l.Subscription, err)}, true
		}
		return laneLook{fmt.Errorf("stream %s: %w", name, err)}, false
	})
	if look.err != nil {
		return fmt.Errorf("dead letter %d: %w", l.Sequence, look.err)
	}
	return nil
}

// history is what the event carries on of its deaths, this one included.
func history(l *Letter) []string {
	all := append(slices.Clone(l.History), Death{Round: l.Round, At: l.Last, Reason: l.Reason, Attempts: l.Attempts, Error: l.Error})
	all = all[max(0, len(all)-maxHistory):]
	lines := make([]string, 0, len(all))
	for _, d := range all {
		text := []rune(d.Error)
		for len(text) > 0 && len(envelope.EscapeHeader(string(text))) > maxHistoryError {
			text = text[:len(text)*9/10]
		}
		lines = append(lines, fmt.Sprintf("%d %s %.20s %d %s",
			d.Round, d.At.UTC().Format(time.RFC3339Nano), d.Reason, d.Attempts, envelope.EscapeHeader(string(text))))
	}
	return lines
}

// foreign copies the headers that are the event's own.
func foreign(h nats.Header) nats.Header {
	out := make(nats.Header, len(h)+8)
	for name, values := range h {
		if !reserved(name) {
			out[name] = values
		}
	}
	envelope.KeepFiring(out, h)
	return out
}

func reserved(name string) bool {
	for _, prefix := range []string{"Nats-", "Agner-Dead-", "Agner-Retry-"} {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
