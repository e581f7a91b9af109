package consume

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Pull requests live for pullExpires; while one waits the server sends a sign
// of life every pullHeartbeat, and two missed ones mean that it is lost.
const (
	pullExpires   = 30 * time.Second
	pullHeartbeat = 5 * time.Second
)

// source pulls from one durable on behalf of a loop. It speaks the pull
// protocol itself (ADR-13, ADR-37) instead of using jetstream.Consume, because
// the loop must see each event on receipt to extend its deadline, must bound
// what is out by its own workers' pace, and must give back what it has not begun
// (docs/design/pull.md).
//
// All fields below loop are guarded by loop.mu.
type source struct {
	loop    *loop
	durable *durable
	next    string // subject of pull requests

	sub     *nats.Subscription
	inbox   string
	held    int       // events received and not yet settled
	waiting int       // events asked for and not yet received
	asked   time.Time // when last asked
	heard   time.Time // when the server last gave a sign of life
	silent  bool      // signs of life are missing: the durable is being looked up
	healing bool      // the durable is gone and is being made again
	highest uint64    // greatest sequence received
	redone  uint64    // up to here a durable that was made again may repeat

	// epoch counts the incarnations of the durable; what is said of a delivery
	// of an earlier one is not sent.
	epoch   atomic.Int64
	notTill time.Time // no request before: the last one was refused
}

func (s *source) start() error {
	nc := s.loop.js.Conn()
	s.inbox = nc.NewInbox()
	sub, err := nc.Subscribe(s.inbox, s.receive)
	if err != nil {
		return fmt.Errorf("subscribe to pulls: %w", err)
	}
	// The loop bounds what it asks for; the client's own limits would drop
	// silently.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("subscribe to pulls: %w", err)
	}
	s.sub = sub
	return nil
}

// receive is the subscription's callback: it only sorts and returns.
func (s *source) receive(m *nats.Msg) {
	if len(m.Data) == 0 && m.Reply == "" {
		if status := m.Header.Get("Status"); status != "" {
			s.status(status, m)
			return
		}
	}
	nth, seq, at, err := parseReply(m.Reply)
	if err != nil {
		// Somebody who knows our inbox sent this; it is no delivery, so there
		// is nothing to lose or to settle.
		s.loop.log.Warn("message without an acknowledgement subject ignored", "reply", m.Reply)
		return
	}
	d := &delivery{msg: m, src: s, seq: seq, nth: nth, at: at, size: m.Size(), epoch: s.epoch.Load(), created: s.loop.created.Load()}
	l := s.loop
	now := time.Now()
	l.mu.Lock()
	s.heard, s.silent = now, false
	s.waiting = max(s.waiting-1, 0)
	if l.draining {
		l.mu.Unlock()
		l.handBack(d)
		return
	}
	if s.healing {
		l.mu.Unlock() // of the durable that is gone
		return
	}
	if seq <= s.redone && nth == 1 {
		l.counters.repeated.Add(1)
	}
	s.highest = max(s.highest, seq)
	d.extended = now
	l.enqueue(d)
	l.mu.Unlock()
}

// status handles the server's messages about pull requests.
func (s *source) status(code string, m *nats.Msg) {
	l := s.loop
	text := m.Header.Get("Description")
	l.mu.Lock()
	defer l.mu.Unlock()
	s.heard, s.silent = time.Now(), false
	switch code {
	case "100": // idle heartbeat
		return
	case "404", "408": // nothing there; request timed out
		s.release(m)
	case "503": // no responders: no durable, no leader, or no JetStream
		s.waiting = 0
		s.suspect(fmt.Errorf("pull: %w", nats.ErrNoResponders))
	case "409":
		s.conflict(text, m)
	default:
		l.fail(fmt.Errorf("pull refused: %s %s", code, text))
	}
	s.pull()
}

func (s *source) conflict(text string, m *nats.Msg) {
	has := func(part string) bool { return strings.Contains(strings.ToLower(text), part) }
	switch {
	case has("consumer deleted"):
		s.lose(ErrDurableGone)
	case has("exceeds maxbytes"), has("batch completed"):
		s.release(m)
	case has("leadership change"), has("server shutdown"):
		// All requests of ours died with the leader.
		s.waiting = 0
		s.notTill = time.Now().Add(pullRetry)
	case has("maxwaiting"):
		s.release(m)
		s.notTill = time.Now().Add(pullRetry)
		s.loop.log.Warn("too many pull requests wait on the durable: fewer instances, or a durable with a greater MaxWaiting", "durable", s.durable.config.Durable)
	default:
		s.loop.fail(fmt.Errorf("pull refused: 409 %s", text))
	}
}

// release takes back what a finished request still waited for.
func (s *source) release(m *nats.Msg) {
	n, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil {
		// Without the count nothing is known but that a request has ended;
		// with one request out most of the time, all is a fair guess, and a
		// wrong one costs a request too many.
		n = s.waiting
	}
	s.waiting = max(s.waiting-n, 0)
}

// pullRetry is the pause after a refused request.
const pullRetry = 100 * time.Millisecond

// pull asks for as many events as there is room for, once half of the room is
// free: fewer, larger requests. It is called with loop.mu held whenever room
// appears; publishing under the lock is a write into a buffer.
func (s *source) pull() {
	l := s.loop
	if l.draining || s.healing || s.sub == nil {
		return
	}
	now := time.Now()
	if now.Before(s.notTill) || now.Before(l.fuse.blown) || !l.js.Conn().IsConnected() {
		return // the keeper calls again
	}
	target := l.limit * l.pace.batch // of the lane: retries are few and never urgent
	if s == l.main && !l.fuse.trial {
		target = l.pace.prefetch
	}
	room := target - s.held - s.waiting
	if room <= 0 || s.waiting > 0 && room < (target+1)/2 {
		return
	}
	bytes := l.maxBuffer - l.unsettled.bytes
	if bytes <= 0 {
		return
	}
	// The server never sends part of an event, so a request must have room
	// for the largest.
	bytes = max(bytes, int(l.js.Conn().MaxPayload())+maxHeaderBytes)
	req := make([]byte, 0, 96)
	req = append(req, `{"batch":`...)
	req = strconv.AppendInt(req, int64(room), 10)
	req = append(req, `,"max_bytes":`...)
	req = strconv.AppendInt(req, int64(bytes), 10)
	req = append(req, `,"expires":`...)
	req = strconv.AppendInt(req, int64(pullExpires), 10)
	req = append(req, `,"idle_heartbeat":`...)
	req = strconv.AppendInt(req, int64(pullHeartbeat), 10)
	req = append(req, '}')
	if err := l.js.Conn().PublishRequest(s.next, s.inbox, req); err != nil {
		s.notTill = now.Add(pullRetry)
		return
	}
	if s.waiting == 0 {
		s.heard = now
	}
	s.waiting += room
	s.asked = now
}

// maxHeaderBytes is the server's limit of a header block.
const maxHeaderBytes = 65_535

// check is the keeper's look at the source, with loop.mu held: requests that
// expired unnoticed, and silence.
func (s *source) check(now time.Time) {
	switch {
	case s.waiting > 0 && now.Sub(s.heard) > 2*pullHeartbeat+time.Second:
		s.waiting = 0
		s.suspect(errSilent)
	case s.waiting > 0 && now.Sub(s.asked) > pullExpires+2*pullHeartbeat:
		s.waiting = 0
	}
	s.pull()
}

var errSilent = errors.New("no sign of life from the durable")

// reconnected forgets the requests of the connection before, with loop.mu held;
// a look-up of the durable among them, whose answer may be lost and must not
// keep a new one waiting until it times out.
func (s *source) reconnected() {
	s.waiting, s.silent = 0, false
	s.notTill = time.Time{}
	s.pull()
}

// suspect has the durable looked up after a sign that it may be gone, and lets
// the loop fail if it is. Anything else (a leader election, a server that
// restarts) passes by itself: pulling goes on.
func (s *source) suspect(cause error) {
	s.notTill = time.Now().Add(pullRetry)
	if s.silent {
		return
	}
	s.silent = true
	l := s.loop
	l.background.Go(func() {
		ctx, cancel := context.WithTimeout(l.base, pullHeartbeat)
		defer cancel()
		_, err := l.js.Consumer(ctx, s.durable.stream, s.durable.config.Durable)
		l.mu.Lock()
		defer l.mu.Unlock()
		s.silent = false
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			s.lose(fmt.Errorf("%w: %w", ErrDurableGone, err))
			return
		}
		l.log.Warn("pull got no answer; trying on", "cause", cause, "lookup", err)
		s.notTill = time.Now().Add(pullRetry)
		s.pull()
	})
}
