package supervise

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"time"
)

// An Event is one transition of a child or a supervisor.
type Event struct {
	Time        time.Time
	Path        string // of the child or supervisor
	From, To    State
	Err         error     // what led to it, if anything went wrong
	NextRestart time.Time // with StateBackoff
}

const maxEvents = 65536

// queue holds events until the goroutine that delivers them, which exists
// only while there are any, has come to them. Guarded by the supervisor's mu,
// except wanted, which is fixed when a Run begins.
type queue struct {
	wanted  bool
	waiting []Event
	idle    chan struct{} // closed when the goroutine ends; nil if there is none
	dropped uint64
}

func (s *Supervisor) emit(e Event) {
	if s.log == nil || !s.events.wanted && !s.log.Enabled(context.Background(), e.level()) {
		return
	}
	if len(s.events.waiting) >= maxEvents {
		s.events.dropped++
		return
	}
	s.events.waiting = append(s.events.waiting, e)
	if s.events.idle == nil {
		s.events.idle = make(chan struct{})
		go s.deliver()
	}
}

func (s *Supervisor) deliver() {
	// Whoever caused the event started this goroutine: take off its labels.
	pprof.SetGoroutineLabels(context.Background())
	for {
		s.mu.Lock()
		batch := s.events.waiting
		s.events.waiting = nil
		hook, above, log := s.cfg.OnEvent, s.above, s.log
		if len(batch) == 0 {
			close(s.events.idle)
			s.events.idle = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, e := range batch {
			e.write(log)
			if hook != nil {
				hook(e)
			}
			if above != nil {
				above.pass(e)
			}
		}
	}
}

// pass takes an event from a supervisor below, which has logged it.
func (s *Supervisor) pass(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = e
}

func (e Event) level() slog.Level {
	switch e.To {
	case StateAbandoned, StateFailed:
		return slog.LevelError
	case StateBackoff, StateParked:
		return slog.LevelWarn
	default:
		if e.Err != nil {
			return slog.LevelWarn
		}
		return slog.LevelDebug
	}
}

func (e Event) write(log *slog.Logger) {
	attrs := []slog.Attr{
		slog.String("path", e.Path), slog.String("from", string(e.From)), slog.String("to", string(e.To)),
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	log.LogAttrs(context.Background(), e.level(), "supervise", attrs...)
}
