package demo

import (
	"slices"
	"sync"
)

// identity is that of an event in CloudEvents.
type identity struct{ source, id string }

// entry is what one group did with one event.
type entry struct {
	group string
	identity
}

// runs is what became of an entry.
type runs struct {
	handled  int      // runs that returned nil
	by       []string // instances of those, in order
	attempt  int      // of the last that returned nil
	replays  int      // of the last that returned nil
	failed   int
	panicked int
	running  []string // instances that have begun and not ended
}

// Ledger is what the handlers of all instances have recorded. It is safe for
// concurrent use.
type Ledger struct {
	mu      sync.Mutex
	entries map[entry]*runs
	panics  int
	bell    *bell // rung by every record
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{entries: map[entry]*runs{}, bell: newBell()}
}

func (l *Ledger) add(r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := entry{r.Group, identity{r.Source, r.ID}}
	e := l.entries[key]
	if e == nil {
		e = &runs{}
		l.entries[key] = e
	}
	if r.What == runBegan {
		e.running = append(e.running, r.Instance)
	} else if i := slices.Index(e.running, r.Instance); i >= 0 {
		e.running = slices.Delete(e.running, i, i+1)
	}
	switch r.What {
	case runHandled:
		e.handled++
		e.by = append(e.by, r.Instance)
		e.attempt, e.replays = r.Attempt, r.Replays
	case runFailed:
		e.failed++
	case runPanicked:
		e.panicked++
		l.panics++
	}
	l.bell.ring()
}

// of returns what a group did with an event.
func (l *Ledger) of(group string, id identity) runs {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[entry{group, id}]; e != nil {
		r := *e
		r.by, r.running = slices.Clone(e.by), slices.Clone(e.running)
		return r
	}
	return runs{}
}

// runningOn lists the events that an instance has begun and not ended.
func (l *Ledger) runningOn(instance string) []identity {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []identity
	for key, e := range l.entries {
		if slices.Contains(e.running, instance) {
			ids = append(ids, key.identity)
		}
	}
	return ids
}

func (l *Ledger) panicCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.panics
}
