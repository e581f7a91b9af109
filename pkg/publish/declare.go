package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// Codes of the server that a schedule of a user can bring about.
const (
	codeWrongLastSequence jetstream.ErrorCode = 10071
	codeSchedulesDisabled jetstream.ErrorCode = 10188
	codeSchedulePattern   jetstream.ErrorCode = 10189
	codeScheduleTarget    jetstream.ErrorCode = 10190
	codeScheduleZone      jetstream.ErrorCode = 10223
)

// declare makes a repeated schedule stand: it looks, and stores if what stands
// is another one, by compare-and-set, so that of many instances that declare the
// same at once one stores. A schedule that stands is left alone: storing it anew
// would begin its time anew, and could skip a firing.
func (p *Publisher) declare(ctx context.Context, d *draft) (Ack, error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	kind, before := ErrNotSent, p.nc.LastError()
	for n := int32(0); ; n++ {
		ack, sent, err := p.declareOnce(ctx, d)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return ack, nil
		case errors.As(err, &api) && api.ErrorCode == codeWrongLastSequence:
			continue // another instance was faster: look again
		case errors.As(err, &api) && sent:
			kind = ErrRejected
		case sent:
			kind = ErrUnknown
		}
		if violation := p.nc.LastError(); sent && violation != before && errors.Is(violation, nats.ErrPermissionViolation) && strings.Contains(violation.Error(), `"`+d.subject+`"`) { //nolint:errorlint // identity tells a new one
			return Ack{}, d.failed(ErrRejected, fmt.Errorf("%w: %w", ErrPermission, violation))
		}
		if !temporary(err) || ctx.Err() != nil {
			return Ack{}, d.failed(kind, scheduleError(err))
		}
		pause := time.NewTimer(backoff(n))
		select {
		case <-pause.C:
		case <-p.closing:
			pause.Stop()
			return Ack{}, d.failed(kind, ErrClosed)
		case <-ctx.Done():
			pause.Stop()
			return Ack{}, d.failed(kind, fmt.Errorf("%w: %w", ctxErr(ctx), err))
		}
	}
}

// declareOnce also says whether it has sent anything that may have been stored.
func (p *Publisher) declareOnce(ctx context.Context, d *draft) (ack Ack, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AckTimeout)
	defer cancel()
	ack = Ack{Stream: p.namespace().Stream(stream.ScheduledName), ID: d.raw.ID, Schedule: d.schedule.id}
	scheduled, err := p.js.Stream(ctx, ack.Stream)
	if err != nil {
		return ack, false, fmt.Errorf("stream %s: %w", ack.Stream, err)
	}
	have, err := scheduled.GetLastMsgForSubject(ctx, d.subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return ack, false, fmt.Errorf("look up the schedule: %w", err)
	case bytes.Equal(have.Data, d.msg.Data) && sameHeader(have.Header, d.msg.Header):
		ack.Sequence, ack.Duplicate = have.Sequence, true
		return ack, false, nil
	default:
		ack.Sequence = have.Sequence
	}
	m := &nats.Msg{Subject: d.subject, Header: cloneHeader(d.msg.Header), Data: d.msg.Data}
	stored, err := p.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(ack.Sequence))
	if err != nil {
		return ack, true, err
	}
	ack.Sequence = stored.Sequence
	return ack, true, nil
}

func cloneHeader(h nats.Header) nats.Header {
	c := make(nats.Header, len(h)+1)
	for k, v := range h {
		c[k] = v
	}
	return c
}

func (d *draft) failed(kind, err error) error {
	return &Error{Op: opPublish.String(), Subject: d.subject, ID: d.raw.ID, Kind: kind, Err: err}
}

// scheduleError makes the server's refusals of a schedule match ErrSchedule.
func scheduleError(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeSchedulePattern, codeScheduleTarget, codeScheduleZone, codeSchedulesDisabled:
			return fmt.Errorf("%w: %w", ErrSchedule, err)
		default:
		}
	}
	return stream.Full(err)
}
