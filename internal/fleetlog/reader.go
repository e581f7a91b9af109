package fleetlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Query says what of the fleet log to read.
type Query struct {
	Namespace subject.Namespace
	// Since is where to begin. Default: at the oldest record.
	Since time.Time
	// Follow goes on with what is stored later, until the context ends.
	Follow bool
	// Kind, Service and Instance narrow it to these.
	Kind              Kind
	Service, Instance string
}

func (q Query) filter() string {
	kind, service, instance := "*", "*", "*"
	if q.Kind != "" {
		kind = string(q.Kind)
	}
	if q.Service != "" {
		service = subject.Key(q.Service, subject.MaxNameLen)
	}
	if q.Instance != "" {
		instance = subject.Key(q.Instance, subject.MaxNameLen)
	}
	return Subject(q.Namespace, kind, service, instance)
}

// MalformedError is the error that stands for a message which is no record. [Read]
// goes on after it.
type MalformedError struct {
	Sequence uint64
	Err      error
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("message %d of the fleet log is malformed: %v", e.Sequence, e.Err)
}

func (e *MalformedError) Unwrap() error { return e.Err }

// forgetAfter is when the server removes the consumer of a reader that is gone.
const forgetAfter = 10 * time.Second

// Read yields records as they were stored. It ends with the last one there is,
// or with ctx if it follows. A fleet log that does not exist, because nothing
// was ever written, is an error that matches jetstream.ErrStreamNotFound. It
// acknowledges nothing, and rides out a lost connection.
func Read(ctx context.Context, js jetstream.JetStream, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		cfg := jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{q.filter()}, InactiveThreshold: forgetAfter,
		}
		if !q.Since.IsZero() {
			cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &q.Since
		}
		name := q.Namespace.Stream(stream.FleetName)
		cons, err := js.OrderedConsumer(ctx, name, cfg)
		if err != nil {
			yield(Record{}, fmt.Errorf("read %s: %w", name, err))
			return
		}
		left := cons.CachedInfo().NumPending
		if left == 0 && !q.Follow {
			return
		}
		msgs, err := cons.Messages()
		if err != nil {
			yield(Record{}, fmt.Errorf("read %s: %w", name, err))
			return
		}
		defer msgs.Stop()
		for {
			m, err := msgs.Next(jetstream.NextContext(ctx))
			if err != nil {
				if ctx.Err() == nil {
					yield(Record{}, fmt.Errorf("read %s: %w", name, err))
				}
				return
			}
			pending, ok := give(m, yield)
			if !ok || !q.Follow && pending == 0 {
				return
			}
		}
	}
}

// give hands one message out, and says how many are left.
func give(m jetstream.Msg, yield func(Record, error) bool) (pending uint64, ok bool) {
	meta, err := m.Metadata()
	if err != nil {
		return 0, yield(Record{}, errors.Join(errors.New("read the fleet log"), err))
	}
	r, err := parse(&nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	if err != nil {
		err = &MalformedError{Sequence: meta.Sequence.Stream, Err: err}
	}
	return meta.NumPending, yield(r, err)
}
