package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/agner-go/agner/pkg/envelope"
)

const headerMsgID = "Nats-Msg-Id"

// op is what a publish is called in its error.
type op uint8

const (
	opPublish op = iota
	opBatch
)

func (o op) String() string {
	if o == opBatch {
		return "publish batch"
	}
	return "publish"
}

// draft is an event on its way to being a message.
type draft struct {
	raw      envelope.Raw
	subject  string
	msg      *nats.Msg
	schedule schedule
}

// fromPayload makes the event of a payload.
func (p *Publisher) fromPayload(payload envelope.Payload, opts []Option) (draft, error) {
	var d draft
	typ, key, err := describe(payload)
	if err != nil {
		return d, err
	}
	d.raw.Type, d.raw.Key, d.raw.DataContentType = typ, key, p.cfg.ContentType
	d.apply(opts)
	codec := p.codec
	if d.raw.DataContentType != p.cfg.ContentType {
		if codec, err = p.cfg.Codecs.For(d.raw.DataContentType); err != nil {
			return d, fmt.Errorf("encode %T: %w", payload, err)
		}
	}
	if d.raw.Data, err = codec.Encode(payload); err != nil {
		return d, fmt.Errorf("encode %T: %w", payload, &envelope.DataError{
			ContentType: d.raw.DataContentType, GoType: fmt.Sprintf("%T", payload), Err: err,
		})
	}
	return d, nil
}

// describe asks a payload for its type and key. A nil pointer whose methods
// have value receivers panics there, which is an error here.
func describe(payload envelope.Payload) (typ, key string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("payload %T panicked when asked for its type and key (%v): %w", payload, r, envelope.ErrPayload)
		}
	}()
	if payload == nil {
		return "", "", fmt.Errorf("payload is nil: %w", envelope.ErrPayload)
	}
	return payload.EventType(), envelope.KeyOf(payload), nil
}

func fromRaw(e *envelope.Raw, opts []Option) draft {
	d := draft{raw: envelope.Raw{Attributes: e.Attributes, Data: e.Data}}
	d.apply(opts)
	return d
}

func fromSDK(e event.Event, opts []Option) (draft, error) {
	if e.Context != nil && e.ID() == "" {
		e = e.Clone() // SetID would write into the caller's event
		e.SetID(nuid.Next())
	}
	raw, err := envelope.FromSDK(e)
	if err != nil {
		return draft{}, err
	}
	return fromRaw(&raw, opts), nil
}

// apply goes by a copy, so that an event without options need not be on the
// heap.
func (d *draft) apply(opts []Option) {
	if len(opts) == 0 {
		return
	}
	s := settings{attributes: d.raw.Attributes}
	for _, opt := range opts {
		opt(&s)
	}
	d.raw.Attributes, d.schedule = s.attributes, s.schedule
}

// complete fills in what the event leaves open, and makes the message.
func (p *Publisher) complete(ctx context.Context, d *draft, now time.Time) error {
	a := &d.raw.Attributes
	if err := d.schedule.check(); err != nil {
		return err
	}
	d.schedule.fill(a)
	if a.ID == "" {
		a.ID = nuid.Next()
	}
	if a.Source == "" {
		a.Source = p.cfg.Source
	}
	// What is declared again must be the same again.
	declared := d.schedule.kind == scheduledCron
	if a.Time.IsZero() && !declared {
		a.Time = now.UTC()
	}
	if correlation, causation := envelope.Cause(ctx); !declared {
		if a.CorrelationID == "" {
			a.CorrelationID = correlation
		}
		if a.CausationID == "" {
			a.CausationID = causation
		}
	}
	var err error
	if d.msg, err = envelope.Marshal(&d.raw); err != nil {
		return err
	}
	if d.subject, err = p.target.Subject(a.Type, a.Key); err != nil {
		return err
	}
	d.msg.Subject = d.subject
	if d.schedule.kind != notScheduled {
		if err := p.address(d); err != nil {
			return err
		}
	}
	if p.propagate != nil && !declared {
		p.propagate(ctx, d.msg.Header)
	}
	return p.checkSize(d.msg)
}

// checkSize refuses what the server, or a dead letter of it, would not take:
// the server drops the connection's message beyond max_payload, and JetStream
// refuses a header block beyond 64 KiB, which envelope.Marshal keeps below.
func (p *Publisher) checkSize(m *nats.Msg) error {
	limit := p.nc.MaxPayload()
	if limit <= 0 {
		return nil // not connected yet: the server's limit is not known
	}
	limit -= min(envelope.HeaderHeadroom, limit/8)
	if int64(len(m.Data)) <= limit-envelope.MaxHeader {
		return nil
	}
	if size := int64(len(m.Data)) + int64(envelope.HeaderSize(m.Header)); size > limit {
		return fmt.Errorf("%w: event has %d bytes with its headers, at most %d are allowed "+
			"(max_payload less room for the headers of a dead letter): store large data elsewhere and publish a reference", ErrTooLarge, size, limit)
	}
	return nil
}
