package consume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// Headers of an event in the retry lane: where it stands in EVENTS, and which
// attempt is to come. Part of the wire.
const (
	headerRetryAttempt  = "Agner-Retry-Attempt"
	headerRetryRound    = "Agner-Retry-Round"
	headerRetryStream   = "Agner-Retry-Stream"
	headerRetrySequence = "Agner-Retry-Sequence"
	headerRetryCreated  = "Agner-Retry-Created"
	headerRetrySubject  = "Agner-Retry-Subject"
	headerRetryFirst    = "Agner-Retry-First"
	headerRetryHistory  = "Agner-Retry-History" // one for each earlier death

	retryPrefix = "Agner-Retry-"
	natsPrefix  = "Nats-"
)

// laneOverhead is what the lane's headers add to an event at most, its subject
// and names included.
const laneOverhead = 4 << 10

// oversize tells whether an event is too large to get the headers of the lane.
func (l *loop) oversize(m *nats.Msg) bool {
	return int64(m.Size()+laneOverhead) > l.js.Conn().MaxPayload() || envelope.HeaderSize(m.Header)+laneOverhead > maxHeaderBytes
}

// foreign copies the headers that are the event's own: neither the server's,
// which would act again, nor those of the lane.
func foreign(h nats.Header) nats.Header {
	out := make(nats.Header, len(h)+12)
	for k, vs := range h {
		if hasPrefixFold(k, natsPrefix) || hasPrefixFold(k, retryPrefix) {
			continue
		}
		out[k] = vs
	}
	envelope.KeepFiring(out, h)
	return out
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// toLane stores the next attempt as a schedule of the server, which brings it
// back to this subscription alone once its delay is over. The wait costs no
// place in the pending window, and a second store of the same attempt is
// dropped by its message id.
func (l *loop) toLane(ctx context.Context, d *delivery, a *attempt, v verdict) error {
	first := a.origin.first
	if first.IsZero() {
		first = time.Now()
	}
	h := foreign(d.msg.Header)
	h[headerRetryAttempt] = []string{strconv.Itoa(a.number + 1)}
	h[headerRetryRound] = []string{strconv.Itoa(a.origin.round)}
	h[headerRetryStream] = []string{a.origin.stream}
	h[headerRetrySequence] = []string{strconv.FormatUint(a.origin.sequence, 10)}
	h[headerRetryCreated] = []string{strconv.FormatInt(a.origin.created, 10)}
	h[headerRetrySubject] = []string{a.origin.subject}
	h[headerRetryFirst] = []string{first.UTC().Format(time.RFC3339Nano)}
	if len(a.origin.history) > 0 {
		h[headerRetryHistory] = a.origin.history
	}
	// WithScheduleAt of the client cuts to the second, so that a schedule
	// fires up to a second early.
	h["Nats-Schedule"] = []string{"@at " + time.Now().Add(v.delay).UTC().Format(time.RFC3339Nano)}
	h["Nats-Schedule-Target"] = []string{l.ns.RetryDue(l.cfg.Group, l.sub.name, a.origin.key)}
	err := l.storeOnce(ctx, &nats.Msg{
		Subject: l.ns.RetryWait(l.cfg.Group, l.sub.name, a.origin.sequence),
		Header:  h,
		Data:    d.msg.Data,
	}, a.retryID(l.sub.name))
	if err != nil {
		return fmt.Errorf("store retry in %s: %w", l.lane.durable.stream, err)
	}
	return nil
}

// retryID identifies one attempt of one subscription at one event in one round.
func (a *attempt) retryID(subscription string) string {
	return fmt.Sprintf("%s.%d.%d.%d.%d", subscription, a.origin.created, a.origin.sequence, a.origin.round, a.number+1)
}

var errLaneHeader = errors.New("header of the retry lane is missing or not valid")

// readLane reads what toLane, or a replay, wrote.
func (a *attempt) readLane(h nats.Header) error {
	var bad error
	number := func(name string, least uint64) uint64 {
		v, err := strconv.ParseUint(h.Get(name), 10, 63)
		if bad == nil && (err != nil || v < least) {
			bad = fmt.Errorf("%w: %s %.40q", errLaneHeader, name, h.Get(name))
		}
		return v
	}
	//nolint:gosec // ParseUint bounds each to 63 bits
	a.number = int(number(headerRetryAttempt, 1))
	a.origin.round = int(number(headerRetryRound, 0))       //nolint:gosec // as above
	a.origin.created = int64(number(headerRetryCreated, 0)) //nolint:gosec // as above
	a.origin.sequence = number(headerRetrySequence, 1)
	a.origin.stream = h.Get(headerRetryStream)
	a.origin.subject = h.Get(headerRetrySubject)
	if first := h.Get(headerRetryFirst); first != "" {
		t, err := time.Parse(time.RFC3339Nano, first)
		if err != nil && bad == nil {
			bad = fmt.Errorf("%w: %s: %w", errLaneHeader, headerRetryFirst, err)
		}
		a.origin.first = t
	}
	a.origin.history = history(h[headerRetryHistory])
	return bad
}

// Bounds of the history of an event, so that it fits into laneOverhead.
const (
	maxHistory     = 4
	maxHistoryLine = 200
)

// history takes the earlier deaths of a replayed event, as the replay wrote
// them, within the bounds that it keeps too.
func history(lines []string) []string {
	lines = lines[max(0, len(lines)-maxHistory):]
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return len(line) > maxHistoryLine })
}
