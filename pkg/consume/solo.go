package consume

import (
	"sync"
	"sync/atomic"
	"time"
)

// solo lets handlers of a Consumer run side by side, or one of them alone: a
// suspect event must not take innocent ones with it, nor be blamed for what
// another one does.
type solo struct{ mu sync.RWMutex }

// turn is a handler's hold on the solo. Worker and keeper may both end it, the
// latter when the handler hangs; the first one does.
type turn struct {
	kind  atomic.Int32
	begun atomic.Int64 // when the handler was begun, see loop.clock; 0 before
}

const (
	turnNone int32 = iota
	turnShared
	turnAlone
)

// begin waits for its turn.
func (s *solo) begin(t *turn, alone bool, clock func() time.Duration) {
	kind := turnShared
	if alone {
		s.mu.Lock()
		kind = turnAlone
	} else {
		s.mu.RLock()
	}
	t.kind.Store(kind)
	t.begun.Store(int64(max(clock(), 1)))
}

// end gives the turn back.
func (s *solo) end(t *turn) {
	switch t.kind.Swap(turnNone) {
	case turnShared:
		s.mu.RUnlock()
	case turnAlone:
		s.mu.Unlock()
	}
}

// ran is how long the handler has been running; 0 if it has not begun.
func (t *turn) ran(clock func() time.Duration) time.Duration {
	begun := t.begun.Load()
	if begun == 0 {
		return 0
	}
	return clock() - time.Duration(begun)
}
