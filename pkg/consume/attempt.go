package consume

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/envelope"
)

// attempt is one run of a handler, as read from a delivery.
type attempt struct {
	event  envelope.Raw
	number int // from 1
	origin origin
}

// origin says where an event stands in EVENTS. A retry carries it in its
// headers, so that the tenth attempt still knows.
type origin struct {
	stream   string
	sequence uint64
	created  int64 // of the stream, ns: a sequence means something only with it
	subject  string
	key      string    // last token of the subject
	first    time.Time // when the first attempt failed; zero before
	round    int       // replays from the dead letters
	history  []string  // earlier deaths, a line each
}

// errInvalid marks what is no event of the subject it came on.
var errInvalid = errors.New("not a valid event")

// read makes an attempt of a delivery, and says if its fate is decided before
// any handler runs.
func (l *loop) read(d *delivery, a *attempt) (v verdict, decided bool) {
	a.number = 1
	a.origin = origin{stream: l.main.durable.stream, sequence: d.seq, created: d.created, subject: d.msg.Subject}
	if d.src == l.lane {
		if err := a.readLane(d.msg.Header); err != nil {
			return invalid(err), true
		}
	} else if d.nth > 1 && l.oversize(d.msg) {
		// The lane cannot take it, so its attempts are the server's deliveries.
		a.number = int(min(d.nth, 1<<30))
	}
	typ, key, err := l.ns.ParseEvent(a.origin.subject)
	if err != nil {
		return invalid(err), true
	}
	a.origin.key = key
	a.event, err = envelope.Unmarshal(d.msg)
	if err != nil {
		return invalid(err), true
	}
	if a.event.Type != typ {
		return invalid(fmt.Errorf("type attribute %q does not match subject %q", a.event.Type, a.origin.subject)), true
	}
	a.event.Delivery = envelope.Delivery{
		Stream: a.origin.stream, Sequence: a.origin.sequence, Subject: a.origin.subject,
		Group: l.cfg.Group, Subscription: l.sub.name,
		Stored: d.at, Attempt: a.number, Redelivered: d.nth > 1, Replays: a.origin.round,
		Header: d.msg.Header,
	}
	if d.src == l.main && d.nth > 1 && l.waits(d.seq) {
		return verdict{outcome: outcomeAck}, true
	}
	return verdict{}, false
}

func invalid(err error) verdict {
	return verdict{outcome: outcomeDead, reason: reasonInvalid, err: fmt.Errorf("%w: %w", errInvalid, err)}
}

// waits tells whether the retry of an event stands in the lane already: then
// only the acknowledgement of the original was lost.
func (l *loop) waits(seq uint64) bool {
	ctx, cancel := context.WithTimeout(l.base, requestTimeout)
	defer cancel()
	_, err := (*l.laneStream.Load()).GetLastMsgForSubject(ctx, l.ns.RetryWait(l.cfg.Group, l.sub.name, seq))
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		// Running it again is allowed; losing it is not.
		l.log.Warn("could not look up the retry of a redelivered event; running it", "sequence", seq, "error", err)
	}
	return err == nil
}

// requestTimeout bounds one request to the server.
const requestTimeout = 5 * time.Second

// run runs the handler under its deadline.
func (l *loop) run(a *attempt) error {
	limit := &deadline{base: l.base, at: time.Now().Add(l.sub.handlerTimeout)}
	defer limit.end()
	return invoke(envelope.ContextWithCause(limit, &a.event.Attributes), l.handler, a.event)
}

// invoke turns a panic into an error. It does not see runtime.Goexit; loop.process does.
func invoke(ctx context.Context, h HandlerFunc, e envelope.Raw) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return h(ctx, e)
}
