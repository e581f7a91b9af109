package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/agner-go/agner/pkg/envelope"
)

// MaxBatch is the greatest number of events in one batch: the server's default
// limit (max_batch_size, ADR-50).
const MaxBatch = 1000

// Headers of the server's atomic batch (ADR-50).
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
	headerRollup        = "Nats-Rollup"
)

// batch is what a batch's record holds beyond that of a single event.
type batch struct {
	msgs  []*nats.Msg
	ids   []string
	links []link // one for each of its keys
}

// PublishBatch publishes all payloads or none, as one atomic batch of the
// server: they stand in the stream next to each other, in order, and no reader
// sees some of them. It returns an Ack for each payload, in their order.
//
// Limits are said before anything is sent, with ErrTooLarge: at most MaxBatch
// events, each of the size that Publish takes. The stream must allow atomic
// publishing, as EVENTS does. Options hold for each payload; WithID("x") gives
// the ids "x.1", "x.2" and so on, and so makes it safe to publish the same batch
// again after ErrUnknown.
//
// The whole batch has one result. It is ErrRejected, with ErrPartlyStored as
// cause, if the stream holds some of the events already, by their ids; if it
// holds all, the batch was published before, and the error is nil.
func (p *Publisher) PublishBatch(ctx context.Context, payloads []envelope.Payload, opts ...Option) ([]Ack, error) {
	if len(payloads) == 0 {
		return nil, nil
	}
	if len(payloads) == 1 {
		ack, err := p.Publish(ctx, payloads[0], opts...)
		if err != nil {
			return nil, err
		}
		return []Ack{ack}, nil
	}
	f := &Future{publisher: p, op: opBatch, pooled: true}
	b, err := p.prepareBatch(ctx, f, payloads, opts)
	if err != nil {
		return nil, err
	}
	if err := p.acquireBatch(ctx, f, len(payloads)); err != nil {
		return nil, p.failed(f, ErrNotSent, err)
	}
	last, err := p.submitAndWait(ctx, f)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeBatchKnownIDs {
		return p.lookUp(ctx, f, b, err)
	}
	if err != nil {
		return nil, err
	}
	acks := make([]Ack, len(b.ids))
	for i, id := range b.ids {
		acks[i] = Ack{Stream: last.Stream, Sequence: last.Sequence - uint64(len(b.ids)-1-i), ID: id} //nolint:gosec // i is below len
	}
	return acks, nil
}

func (p *Publisher) prepareBatch(ctx context.Context, f *Future, payloads []envelope.Payload, opts []Option) (*batch, error) {
	if len(payloads) > MaxBatch {
		return nil, p.failed(f, ErrNotSent, fmt.Errorf("%w: batch of %d events, at most %d are allowed: split it, if its parts may stand alone", ErrTooLarge, len(payloads), MaxBatch))
	}
	now := time.Now()
	p.setDeadline(ctx, f, now)
	b := &batch{msgs: make([]*nats.Msg, len(payloads)), ids: make([]string, len(payloads))}
	seen := make(map[string]int, len(payloads))
	keys := make(map[string]struct{})
	for i, payload := range payloads {
		d, err := p.fromPayload(payload, opts)
		if d.raw.ID != "" {
			d.raw.ID += "." + strconv.Itoa(i+1)
		}
		switch {
		case err != nil:
		case d.schedule.kind != notScheduled:
			err = fmt.Errorf("%w: a batch stands in one stream, as a whole and at once: schedule each event with Publish", ErrSchedule)
		default:
			err = p.complete(ctx, &d, now)
		}
		if err != nil {
			return nil, d.notSent(opBatch, fmt.Errorf("event %d of %d: %w", i+1, len(payloads), err))
		}
		id := envelope.MessageID(d.raw.Source, d.raw.ID)
		if first, repeated := seen[id]; repeated {
			return nil, d.notSent(opBatch, fmt.Errorf("events %d and %d of %d have the same id: an id stands once in a batch", first+1, i+1, len(payloads)))
		}
		seen[id] = i
		d.msg.Header[headerMsgID] = []string{id}
		b.msgs[i], b.ids[i] = d.msg, d.raw.ID
		if i == 0 {
			f.ack.ID = d.raw.ID
		}
		if _, known := keys[d.raw.Key]; d.raw.Key != "" && !known {
			keys[d.raw.Key] = struct{}{}
			b.links = append(b.links, link{key: d.raw.Key})
		}
	}
	f.batch = b
	if err := p.start(ctx); err != nil {
		return nil, p.failed(f, ErrNotSent, err)
	}
	return b, nil
}

// acquireBatch takes the window's tokens for n events, or all there are. One
// batch does so at a time: two that each hold a part would wait for ever.
func (p *Publisher) acquireBatch(ctx context.Context, f *Future, n int) error {
	limit := time.NewTimer(time.Duration(f.deadline - p.now()))
	defer limit.Stop()
	select {
	case p.batching <- struct{}{}:
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("waiting for another batch: %w", ctxErr(ctx))
	case <-limit.C:
		return fmt.Errorf("waiting for another batch: %w", p.late(f))
	}
	defer func() { <-p.batching }()
	f.tokens = int32(min(n, p.cfg.MaxInFlight)) //nolint:gosec // at most MaxBatch
	return p.acquire(ctx, f)
}

// transmitBatch writes all messages of one attempt, under a batch id of its
// own, so that what the server kept of an earlier attempt cannot mix with it.
// All carry the reply subject: the first refusal settles the attempt with its
// true reason, where the commit would say only "incomplete".
func (p *Publisher) transmitBatch(t *transmission, reply string) error {
	id := []string{nuid.Next()}
	commit := []string{"1"}
	for i, m := range t.batch.msgs {
		header := m.Header
		if t.attempt > 0 {
			header = maps.Clone(header) // an earlier attempt may still be reading it
		}
		header[headerBatchID] = id
		header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
		if i == len(t.batch.msgs)-1 {
			header[headerBatchCommit] = commit
		}
		out := nats.Msg{Subject: m.Subject, Reply: reply, Header: header, Data: m.Data}
		if err := p.nc.PublishMsg(&out); err != nil {
			return err
		}
	}
	// Writing may have taken long; the wait for the answer begins now.
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := t.future; !f.settled.Load() && f.begun == t.attempt+1 && f.state == stateSent {
		f.due = p.now() + int64(p.cfg.AckTimeout)
	}
	return nil
}

// lookUp resolves a batch that the server refused because it knows some of the
// ids (10201): those of an attempt whose acknowledgement was lost, or of an
// earlier publish. Since a batch is stored whole or not at all, it is stored if
// all ids are.
func (p *Publisher) lookUp(ctx context.Context, f *Future, b *batch, refusal error) ([]Ack, error) {
	probes := make([]*Future, len(b.msgs))
	for i, m := range b.msgs {
		probes[i] = p.probe(ctx, f, m, b.ids[i])
	}
	acks := make([]Ack, len(probes))
	stored := 0
	for i, probe := range probes {
		ack, err := probe.Wait(ctx)
		var api *jetstream.APIError
		switch {
		case err == nil:
			acks[i] = ack
			acks[i].Duplicate = f.begun == 1
			stored++
		case errors.As(err, &api) && api.ErrorCode == codeRollupFailed:
		default:
			return nil, restate(refusal, ErrUnknown, fmt.Errorf("looking whether event %d of %d is stored: %w", i+1, len(probes), err))
		}
	}
	switch stored {
	case len(probes):
		return acks, nil
	case 0:
		return nil, refusal
	}
	return nil, restate(refusal, ErrRejected, fmt.Errorf("%w: %d of %d", ErrPartlyStored, stored, len(probes)))
}

// restate is the error of a batch after a closer look.
func restate(refusal, kind, cause error) error {
	e, ok := errors.AsType[*Error](refusal)
	if !ok {
		return refusal
	}
	closer := *e
	closer.Kind, closer.Err = kind, fmt.Errorf("%w: %w", cause, e.Err)
	return &closer
}

// probe asks the stream for the sequence of an id: a message that carries the
// id and cannot be stored, because its rollup header has no legal value. The
// server looks for duplicates first (R1 and clustered), so a known id is
// acknowledged with its sequence, and an unknown one is refused with 10111. It
// needs no permission beyond that of publishing.
func (p *Publisher) probe(ctx context.Context, f *Future, m *nats.Msg, id string) *Future {
	probe := &Future{publisher: p, op: opBatch, deadline: f.deadline, byCtx: f.byCtx}
	probe.ack.ID = id
	probe.msg = &nats.Msg{Subject: m.Subject, Header: nats.Header{
		headerMsgID:  m.Header[headerMsgID],
		headerRollup: []string{"look-up"},
	}}
	if err := p.submit(ctx, probe); err != nil {
		return settledFuture(p, err)
	}
	return probe
}
