package deadletter

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// ErrLetter reports a message of the stream DEAD that is no dead letter.
var ErrLetter = errors.New("not a dead letter")

// Letter is one dead letter: an event, and why a subscription gave it up.
type Letter struct {
	Sequence uint64    `json:"sequence"` // in DEAD
	Stored   time.Time `json:"stored"`   // in DEAD
	Subject  string    `json:"subject"`  // in DEAD

	Group        string `json:"group"`
	Subscription string `json:"subscription"`
	Durable      string `json:"durable,omitempty"`
	Instance     string `json:"instance,omitempty"` // that ran it last

	Reason   string    `json:"reason"` // invalid, undecodable, exhausted, rejected
	Error    string    `json:"error,omitempty"`
	Stack    string    `json:"stack,omitempty"` // of a panic
	Attempts int       `json:"attempts"`        // runs of the handler in this round
	Round    int       `json:"round"`           // replays before this death
	First    time.Time `json:"first,omitzero"`  // failure
	Last     time.Time `json:"last,omitzero"`

	Origin  Origin `json:"origin"`
	Omitted string `json:"omitted,omitempty"` // "body" or "body,headers": too large to copy

	Header nats.Header `json:"-"` // as stored
	Data   []byte      `json:"-"` // of the event, byte for byte
}

// Origin says where an event stands in its stream. A sequence means something
// only with the creation of its stream.
type Origin struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	Created  int64  `json:"created_ns"` // since 1970
	Subject  string `json:"subject"`
}

// Event reads the event of a letter. It fails for one that died because it is
// no event (reason invalid), and where headers were omitted.
func (l *Letter) Event() (envelope.Raw, error) {
	return envelope.Unmarshal(&nats.Msg{Subject: l.Origin.Subject, Header: l.Header, Data: l.Data})
}

// Parse reads a message of the stream DEAD. The error matches ErrLetter.
func Parse(m *jetstream.RawStreamMsg) (*Letter, error) {
	h := header{values: m.Header}
	l := &Letter{
		Sequence: m.Sequence, Stored: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data,
		Group:        h.text(consume.HeaderDeadGroup, true),
		Subscription: h.text(consume.HeaderDeadSubscription, true),
		Durable:      h.text(consume.HeaderDeadDurable, false),
		Instance:     h.text(consume.HeaderDeadInstance, false),
		Reason:       h.text(consume.HeaderDeadReason, true),
		Error:        h.escaped(consume.HeaderDeadError),
		Stack:        h.escaped(consume.HeaderDeadStack),
		Attempts:     int(h.number(consume.HeaderDeadAttempts, 31)), //nolint:gosec // of 31 bits
		Round:        int(h.number(consume.HeaderDeadRound, 31)),    //nolint:gosec // of 31 bits
		First:        h.time(consume.HeaderDeadFirst),
		Last:         h.time(consume.HeaderDeadLast),
		Omitted:      h.text(consume.HeaderDeadOmitted, false),
		Origin: Origin{
			Stream:   h.text(consume.HeaderDeadStream, true),
			Sequence: h.number(consume.HeaderDeadSequence, 63),
			Created:  int64(h.number(consume.HeaderDeadCreated, 63)), //nolint:gosec // of 63 bits
			Subject:  h.text(consume.HeaderDeadSubject, true),
		},
	}
	if h.err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", m.Sequence, h.err)
	}
	return l, nil
}

// header reads headers and keeps the first error.
type header struct {
	values nats.Header
	err    error
}

func (h *header) fail(name, format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf("%w: header %s %s", ErrLetter, name, fmt.Sprintf(format, args...))
	}
}

func (h *header) text(name string, required bool) string {
	v := h.values.Get(name)
	if v == "" && required {
		h.fail(name, "is missing")
	}
	return v
}

// escaped undoes the percent-encoding of free text; what breaks its rule, which
// is no reason to hide a letter, stays as it is.
func (h *header) escaped(name string) string {
	v := h.values.Get(name)
	if text, ok := envelope.UnescapeHeader(v); ok {
		return text
	}
	return v
}

func (h *header) number(name string, bits int) uint64 {
	n, err := strconv.ParseUint(h.values.Get(name), 10, bits)
	if err != nil {
		h.fail(name, "is %.40q, which is no number", h.values.Get(name))
	}
	return n
}

func (h *header) time(name string) time.Time {
	v := h.values.Get(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		h.fail(name, "is %.40q, which is no time", v)
	}
	return t
}
