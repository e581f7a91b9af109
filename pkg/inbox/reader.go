package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	readBatch     = 512              // messages asked for at once
	readBytes     = 1 << 20          // and bytes, unless one message may be larger
	readExpires   = 30 * time.Second // of one request
	readHeartbeat = 2 * time.Second  // sign of life of the server while a request waits
	readIdle      = time.Minute      // after which the server drops a reader that is gone
)

// mail is one message of the mailbox.
type mail struct {
	msg *nats.Msg
	seq uint64
	at  time.Time // when it was stored
}

// reader reads the messages of one subject filter in order, from a sequence
// on. It is a consumer of its own, in the server's memory, without
// acknowledgements: what it has delivered is known by its count, and whatever
// goes wrong ends in an error, after which another reader begins where the
// caller is.
type reader struct {
	nc     *nats.Conn
	lost   <-chan struct{} // closed with the connection that it was made by
	stream string
	name   string
	ask    string // subject of requests
	inbox  string
	sub    *nats.Subscription
	ch     chan *nats.Msg
	bytes  int64

	pending   uint64 // messages that were there when the reader was made
	delivered uint64 // count of the last message, by the consumer
	waiting   int    // messages asked for and not received
	timer     *time.Timer
}

var (
	errReaderGap    = errors.New("messages were lost on the way")
	errReaderSilent = errors.New("no sign of life from the server")
)

func newReader(ctx context.Context, s server, stream string, from uint64, filters ...string) (*reader, error) {
	var lost <-chan struct{}
	if s.link != nil {
		lost = s.link.present().Done()
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := s.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		FilterSubjects: filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
		AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: readIdle,
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	nc := s.nc
	r := &reader{
		nc: nc, lost: lost, stream: stream, name: c.CachedInfo().Name, inbox: nc.NewInbox(),
		// Room for all that may be under way, and for statuses.
		ch:    make(chan *nats.Msg, 2*readBatch+64),
		bytes: max(readBytes, nc.MaxPayload()+64<<10), pending: c.CachedInfo().NumPending,
	}
	r.ask = s.api + "CONSUMER.MSG.NEXT." + stream + "." + r.name
	if r.sub, err = nc.ChanSubscribe(r.inbox, r.ch); err != nil {
		return nil, fmt.Errorf("read %s: subscribe: %w", stream, err)
	}
	r.timer = time.NewTimer(2 * readHeartbeat)
	return r, nil
}

// close ends the reader; the server drops its consumer at once, or later if it
// cannot be told.
func (r *reader) close() {
	r.timer.Stop()
	_ = r.sub.Unsubscribe() // an error says that it has ended already
	_ = r.nc.Publish(strings.Replace(r.ask, "CONSUMER.MSG.NEXT.", "CONSUMER.DELETE.", 1), nil)
}

// take waits for the first message and returns it with those at hand, at most
// most. It returns none if stop is closed first.
func (r *reader) take(stop <-chan struct{}, into []mail, most int) ([]mail, error) {
	for len(into) == 0 {
		if err := r.request(); err != nil {
			return into, err
		}
		r.timer.Reset(2*readHeartbeat + time.Second)
		select {
		case m := <-r.ch:
			var err error
			if into, err = r.accept(m, into); err != nil {
				return into, err
			}
		case <-stop:
			return into, nil
		case <-r.lost:
			return into, nats.ErrDisconnected
		case <-r.timer.C:
			return into, errReaderSilent
		}
	}
	for len(into) < most {
		select {
		case m := <-r.ch:
			var err error
			if into, err = r.accept(m, into); err != nil {
				return into, err
			}
		default:
			return into, nil
		}
	}
	return into, nil
}

// request asks for more once half of what was asked for is here.
func (r *reader) request() error {
	if r.waiting > readBatch/2 {
		return nil
	}
	n := readBatch - r.waiting
	req := make([]byte, 0, 96)
	req = append(req, `{"batch":`...)
	req = strconv.AppendInt(req, int64(n), 10)
	req = append(req, `,"max_bytes":`...)
	req = strconv.AppendInt(req, r.bytes, 10)
	req = append(req, `,"expires":`...)
	req = strconv.AppendInt(req, int64(readExpires), 10)
	req = append(req, `,"idle_heartbeat":`...)
	req = strconv.AppendInt(req, int64(readHeartbeat), 10)
	req = append(req, '}')
	if err := r.nc.PublishRequest(r.ask, r.inbox, req); err != nil {
		return fmt.Errorf("read %s: ask: %w", r.stream, err)
	}
	r.waiting += n
	return nil
}

// accept sorts messages from statuses.
func (r *reader) accept(m *nats.Msg, into []mail) ([]mail, error) {
	if len(m.Data) == 0 && m.Header != nil {
		if status := m.Header.Get("Status"); status != "" {
			return into, r.status(status, m)
		}
	}
	seq, count, at, ok := parseDelivery(m.Reply)
	if !ok {
		return into, nil // somebody who knows our inbox sent this
	}
	if count != r.delivered+1 {
		return into, fmt.Errorf("read %s: %w", r.stream, errReaderGap)
	}
	r.delivered = count
	r.waiting = max(r.waiting-1, 0)
	return append(into, mail{msg: m, seq: seq, at: at}), nil
}

func (r *reader) status(code string, m *nats.Msg) error {
	switch code {
	case "100": // idle heartbeat
		return nil
	case "404", "408", "409":
		n, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		if err == nil && (code != "409" || strings.Contains(m.Header.Get("Description"), "MaxBytes") || strings.Contains(m.Header.Get("Description"), "Batch Completed")) {
			r.waiting = max(r.waiting-n, 0)
			return nil
		}
	}
	return fmt.Errorf("read %s: refused: %s %s", r.stream, code, m.Header.Get("Description"))
}

// parseDelivery reads the acknowledgement subject of a delivery:
// $JS.ACK.<stream>.<consumer>.<n>.<sequence>.<count>.<time>.<pending>, or the
// same with domain and account before the stream and a token at the end.
func parseDelivery(reply string) (seq, count uint64, at time.Time, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return 0, 0, at, false
	}
	dots := strings.Count(rest, ".")
	skip := 3 // stream, consumer, deliveries
	if dots >= 8 {
		skip = 5
	} else if dots != 6 {
		return 0, 0, at, false
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var fields [3]uint64
	for i := range fields {
		var field string
		field, rest, _ = strings.Cut(rest, ".")
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, 0, at, false
		}
		fields[i] = n
	}
	return fields[0], fields[1], time.Unix(0, int64(fields[2])), true //nolint:gosec // nanoseconds since 1970
}
