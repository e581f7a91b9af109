package supervise

import (
	"context"
	"errors"
	"log/slog"
	"runtime/pprof"
	"time"
)

// An Event is one transition of a child or a supervisor. The end of an
// abandoned run goes from [StateAbandoned] to [StateStopped], whatever the
// child has become since.
type Event struct {
	Time        time.Time `json:"time"`
	Path        string    `json:"path"` // of the child or supervisor
	From        State     `json:"from"`
	To          State     `json:"to"`
	Err         error     `json:"-"`            // what led to it, if anything went wrong
	NextRestart time.Time `json:"next_restart"` // with StateBackoff, else zero

	passed bool // comes from a supervisor below, which has logged it
}

const maxEvents = 65536

// queue holds events until the goroutine that delivers them, which exists
// only while there are any, has come to them. Guarded by the supervisor's mu.
type queue struct {
	waiting []Event
	idle    chan struct{} // closed when the goroutine ends; nil if there is none
	dropped uint64
}

// emit queues an event if anybody wants to know.
func (s *Supervisor) emit(e Event) {
	if s.scope == nil {
		return // before the first Run
	}
	if !s.scope.watched && (e.passed || !s.scope.log.Enabled(s.base, e.level())) {
		return
	}
	q := &s.events
	if len(q.waiting) >= maxEvents {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, e)
	if q.idle == nil {
		q.idle = make(chan struct{})
		go s.deliver()
	}
}

// deliver hands events out, in order, without holding the lock.
func (s *Supervisor) deliver() {
	// Whoever caused the event started this goroutine: take off its labels.
	pprof.SetGoroutineLabels(context.Background())
	for {
		s.mu.Lock()
		batch, sc := s.events.waiting, s.scope
		s.events.waiting = nil
		if len(batch) == 0 {
			close(s.events.idle)
			s.events.idle = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, e := range batch {
			if !e.passed {
				e.write(sc.log)
			}
			if s.cfg.OnEvent != nil {
				s.cfg.OnEvent(e)
			}
			if sc.up != nil {
				e.passed = true
				sc.up.scope.sup.pass(e)
			}
		}
	}
}

// pass takes an event from a supervisor below.
func (s *Supervisor) pass(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit(e)
}

func (e Event) level() slog.Level {
	switch {
	case e.To == StateAbandoned, e.To == StateFailed:
		return slog.LevelError
	case e.Err != nil, e.To == StateBackoff, e.To == StateParked:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func (e Event) write(log *slog.Logger) {
	ctx, level := context.Background(), e.level()
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("path", e.Path), slog.String("from", string(e.From)), slog.String("to", string(e.To)),
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	if !e.NextRestart.IsZero() {
		attrs = append(attrs, slog.Time("next_restart", e.NextRestart))
	}
	var stuck *StuckError
	var panicked *PanicError
	switch {
	case errors.As(e.Err, &stuck):
		attrs = append(attrs, slog.String("stacks", stuck.Stacks))
	case errors.As(e.Err, &panicked):
		attrs = append(attrs, slog.String("stack", panicked.Stack))
	}
	log.LogAttrs(ctx, level, "supervise: "+string(e.To), attrs...)
}
