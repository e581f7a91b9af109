package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

var (
	// ErrNotFound reports that DEAD holds no message of that sequence: it was
	// replayed, discarded, or is past the stream's age.
	ErrNotFound = errors.New("dead letter does not exist")
	// ErrNoLane reports that the group has no retry lane: it does not exist
	// under this name and namespace.
	ErrNoLane = errors.New("group has no retry lane")
	// ErrOriginGone reports a letter that was stored without its body, whose
	// event no longer stands in its stream.
	ErrOriginGone = errors.New("event is no longer in its stream")
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
)

// Replayed says where a replay put the event.
type Replayed struct {
	Letter   *Letter
	Stream   string // the lane
	Subject  string
	Sequence uint64 // in the lane
	// Repeated says that the lane held it already, from a replay that was
	// interrupted before it removed the dead letter.
	Repeated bool
}

// Read returns the dead letter of a sequence of the stream DEAD. The error
// matches ErrNotFound or ErrLetter, or is the server's.
func Read(ctx context.Context, js jetstream.JetStream, ns subject.Namespace, seq uint64) (*Letter, error) {
	dead, err := js.Stream(ctx, ns.Stream(stream.DeadName))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", ns.Stream(stream.DeadName), err)
	}
	return read(ctx, dead, seq)
}

func read(ctx context.Context, dead jetstream.Stream, seq uint64) (*Letter, error) {
	m, err := dead.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("dead letter %d: %w: %w", seq, ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return Parse(m)
}

// Replay gives the event of the dead letter with sequence seq back to the
// subscription that failed, and removes the letter. After an error the letter
// still stands, and Replay may be called again.
//
// The errors are those of Read, ErrNoLane, ErrOriginGone, or the server's.
func Replay(ctx context.Context, js jetstream.JetStream, ns subject.Namespace, seq uint64) (Replayed, error) {
	dead, err := js.Stream(ctx, ns.Stream(stream.DeadName))
	if err != nil {
		return Replayed{}, fmt.Errorf("replay: stream %s: %w", ns.Stream(stream.DeadName), err)
	}
	l, err := read(ctx, dead, seq)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay: %w", err)
	}
	m, err := retry(ctx, js, ns, l)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay dead letter %d: %w", seq, err)
	}
	id := fmt.Sprintf("dead.%d.%d", dead.CachedInfo().Created.UnixNano(), seq)
	lane := stream.RetryName(ns, l.Group)
	ack, err := js.PublishMsg(ctx, m, jetstream.WithMsgID(id), jetstream.WithExpectStream(lane))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = fmt.Errorf("%w %s: %w", ErrNoLane, lane, err)
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("replay dead letter %d to %s: %w", seq, m.Subject, err)
	}
	// Only now: an interruption before this leaves both, and the next replay
	// finds the lane's copy by its id.
	if err := dead.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !isGone(err) {
		return Replayed{}, fmt.Errorf("dead letter %d is replayed, but could not be removed: replay it again: %w", seq, err)
	}
	return Replayed{Letter: l, Stream: ack.Stream, Subject: m.Subject, Sequence: ack.Sequence, Repeated: ack.Duplicate}, nil
}

// isGone tells whether a delete failed because somebody else has deleted the
// message (error 10043, "no message found").
func isGone(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == 10043
}

// retry makes the message for the lane: the event, and where it comes from.
func retry(ctx context.Context, js jetstream.JetStream, ns subject.Namespace, l *Letter) (*nats.Msg, error) {
	header, data, err := l.whole(ctx, js)
	if err != nil {
		return nil, err
	}
	h := foreign(header)
	h[headerRetryAttempt] = []string{"1"}
	h[headerRetryRound] = []string{strconv.Itoa(l.Round + 1)}
	h[headerRetryStream] = []string{l.Origin.Stream}
	h[headerRetrySequence] = []string{strconv.FormatUint(l.Origin.Sequence, 10)}
	h[headerRetryCreated] = []string{strconv.FormatInt(l.Origin.Created, 10)}
	h[headerRetrySubject] = []string{l.Origin.Subject}
	if !l.First.IsZero() {
		h[headerRetryFirst] = []string{l.First.UTC().Format(time.RFC3339Nano)}
	}
	_, key, err := ns.ParseEvent(l.Origin.Subject)
	if err != nil {
		key = subject.NoKey
	}
	return &nats.Msg{Subject: ns.RetryDue(l.Group, l.Subscription, key), Header: h, Data: data}, nil
}

// whole gives header and body of the event, from its stream where the letter
// had no room for them.
func (l *Letter) whole(ctx context.Context, js jetstream.JetStream) (nats.Header, []byte, error) {
	if l.Omitted == "" {
		return l.Header, l.Data, nil
	}
	events, err := js.Stream(ctx, l.Origin.Stream)
	if err != nil {
		return nil, nil, fmt.Errorf("event is kept in %s only: %w", l.Origin.Stream, err)
	}
	if events.CachedInfo().Created.UnixNano() != l.Origin.Created {
		return nil, nil, fmt.Errorf("%w: %s was made anew since", ErrOriginGone, l.Origin.Stream)
	}
	m, err := events.GetMsg(ctx, l.Origin.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil, fmt.Errorf("%w: %s sequence %d: %w", ErrOriginGone, l.Origin.Stream, l.Origin.Sequence, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("event is kept in %s only, sequence %d: %w", l.Origin.Stream, l.Origin.Sequence, err)
	}
	return m.Header, m.Data, nil
}

// foreign copies the headers that are the event's own.
func foreign(h nats.Header) nats.Header {
	out := make(nats.Header, len(h)+8)
	for name, values := range h {
		if !reserved(name) {
			out[name] = values
		}
	}
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
