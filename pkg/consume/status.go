package consume

import (
	"sync"
	"sync/atomic"
	"time"
)

// State of a subscription in this process.
type State string

// States of a subscription.
const (
	StateStopped  State = "stopped"  // not running, or between two tries
	StateRunning  State = "running"  // pulling and handling
	StateHealing  State = "healing"  // the durable is gone and is being made again
	StatePaused   State = "paused"   // paused at the server, for all instances
	StateDraining State = "draining" // finishing what runs
)

// Status is what a Consumer is doing: a plain value, the same that tools print
// as JSON.
type Status struct {
	Group         string               `json:"group"`
	Instance      string               `json:"instance"`
	Subscriptions []SubscriptionStatus `json:"subscriptions"`
}

// SubscriptionStatus is the state of one subscription in this process. Counts
// are since the Consumer was made.
type SubscriptionStatus struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Durable string `json:"durable"`
	State   State  `json:"state"`

	Buffered int `json:"buffered"` // received, not begun
	Running  int `json:"running"`  // handlers that run
	Hung     int `json:"hung"`     // handlers that were given up and have not returned
	Prefetch int `json:"prefetch"` // events asked for ahead, at most

	Handled   uint64 `json:"handled"`   // handler returned nil
	Failed    uint64 `json:"failed"`    // runs that failed, in whatever way
	Retried   uint64 `json:"retried"`   // retries stored
	Dead      uint64 `json:"dead"`      // dead letters stored
	Discarded uint64 `json:"discarded"` // dropped by Discard
	Stale     uint64 `json:"stale"`     // not begun, since another instance has them by now
	Late      uint64 `json:"late"`      // handlers that returned after they were given up

	Healed   uint64 `json:"healed"`   // durables that were gone and made again
	Repeated uint64 `json:"repeated"` // events that came again because of that, at most
	Removed  uint64 `json:"removed"`  // events that retention removed unread: data loss
	Tripped  uint64 `json:"tripped"`  // times the kill switch has paused the subscription
	Pending  uint64 `json:"pending"`  // events not delivered yet, of all instances, seconds ago
	Unacked  int    `json:"unacked"`  // events delivered and not settled, likewise

	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// counters outlive the loops of a subscription.
type counters struct {
	handled, failed, retried, dead, discarded, stale, late atomic.Uint64
	lost, healed, repeated, removed, tripped               atomic.Uint64

	mu        sync.Mutex
	state     State
	paused    bool
	lastError string
	lastAt    time.Time
	loop      *loop
	flow      flow
}

func (c *counters) setLoop(l *loop) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loop = l; l != nil {
		l.adjust(c.flow)
	}
}

func (c *counters) setState(s State, err error) {
	c.mu.Lock()
	c.state = s
	c.mu.Unlock()
	c.setError(err)
}

// setPaused tells whether that is news.
func (c *counters) setPaused(paused bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.paused != paused
	c.paused = paused
	return news
}

func (c *counters) setError(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastError, c.lastAt = err.Error(), time.Now()
}

func (c *counters) status(s Subscription, durable string) SubscriptionStatus {
	c.mu.Lock()
	st := SubscriptionStatus{
		Name: s.name, Type: s.pattern, Durable: durable, State: c.state,
		LastError: c.lastError, LastErrorAt: c.lastAt,
	}
	l, paused := c.loop, c.paused
	c.mu.Unlock()
	switch {
	case st.State == "":
		st.State = StateStopped
	case st.State == StateRunning && paused:
		st.State = StatePaused
	}
	st.Handled, st.Failed, st.Retried = c.handled.Load(), c.failed.Load(), c.retried.Load()
	st.Dead, st.Discarded = c.dead.Load(), c.discarded.Load()
	st.Stale, st.Late = c.stale.Load(), c.late.Load()
	st.Healed, st.Repeated, st.Removed = c.healed.Load(), c.repeated.Load(), c.removed.Load()
	st.Tripped = c.tripped.Load()
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		st.Buffered, st.Running = len(l.queue)-l.first, l.running
		st.Hung, st.Prefetch = len(l.hung), l.pace.prefetch
		st.Pending, st.Unacked = l.seen.pending, l.seen.unacked
	}
	return st
}
