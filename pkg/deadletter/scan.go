package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// scanBatch is how many headers one request asks for, which bounds the memory of a
// scan of any length. One at a time: the server deals its messages out in turn to
// all that wait, so that two batches at once would come out of order.
const scanBatch = 2000

// scanForget is when the server removes the consumer of a scan that is over, or of
// one that rests for so long, which then goes on with another: to delete it takes a
// permission that a reader need not have.
const scanForget = 10 * time.Second

// scanTries is how often a scan goes on after a failure without any progress.
const scanTries = 3

var errScanGap = errors.New("messages were lost on their way")

// scan reads the headers of DEAD that a selection leaves to be looked at. It goes
// on where it was after a lost connection, and never waits for what is stored
// after it began.
type scan struct {
	dead jetstream.Stream
	sel  *selection
	next uint64 // sequence to go on with
	last uint64 // sequence to end with
}

// newScan begins at the state of the stream as it is.
func newScan(ctx context.Context, dead jetstream.Stream, sel *selection) (*scan, error) {
	info, err := dead.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", dead.CachedInfo().Config.Name, err)
	}
	s := &scan{dead: dead, sel: sel, next: sel.After + 1, last: info.State.LastSeq}
	if sel.Through > 0 {
		s.last = min(s.last, sel.Through)
	}
	return s, nil
}

// run gives the messages, without their bodies, until there are no more or visit
// says that it has enough.
func (s *scan) run(ctx context.Context, visit func(jetstream.Msg, *jetstream.MsgMetadata) (more bool)) error {
	for failures := 0; s.next <= s.last; {
		before := s.next
		over, err := s.pass(ctx, visit)
		if over {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failures++; s.next > before {
			failures = 0
		}
		if failures == scanTries {
			return fmt.Errorf("read stream %s from sequence %d: %w", s.dead.CachedInfo().Config.Name, s.next, err)
		}
	}
	return nil
}

// pass reads with one consumer: to the end, or until something is lost.
func (s *scan) pass(ctx context.Context, visit func(jetstream.Msg, *jetstream.MsgMetadata) bool) (over bool, err error) {
	cfg := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: scanForget, FilterSubjects: s.sel.subjects,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.next,
	}
	if s.next == 1 && !s.sel.Since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &s.sel.Since
	}
	if len(s.sel.subjects) == 1 {
		// Only this form has its filter in the subject that permissions go by.
		cfg.FilterSubject, cfg.FilterSubjects = s.sel.subjects[0], nil
	}
	cons, err := s.dead.CreateConsumer(ctx, cfg)
	if err != nil {
		return false, fmt.Errorf("make a consumer: %w", err)
	}
	size := scanBatch
	if n := s.sel.Limit; n > 0 && !s.sel.byHeader() {
		size = min(n, size)
	}
	pending := cons.CachedInfo().NumPending
	if pending == 0 {
		return true, nil
	}
	for number := uint64(1); ; {
		batch, err := cons.FetchNoWait(size)
		if err != nil {
			return false, err
		}
		got, over, err := s.take(ctx, batch, &number, visit)
		if over || err != nil {
			for range batch.Messages() { // the client's goroutine ends with the batch, within a second
			}
			return over, err
		}
		if pending -= min(pending, got); pending == 0 {
			return true, nil
		}
		if got > 0 {
			continue
		}
		// Nothing came, because letters were removed meanwhile, or because
		// answers were lost: the server knows.
		info, err := cons.Info(ctx)
		if err != nil {
			return false, err
		}
		if info.Delivered.Consumer >= number {
			return false, errScanGap
		}
		if pending = info.NumPending; pending == 0 {
			return true, nil
		}
	}
}

// take gives one batch to visit. number is the consumer's of the next message.
func (s *scan) take(ctx context.Context, batch jetstream.MessageBatch, number *uint64, visit func(jetstream.Msg, *jetstream.MsgMetadata) bool) (got uint64, over bool, err error) {
	for {
		var m jetstream.Msg
		select {
		case m = <-batch.Messages():
		case <-ctx.Done():
			return got, false, context.Cause(ctx)
		}
		if m == nil {
			return got, false, batch.Error()
		}
		meta, err := m.Metadata()
		if err != nil {
			return got, false, err
		}
		if meta.Sequence.Consumer != *number {
			return got, false, errScanGap
		}
		*number++
		got++
		if meta.Sequence.Stream > s.last || !s.sel.Until.IsZero() && !meta.Timestamp.Before(s.sel.Until) {
			return got, true, nil
		}
		s.next = meta.Sequence.Stream + 1
		if !visit(m, meta) {
			return got, true, nil
		}
	}
}
