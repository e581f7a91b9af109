package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// ErrNoSchedule reports an id under which nothing is pending: it has fired, was
// cancelled, or never was.
var ErrNoSchedule = errors.New("no such schedule")

// Schedule is an event that is pending.
type Schedule struct {
	ID       string    `json:"id"`
	Type     string    `json:"type"`
	Key      string    `json:"key,omitempty"`
	Source   string    `json:"source"`
	EventID  string    `json:"event_id"`
	At       time.Time `json:"at,omitzero"`       // of At and In
	Cron     string    `json:"cron,omitempty"`    // of Cron, as the server has it
	Zone     string    `json:"zone,omitempty"`    // of Cron; empty is UTC
	Declared time.Time `json:"declared,omitzero"` // when it was stored
	Sequence uint64    `json:"sequence"`          // in SCHEDULED

	// Malformed says why the event could not be read, of a schedule that
	// somebody else made; then only ID, times and Sequence are set.
	Malformed string `json:"malformed,omitempty"`
}

// Schedules yields what is pending, in the order in which it was stored. It
// reads one at a time, so it holds no more than one, and sees what is stored or
// fires meanwhile or not. An error ends it; a missing stream is an empty list.
//
// It needs the right to read from SCHEDULED ($JS.API.STREAM.INFO and
// $JS.API.DIRECT.GET).
func (p *Publisher) Schedules(ctx context.Context) iter.Seq2[Schedule, error] {
	return func(yield func(Schedule, error) bool) {
		name := p.namespace().Stream(stream.ScheduledName)
		s, err := p.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return
		}
		if err != nil {
			yield(Schedule{}, fmt.Errorf("list schedules: stream %s: %w", name, err))
			return
		}
		all := p.namespace().Subject("scheduled.pending.>")
		for seq := uint64(1); ; seq++ {
			m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(all))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(Schedule{}, fmt.Errorf("list schedules: %w", err))
				return
			}
			seq = m.Sequence
			if !yield(readSchedule(p.namespace(), m), nil) {
				return
			}
		}
	}
}

func readSchedule(ns subject.Namespace, m *jetstream.RawStreamMsg) Schedule {
	s := Schedule{Declared: m.Time, Sequence: m.Sequence, Zone: m.Header.Get(headerScheduleZone)}
	token := strings.TrimPrefix(m.Subject, ns.Subject("scheduled.pending."))
	var err error
	if s.ID, err = subject.DecodeToken(token); err != nil {
		s.ID = token
	}
	pattern := m.Header.Get(headerSchedule)
	if at, ok := strings.CutPrefix(pattern, "@at "); ok {
		s.At, err = time.Parse(time.RFC3339Nano, at)
	} else {
		s.Cron = pattern
	}
	if err != nil {
		s.Malformed = err.Error()
		return s
	}
	e, err := envelope.Unmarshal(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	if err != nil {
		s.Malformed = err.Error()
		return s
	}
	s.Type, s.Key, s.Source, s.EventID = e.Type, e.Key, e.Source, e.ID
	return s
}

// CancelSchedule removes what is pending under an id. What has fired already
// stands. The error matches ErrNoSchedule if nothing is pending.
//
// It needs, beside the rights of Schedules, $JS.API.STREAM.PURGE of SCHEDULED.
func (p *Publisher) CancelSchedule(ctx context.Context, id string) error {
	if err := p.cancelSchedule(ctx, id); err != nil {
		return fmt.Errorf("cancel schedule %q: %w", id, err)
	}
	return nil
}

func (p *Publisher) cancelSchedule(ctx context.Context, id string) error {
	if id == "" || len(id) > MaxScheduleID {
		return ErrNoSchedule
	}
	name := p.namespace().Stream(stream.ScheduledName)
	s, err := p.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: %w", ErrNoSchedule, err)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	subj := p.namespace().ScheduledPending(id)
	_, err = s.GetLastMsgForSubject(ctx, subj)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return ErrNoSchedule
	}
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(subj))
}
