package consume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/position"
)

// seen is the durable as the server saw it last.
type seen struct {
	pending uint64
	unacked int
	reset   uint64 // generation of the position that the durable was set to
	next    uint64 // stream sequence after the last delivered one
	last    uint64 // of the stream
	count   uint64 // deliveries so far
}

// observe looks at the durable every few seconds: to save its position, and to
// find what no message tells: a stall, a pause, events that are gone unread.
func (l *loop) observe() {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stopping:
			return
		case <-tick.C:
		}
		if !l.js.Conn().IsConnected() {
			continue
		}
		if err := l.look(); err != nil && l.base.Err() == nil {
			l.counters.setError(err)
			l.log.Warn("could not look at the durable", "error", err)
		}
	}
}

func (l *loop) look() error {
	ctx, cancel := context.WithTimeout(l.base, requestTimeout)
	defer cancel()
	pos, info, err := l.positions.Raise(ctx, l.durableName, l.created.Load(), func() (*jetstream.ConsumerInfo, error) {
		c, err := l.js.Consumer(ctx, l.main.durable.stream, l.durableName)
		if err != nil {
			return nil, fmt.Errorf("look up durable: %w", err)
		}
		return c.CachedInfo(), nil
	})
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		l.mu.Lock()
		l.main.lose(fmt.Errorf("%w: %w", ErrDurableGone, err))
		l.mu.Unlock()
		return nil
	}
	if info == nil {
		return err
	}
	l.generation.Store(pos.Generation)
	l.note(ctx, info)
	return err
}

// note compares what the server says with what it said before.
func (l *loop) note(ctx context.Context, i *jetstream.ConsumerInfo) {
	if i.NumAckPending >= i.Config.MaxAckPending && i.Config.MaxAckPending > 0 {
		err := fmt.Errorf("stalled: %d events are delivered and not acknowledged, the durable's limit (MaxAckPending); some instance holds them", i.NumAckPending)
		l.counters.setError(err)
		l.log.Warn("delivery is stalled", "unacknowledged", i.NumAckPending, "limit", i.Config.MaxAckPending)
	}
	if i.Config.MaxWaiting > 0 && i.NumWaiting >= i.Config.MaxWaiting {
		err := fmt.Errorf("too many pull requests wait on the durable: %d (MaxWaiting); use fewer instances or a durable with a greater limit", i.NumWaiting)
		l.counters.setError(err)
		l.log.Warn("pull requests are dropped", "waiting", i.NumWaiting)
	}
	if l.counters.setPaused(i.Paused) {
		kind := NoticeResumed
		if i.Paused {
			kind = NoticePaused
		}
		l.notice(Notice{Kind: kind})
	}
	l.follow(i.Paused, i.PauseRemaining)
	now := seen{
		pending: i.NumPending, unacked: i.NumAckPending, reset: position.GenerationOf(i.Config),
		next: i.Delivered.Stream + 1, count: i.Delivered.Consumer,
	}
	l.mu.Lock()
	before := l.seen
	l.mu.Unlock()
	if before.pending > 0 || now.pending > 0 {
		// Asked for after the durable: an event that arrives between the two
		// may hide a loss of one, never feign one.
		if str, err := l.js.Stream(ctx, l.main.durable.stream); err == nil {
			now.last = str.CachedInfo().State.LastSeq
			l.seekLoss(ctx, before, now, str.CachedInfo().State.FirstSeq)
		}
	}
	l.mu.Lock()
	l.seen = now
	l.mu.Unlock()
}

// permission looks for a refusal of the server that concerns this loop: it
// arrives on the connection, away from any request. Without the right to pull
// nothing ever comes; without that to acknowledge everything comes for ever.
func (l *loop) permission() error {
	err := l.js.Conn().LastError()
	if err == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	text := err.Error()
	for _, s := range []*source{l.main, l.lane} {
		ack := "$JS.ACK." + s.durable.stream + "." + s.durable.config.Durable + "."
		for _, subj := range []string{s.next, ack} {
			if strings.Contains(text, subj) {
				return fmt.Errorf("this connection may not publish to %s: grant it to the service (docs/permissions.md): %w", strings.TrimSuffix(subj, "."), err)
			}
		}
	}
	return nil
}

// observeEvery is how often a loop looks at its durable as the server sees it.
const observeEvery = 5 * time.Second
