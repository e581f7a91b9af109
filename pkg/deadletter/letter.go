package deadletter

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// Letter is one dead letter: an event, and why a subscription gave it up.
type Letter struct {
	Sequence uint64    `json:"sequence"` // in DEAD
	Stored   time.Time `json:"stored"`   // in DEAD
	Subject  string    `json:"subject"`  // in DEAD

	Group        string `json:"group"`
	Subscription string `json:"subscription"`
	Durable      string `json:"durable,omitempty"`
	Instance     string `json:"instance,omitempty"` // that ran it last

	// Type is the event's by its subject, TypeInvalid if it could not be read. Key,
	// EventID and Source are those of its headers: empty for an event in
	// structured mode, whose attributes stand in its body.
	Type    string `json:"type"`
	Key     string `json:"key,omitempty"`
	EventID string `json:"event_id,omitempty"`
	Source  string `json:"source,omitempty"`

	Reason   string    `json:"reason"` // Reason…
	Error    string    `json:"error,omitempty"`
	Stack    string    `json:"stack,omitempty"` // of a panic or a hung handler
	Attempts int       `json:"attempts"`        // runs of the handler in this round
	Round    int       `json:"round"`           // replays before this death
	First    time.Time `json:"first,omitzero"`  // failure, of all rounds
	Last     time.Time `json:"last,omitzero"`
	History  []Death   `json:"history,omitempty"` // earlier ones, the last four at most

	Origin   Origin `json:"origin"`
	Omitted  string `json:"omitted,omitempty"`  // "body" or "body,headers": too large to copy
	Redacted string `json:"redacted,omitempty"` // "body", "headers" or "body,headers": by consume.Config.Redact

	Size   int         `json:"size"` // of the body as stored, in bytes
	Header nats.Header `json:"-"`    // as stored
	Data   []byte      `json:"-"`    // of the event, byte for byte; nil in a List
}

// Death is an earlier death of an event that was replayed.
type Death struct {
	Round    int       `json:"round"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error,omitempty"` // its beginning
}

// Origin says where an event stands in its stream. A sequence means something
// only with the creation of its stream.
type Origin struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	Created  int64  `json:"created_ns"` // since 1970
	Subject  string `json:"subject"`
}

// Whole tells whether a letter holds its event, byte for byte.
func (l *Letter) Whole() bool { return l.Omitted == "" && l.Redacted == "" }

// Event reads the event as it stands in a letter. It fails for one that died
// because it is no event (ReasonInvalid), and where headers are missing.
func (l *Letter) Event() (envelope.Raw, error) {
	e, err := envelope.Unmarshal(&nats.Msg{Subject: l.Origin.Subject, Header: l.Header, Data: l.Data})
	if err != nil {
		return envelope.Raw{}, fmt.Errorf("dead letter %d: %w", l.Sequence, err)
	}
	return e, nil
}

// Parse reads a message of the stream DEAD, for those who follow that stream by
// themselves. The error matches ErrLetter.
func Parse(m *jetstream.RawStreamMsg) (*Letter, error) {
	h := header{values: m.Header}
	l := &Letter{
		Sequence: m.Sequence, Stored: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data, Size: len(m.Data),
		Group:        h.name(consume.HeaderDeadGroup),
		Subscription: h.name(consume.HeaderDeadSubscription),
		Durable:      h.text(consume.HeaderDeadDurable, false),
		Instance:     h.text(consume.HeaderDeadInstance, false),
		Key:          attribute(m.Header, "partitionkey"),
		EventID:      attribute(m.Header, "id"),
		Source:       attribute(m.Header, "source"),
		Reason:       h.text(consume.HeaderDeadReason, true),
		Error:        unescaped(m.Header.Get(consume.HeaderDeadError)),
		Stack:        unescaped(m.Header.Get(consume.HeaderDeadStack)),
		Attempts:     int(h.number(consume.HeaderDeadAttempts, 31)), //nolint:gosec // of 31 bits
		Round:        int(h.number(consume.HeaderDeadRound, 31)),    //nolint:gosec // of 31 bits
		First:        h.time(consume.HeaderDeadFirst),
		Last:         h.time(consume.HeaderDeadLast),
		History:      deaths(m.Header[consume.HeaderDeadHistory]),
		Omitted:      h.text(consume.HeaderDeadOmitted, false),
		Redacted:     h.text(consume.HeaderDeadRedacted, false),
		Origin: Origin{
			Stream:   h.text(consume.HeaderDeadStream, true),
			Sequence: h.number(consume.HeaderDeadSequence, 63),
			Created:  int64(h.number(consume.HeaderDeadCreated, 63)), //nolint:gosec // of 63 bits
			Subject:  h.text(consume.HeaderDeadSubject, true),
		},
	}
	l.Type = typeOf(m.Subject, l.Group)
	if h.err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", m.Sequence, h.err)
	}
	return l, nil
}

// typeOf is the type by the subject, which a namespace may lead.
func typeOf(subj, group string) string {
	if at := strings.Index(subj, "dead."+group+"."); at >= 0 {
		if _, typ, _, err := subject.Namespace("").ParseDead(subj[at:]); err == nil {
			return typ
		}
	}
	return TypeInvalid
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

// name reads what becomes a part of subjects and streams.
func (h *header) name(header string) string {
	v := h.text(header, true)
	if err := subject.CheckName("value", v); err != nil && h.err == nil {
		h.fail(header, "is %.40q, which is no name", v)
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

// unescaped undoes the percent-encoding of free text; what breaks its rule, which
// is no reason to hide a letter, stays as it is.
func unescaped(v string) string {
	if text, ok := envelope.UnescapeHeader(v); ok {
		return text
	}
	return v
}

// attribute reads an attribute of an event in binary mode, whose name may be
// written in any case.
func attribute(h nats.Header, name string) string {
	const prefix = "ce-"
	if v, ok := h[prefix+name]; ok && len(v) > 0 {
		return unescaped(v[0])
	}
	for k, v := range h {
		if len(k) == len(prefix)+len(name) && len(v) > 0 && strings.EqualFold(k, prefix+name) {
			return unescaped(v[0])
		}
	}
	return ""
}

// deaths reads the history of a letter; a line that is none is passed over.
func deaths(lines []string) []Death {
	var out []Death
	for _, line := range lines {
		var d Death
		var at, text string
		n, _ := fmt.Sscanf(line, "%d %s %s %d %s", &d.Round, &at, &d.Reason, &d.Attempts, &text)
		t, err := time.Parse(time.RFC3339Nano, at)
		if n < 4 || err != nil {
			continue
		}
		d.At, d.Error = t, unescaped(text)
		out = append(out, d)
	}
	return out
}
