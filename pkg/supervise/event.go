package supervise

import (
	"errors"
	"log/slog"
	"runtime/pprof"
	"sync"
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
}

// maxEvents is about 5 MB: enough for 10,000 children that start at once.
const maxEvents = 32768

// queue holds events until the goroutine that delivers them, which exists only
// while there are any, has come to them. Its lock is the last one to be taken:
// nothing else is locked, and nobody is called, while it is held.
type queue struct {
	mu      sync.Mutex
	limit   int
	waiting []queued
	idle    chan struct{} // closed when the goroutine ends; nil if there is none
	dropped uint64
}

type queued struct {
	event Event
	from  *scope // to log it; nil for an event from a supervisor below, which has logged it
}

// emit queues an event here and above, if anybody wants to know. The caller
// holds s.mu, so that events stand in every queue in the order in which they
// happened: what happens above because of this one, happens later.
func (s *Supervisor) emit(e Event) {
	sc := s.scope
	if sc == nil {
		return // before the first Run
	}
	q := queued{event: e}
	if sc.log.Enabled(sc.ctx, e.level()) {
		q.from = sc
	}
	for ; ; sc, q.from = sc.up.scope, nil {
		if sc.sup.cfg.OnEvent != nil || q.from != nil {
			sc.sup.enqueue(q, sc)
		}
		if sc.up == nil {
			return
		}
	}
}

func (s *Supervisor) enqueue(e queued, sc *scope) {
	q := &s.events
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= q.limit {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, e)
	if q.idle == nil {
		q.idle = make(chan struct{})
		go s.deliver(sc)
	}
}

// deliver hands events out until there are none.
func (s *Supervisor) deliver(sc *scope) {
	// Whoever caused the event started this goroutine: take off its labels.
	pprof.SetGoroutineLabels(sc.ctx)
	q := &s.events
	for {
		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		if len(batch) == 0 {
			close(q.idle)
			q.idle = nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		for _, e := range batch {
			if e.from != nil {
				e.event.write(e.from)
			}
			if s.cfg.OnEvent != nil {
				s.cfg.OnEvent(e.event)
			}
		}
	}
}

// flush waits until all events so far are delivered.
func (q *queue) flush() {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

func (q *queue) lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
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

func (e Event) write(sc *scope) {
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
	sc.log.LogAttrs(sc.ctx, e.level(), "supervise: "+string(e.To), attrs...)
}
