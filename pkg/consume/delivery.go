package consume

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// delivery is one event, or retry, on its way through this process: from its
// receipt to its settlement.
type delivery struct {
	msg  *nats.Msg
	src  *source
	seq  uint64 // in the stream of its durable
	nth  uint64 // how often the server has delivered it
	at   time.Time
	size int

	turn    turn
	mates   []*delivery // that run in one batch with it; nil if it runs alone
	marked  bool        // it is suspect, and a mark of this run was written
	epoch   int64       // of its source
	created int64       // of EVENTS when it was received

	attempt attempt // filled by its worker; here so that it is one allocation

	// Guarded by loop.mu.
	extended time.Time // when the server last heard that we work on it
	worker   string    // goroutine that runs it; empty while it waits for one
	// settled tells that its fate is decided: by its worker, or over its
	// worker's head when that hangs. Whoever sets it settles; nobody else may.
	settled bool

	prev, next *delivery
}

// suspect tells whether d was delivered so often that it may be what ends its
// processes.
func (d *delivery) suspect() bool { return d.nth > suspectAfter }

// lead is the delivery that holds the turn of all that run together with d.
func (d *delivery) lead() *delivery {
	if d.mates == nil {
		return d
	}
	return d.mates[0]
}

// together is d and what runs in one batch with it.
func (d *delivery) together() []*delivery {
	if d.mates == nil {
		return []*delivery{d}
	}
	return d.mates
}

// eventID names the event for people.
func (d *delivery) eventID() string {
	if id := d.msg.Header.Get("ce-id"); id != "" {
		return id
	}
	return d.src.durable.stream + ":" + strconv.FormatUint(d.seq, 10)
}

// list is a doubly linked list of unsettled deliveries, that whose deadline was
// extended longest ago first: the keeper looks only at its head.
type list struct {
	head, tail *delivery
	n          int
	bytes      int
}

func (l *list) push(d *delivery) {
	d.prev, d.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = d
	} else {
		l.head = d
	}
	l.tail = d
	l.n++
	l.bytes += d.size
}

func (l *list) remove(d *delivery) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		l.head = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		l.tail = d.prev
	}
	d.prev, d.next = nil, nil
	l.n--
	l.bytes -= d.size
}

var errReply = errors.New("not an acknowledgement subject")

// parseReply reads what the server tells of a delivery in its reply subject:
//
//	$JS.ACK.<stream>.<durable>.<delivered>.<stream seq>.<durable seq>.<time>.<pending>
//
// or, with domain and account hash, two tokens more behind $JS.ACK and
// possibly some at the end (nats-architecture-and-design ADR-15).
func parseReply(reply string) (nth, seq uint64, stored time.Time, err error) {
	const prefix = "$JS.ACK."
	if !strings.HasPrefix(reply, prefix) {
		return 0, 0, time.Time{}, errReply
	}
	var field [16]string
	n := 0
	for tok := range strings.SplitSeq(reply[len(prefix):], ".") {
		if n < len(field) {
			field[n] = tok
		}
		n++
	}
	at := 0
	if n >= 9 {
		at = 2
	} else if n != 7 {
		return 0, 0, time.Time{}, errReply
	}
	nth, ok1 := digits(field[at+2])
	seq, ok2 := digits(field[at+3])
	ns, ok3 := digits(field[at+5])
	if !ok1 || !ok2 || !ok3 {
		return 0, 0, time.Time{}, errReply
	}
	return nth, seq, time.Unix(0, int64(ns)), nil //nolint:gosec // nanoseconds of the server, below 2^63 until 2262
}

func digits(s string) (uint64, bool) {
	if s == "" || len(s) > 19 { // 19 digits fit a uint64
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, true
}
