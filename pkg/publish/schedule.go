package publish

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// ErrSchedule reports a schedule that is not valid: no time, a cron expression
// or time zone that the server does not know, or a schedule where there can be
// none.
var ErrSchedule = errors.New("schedule is not valid")

// MaxScheduleID bounds the id of a schedule, in bytes.
const MaxScheduleID = 256

// At has the event published at t, by the server: it is stored in SCHEDULED now,
// for which it is acknowledged, and appears in EVENTS at t or up to half a
// second later, never earlier by the server's clock; at once if t has passed. It
// survives restarts of all programs and servers. See WithScheduleID for the
// schedule's id. Its time attribute is t unless WithTime says otherwise.
//
// A server that is killed in the moment in which it publishes may publish the
// event twice, with one id.
func At(t time.Time) Option {
	return func(s *settings) { s.schedule.at, s.schedule.kind = t, scheduledAt }
}

// In is At, d from now.
func In(d time.Duration) Option {
	return func(s *settings) { s.schedule.at, s.schedule.kind = time.Now().Add(d), scheduledAt }
}

// Cron has the event published again and again, until CancelSchedule. It needs
// WithScheduleID, and is for Publish, PublishRaw and PublishEvent only.
//
// The expression has the five fields of cron (minute, hour, day of month, month,
// day of week) or six, with seconds first; @yearly, @monthly, @weekly, @daily and
// @hourly stand for their like, and "@every 90s" counts from the declaration. The
// fields are those of the time zone, an IANA name such as "Europe/Berlin", which
// the server must know; "" is UTC, the only one for @every.
//
// Declaring is idempotent: however many instances declare the same, at each of
// their starts, there is one schedule, and Ack.Duplicate says that it stood. A
// declaration that differs in anything replaces the one that stands. Firings
// that fall into a time without a server are made up for by one.
//
// Each firing is an event of its own: its id is that of the declaration (by
// default the schedule's id), a dot, and the time of the next firing. It has no
// time attribute; envelope.Delivery tells when it was stored.
func Cron(expression, zone string) Option {
	return func(s *settings) {
		s.schedule.cron, s.schedule.zone, s.schedule.kind = expression, zone, scheduledCron
	}
}

// WithScheduleID names the schedule of At, In or Cron, in a namespace: what is
// scheduled later under the same id replaces it. Default for At and In: one made
// of the event's source and id, so that publishing the event again with another
// time moves it.
func WithScheduleID(id string) Option {
	return func(s *settings) { s.schedule.id = id }
}

type scheduleKind uint8

const (
	notScheduled scheduleKind = iota
	scheduledAt
	scheduledCron
)

// schedule is when an event is to be published.
type schedule struct {
	kind       scheduleKind
	id         string
	at         time.Time
	cron, zone string
}

// Headers of the server's schedules (ADR-51).
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerScheduleTTL    = "Nats-Schedule-TTL"
	headerScheduleZone   = "Nats-Schedule-Time-Zone"
)

// dueFor is how long what has come due stays in SCHEDULED, from which EVENTS
// sources it: as long as EVENTS keeps an event. It bounds SCHEDULED, and is far
// beyond any time in which EVENTS may be away.
const dueFor = stream.EventsMaxAge

// check says what is wrong with a schedule, before anything is filled in.
func (s *schedule) check() error {
	switch {
	case len(s.id) > MaxScheduleID:
		return fmt.Errorf("%w: its id has %d bytes, at most %d are allowed", ErrSchedule, len(s.id), MaxScheduleID)
	case s.kind == notScheduled && s.id != "":
		return fmt.Errorf("%w: an id without At, In or Cron", ErrSchedule)
	case s.kind == scheduledAt && (s.at.IsZero() || s.at.Year() > 9999):
		return fmt.Errorf("%w: the time %s cannot be written", ErrSchedule, s.at)
	case s.kind == scheduledCron && s.id == "":
		return fmt.Errorf("%w: Cron needs WithScheduleID, by which its declarations are one", ErrSchedule)
	case s.kind == scheduledCron && s.pattern() == "":
		return fmt.Errorf("%w: %q is no cron expression: give five fields, six with seconds first, or one as @daily or @every 90s", ErrSchedule, s.cron)
	}
	return nil
}

// pattern is what the server calls the schedule's time, "" for none.
func (s *schedule) pattern() string {
	if s.kind == scheduledAt {
		// The client's own option cuts to the second: up to a second early.
		return "@at " + s.at.UTC().Format(time.RFC3339Nano)
	}
	fields := strings.Fields(s.cron)
	switch {
	case len(fields) == 0:
		return ""
	case fields[0][0] == '@':
		if fields[0] == "@at" {
			return ""
		}
		return strings.Join(fields, " ")
	case len(fields) == 5:
		return "0 " + strings.Join(fields, " ")
	case len(fields) == 6:
		return strings.Join(fields, " ")
	}
	return ""
}

// fill gives what is to be published later the attributes that the time
// decides.
func (s *schedule) fill(a *envelope.Attributes) {
	switch s.kind {
	case scheduledAt:
		if a.Time.IsZero() {
			a.Time = s.at.UTC()
		}
	case scheduledCron:
		if a.ID == "" {
			a.ID = s.id
		}
	case notScheduled:
	}
}

// address turns the message of an event into that of a schedule for it.
func (p *Publisher) address(d *draft) error {
	s, a := &d.schedule, &d.raw.Attributes
	if p.target.Stream != p.namespace().Stream(stream.EventsName) {
		return fmt.Errorf("%w: nothing is scheduled into %s", ErrSchedule, p.target.Stream)
	}
	if s.id == "" {
		s.id = envelope.MessageID(a.Source, a.ID)
	}
	if s.kind == scheduledCron && len(a.ID)+len(firingMark)+len(time.RFC3339Nano) > envelope.MaxID {
		return fmt.Errorf("%w: the event's id leaves no room for the time of a firing", ErrSchedule)
	}
	h := d.msg.Header
	h[headerSchedule] = []string{s.pattern()}
	h[headerScheduleTarget] = []string{p.namespace().ScheduledDue(d.subject)}
	h[headerScheduleTTL] = []string{strconv.Itoa(int(dueFor/time.Second)) + "s"}
	if s.zone != "" {
		h[headerScheduleZone] = []string{s.zone}
	}
	d.subject = p.namespace().ScheduledPending(s.id)
	d.msg.Subject = d.subject
	return nil
}

const firingMark = "."

func (p *Publisher) namespace() subject.Namespace { return subject.Namespace(p.cfg.Namespace) }

// messageID identifies what is stored: an event, or an event at a time, since
// another time is no duplicate of the first.
func (d *draft) messageID() string {
	a := &d.raw.Attributes
	if d.schedule.kind == scheduledAt {
		return envelope.MessageID(a.Source, a.ID+" "+d.schedule.pattern())
	}
	return envelope.MessageID(a.Source, a.ID)
}

// sameHeader tells whether a stored schedule has the headers of one that would
// be declared. Headers of the server's own (of a rollup, of the answer to a
// read) are no part of it.
func sameHeader(have, want map[string][]string) bool {
	n := 0
	for name, values := range have {
		if strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, headerSchedule) {
			continue
		}
		if !slices.Equal(values, want[name]) {
			return false
		}
		n++
	}
	return n == len(want)
}
