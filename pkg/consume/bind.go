package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/position"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// backing is what the loops of a Consumer share of the server's side: the
// streams of the group and the bucket of positions.
type backing struct {
	js          jetstream.JetStream
	ns          subject.Namespace
	group       string
	provisioner *stream.Provisioner
	positions   *position.Bucket
	solo        solo
}

// shapes are the streams of a group, each after those it sources.
func shapes(ns subject.Namespace, group string) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{stream.Scheduled(ns), stream.Events(ns), stream.Dead(ns), stream.Retry(ns, group)}
}

// ensure makes the streams and the bucket that are missing.
func (b *backing) ensure(ctx context.Context) error {
	err := b.provisioner.Ensure(ctx, shapes(b.ns, b.group)...)
	if err != nil {
		return err
	}
	if b.positions == nil {
		b.positions, err = position.Open(ctx, b.provisioner, b.ns)
	}
	return err
}

// bind finds or makes both durables of a loop.
func (l *loop) bind(ctx context.Context) error {
	if err := l.bindMain(ctx); err != nil {
		return fmt.Errorf("stream %s: %w", l.main.durable.stream, err)
	}
	if err := l.bindLane(ctx); err != nil {
		return fmt.Errorf("stream %s: %w", l.lane.durable.stream, err)
	}
	return nil
}

// bindMain finds the durable on EVENTS, or makes it where its predecessor
// stood.
func (l *loop) bindMain(ctx context.Context) error {
	d := l.main.durable
	str, err := l.js.Stream(ctx, d.stream)
	if err != nil {
		return err
	}
	created := str.CachedInfo().Created.UnixNano()
	pos, revision, err := l.positions.Load(ctx, l.durableName)
	if err != nil {
		return err
	}
	known := revision != 0
	config := d.config
	l.sub.start.apply(&config)
	if known {
		pos.Resume(&config, created)
	}
	made, err := d.ensure(ctx, l.js, config, l.cfg.provision())
	if err != nil {
		return err
	}
	if made != nil {
		l.log.InfoContext(ctx, "durable made", "durable", l.durableName, "after", made.AckFloor.Stream, "known", known)
		// Saved at once: a durable that begins with the newest event must not
		// begin with a newer one if it vanishes before the first regular save.
		pos, _, err = l.positions.Raise(ctx, l.durableName, created, func() (*jetstream.ConsumerInfo, error) { return made, nil })
		if err != nil && !errors.Is(err, position.ErrResetUnfinished) {
			return err
		}
	}
	l.created.Store(created)
	l.generation.Store(pos.Generation)
	return nil
}

// bindLane finds or makes the durable on the retry lane. The lane is a work
// queue: what stands there is unsettled, so a new durable starts at its head.
func (l *loop) bindLane(ctx context.Context) error {
	d := l.lane.durable
	str, err := l.js.Stream(ctx, d.stream)
	if err != nil {
		return err
	}
	l.laneStream.Store(&str)
	_, err = d.ensure(ctx, l.js, d.config, l.cfg.provision())
	return err
}

// Waits between tries to make a durable again. The first try waits too:
// nats-server 2.15.2 tells of a deletion before it removes the files, and what
// is made under the name meanwhile loses its own with them, so that it cannot
// be changed and is gone after the next restart. A stream has more of them.
const (
	healFirst   = 100 * time.Millisecond
	healMost    = 5 * time.Second
	healDurable = 250 * time.Millisecond
	healStream  = time.Second
)

// lose is called, with loop.mu held, when the durable of a source is known to
// be gone. Handlers that run go on, but what they say of events of the lost
// durable is no longer said: the same words could settle other events of a
// stream that was made anew. Meanwhile the durable is made again.
func (s *source) lose(cause error) {
	if s.healing || s.loop.draining {
		return
	}
	l := s.loop
	s.healing = true
	s.epoch.Add(1)
	s.waiting = 0
	kept := l.queue[:0]
	for _, d := range l.queue[l.first:] {
		if d.src == s {
			d.settled = true
			l.unsettled.remove(d)
			s.held--
			continue
		}
		kept = append(kept, d)
	}
	clear(l.queue[len(kept):])
	l.queue, l.first = kept, 0
	l.counters.lost.Add(1)
	l.log.Error("durable is gone; it is made again where it stood", "stream", s.durable.stream, "durable", s.durable.config.Durable, "cause", cause)
	l.background.Go(func() { s.heal(cause) })
}

// heal tries until the durable is there again, the loop drains, or the durable
// belongs to somebody else by now.
func (s *source) heal(cause error) {
	l := s.loop
	l.counters.setState(StateHealing, cause)
	began := time.Now()
	first := healDurable
	if !s.streamStands() {
		first = healStream
	}
	if !l.pauseOrStop(first) {
		return
	}
	for wait := healFirst; ; wait = min(2*wait, healMost) {
		err := s.rebind()
		if errors.Is(err, ErrDurableTaken) {
			l.fail(err)
			return
		}
		if err == nil {
			break
		}
		l.counters.setState(StateHealing, err)
		l.log.Warn("durable could not be made again; trying on", "durable", s.durable.config.Durable, "error", err)
		if !l.pauseOrStop(wait) {
			return
		}
	}
	l.counters.setState(StateRunning, nil)
	l.counters.healed.Add(1)
	l.log.Info("durable is back", "durable", s.durable.config.Durable, "after", time.Since(began))
	l.notice(Notice{Kind: NoticeHealed, Err: cause})
	l.mu.Lock()
	defer l.mu.Unlock()
	s.healing = false
	s.redone = s.highest
	s.pull()
}

// pauseOrStop waits, and returns false if the loop stops first.
func (l *loop) pauseOrStop(d time.Duration) bool {
	select {
	case <-l.base.Done():
		return false
	case <-l.stopping:
		return false
	case <-time.After(d):
		return true
	}
}

func (s *source) streamStands() bool {
	ctx, cancel := context.WithTimeout(s.loop.base, requestTimeout)
	defer cancel()
	_, err := s.loop.js.Stream(ctx, s.durable.stream)
	return err == nil
}

func (s *source) rebind() error {
	ctx, cancel := context.WithTimeout(s.loop.base, requestTimeout)
	defer cancel()
	l := s.loop
	if err := l.ensure(ctx); err != nil {
		return err
	}
	if s == l.main {
		return l.bindMain(ctx)
	}
	return l.bindLane(ctx)
}
